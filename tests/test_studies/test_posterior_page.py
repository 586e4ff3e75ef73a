"""The page on posteriors works as it stands there: simulations, a study, what is reported."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.test_studies.test_readme import BLOCK, do

PAGE = (Path(__file__).parents[2] / "docs" / "posterior.md").read_text()


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_leads_from_simulations_to_draws(tmp_path):
    said = {}
    for name, text in BLOCK.findall(PAGE):
        if name != "commands":
            (tmp_path / name).write_text(text)
            continue
        for line in text.strip().splitlines():
            said[" ".join(line.split()[:2])] = do(line, tmp_path).stdout
    assert "3 of 3 trials ended" in said["hpo launch"]
    lines = said["hpo rerun"].splitlines()
    head = lines.index("test part, further metrics")
    told = dict(line.split(maxsplit=1) for line in lines[head + 1 : head + 4])
    assert set(told) == {"c2st", "rank_p", "coverage_90"}
    means = {name: float(text.split()[1].strip(",")) for name, text in told.items()}
    assert 0.45 < means["c2st"] < 0.95 and 0.7 < means["coverage_90"] <= 1
    with h5py.File(tmp_path / "drawn.hdf5") as file:
        drawn = file["theta"][:]
    assert drawn.shape == (1, 64, 2) and np.isfinite(drawn).all()
    assert (drawn >= [0.5, 0]).all() and (drawn <= [2, 3]).all()
