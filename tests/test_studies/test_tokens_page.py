"""The page on tokens works as it stands there: tokens, an estimator, a study of both schemes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.test_studies.test_readme import BLOCK, do

PAGE = (Path(__file__).parents[2] / "docs" / "tokens.md").read_text()
BLOCKS = BLOCK.findall(PAGE)


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * len(BLOCKS)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_leads_from_arrays_to_posteriors(tmp_path, monkeypatch):
    monkeypatch.setenv("HPO_CACHE", str(tmp_path / "cache"))
    for name, text in BLOCKS:
        if name.endswith(".py"):
            (tmp_path / name).write_text(text)
    for name, text in BLOCKS:
        for line in () if name.endswith(".py") else text.strip().splitlines():
            do(line, tmp_path)
    (events,) = (tmp_path / "results" / "sites").glob("*/events.jsonl")
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    scored = [line["valid"] for line in lines if "valid" in line]
    assert len(scored) == 4  # two epochs of two schemes, each with the objective
    assert all(np.isfinite(valid["loss.velocity"]) for valid in scored)
    assert sum("loss.surrogate" in valid for valid in scored) == 2
