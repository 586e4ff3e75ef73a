"""The page on forecasts works as it stands there: a table, a study, its winner."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.test_studies.test_readme import BLOCK, follow

PAGE = (Path(__file__).parents[2] / "docs" / "forecasting.md").read_text()


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_leads_from_a_table_to_a_ranking(tmp_path):
    follow(PAGE, tmp_path)
    (events,) = (tmp_path / "results" / "tanks").glob("*/events.jsonl")
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    scored = [line["valid"] for line in lines if "valid" in line]
    assert len(scored) == 4  # two epochs of the network, one of each closed form
    for metric in ("mse", "mae", "physical_rmse", "physical_mae"):
        assert all(np.isfinite(valid[metric]) for valid in scored), scored
