"""The page on grouped features works as it stands there: data, groups, a study, its metrics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.test_studies.test_readme import BLOCK, do

PAGE = (Path(__file__).parents[2] / "docs" / "grouped-features.md").read_text()
SHOWN = 1
"""Blocks that only show how a command is written."""


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * (len(BLOCK.findall(PAGE)) + SHOWN)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_leads_from_columns_to_tokens(tmp_path):
    for name, text in BLOCK.findall(PAGE):
        if name != "commands":
            (tmp_path / name).write_text(text)
    for name, text in BLOCK.findall(PAGE):
        for line in text.strip().splitlines() if name == "commands" else ():
            do(line, tmp_path)
    groups = json.loads((tmp_path / "clusters.json").read_text())["groups"]
    said = ["shape"] * 9 + ["motion"] * 8 + ["colour"] * 6 + ["constant"]
    for columns in groups.values():  # as they were made, whatever they are called
        assert len({said[c] for c in columns}) == 1
    assert sorted(map(len, groups.values())) == [1, 6, 8, 9]
    (events,) = (tmp_path / "results" / "tokens").glob("*/events.jsonl")
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    scored = [line["valid"] for line in lines if "valid" in line]
    assert len(scored) == 9  # four epochs of two families, one of the third
    for valid in scored:
        assert np.isfinite(valid["mse"]) and valid["carried"] == 9
    assert sum(valid.get("train_rows") == 420 for valid in scored) == 8
