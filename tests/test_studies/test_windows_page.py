"""The page on windows works as it stands there: data, a study, its metrics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.test_studies.test_readme import BLOCK, follow

PAGE = (Path(__file__).parents[2] / "docs" / "windows.md").read_text()


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_leads_from_recordings_to_codes(tmp_path):
    follow(PAGE, tmp_path)
    (events,) = (tmp_path / "results" / "swings").glob("*/events.jsonl")
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    scored = [line["valid"] for line in lines if "valid" in line]
    assert len(scored) == 3  # two epochs of one family, one of the other
    for metric in ("mse", "rmse.left", "mae_entries", "mse_blocks"):
        assert all(np.isfinite(valid[metric]) for valid in scored), scored
