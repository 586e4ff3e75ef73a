"""The page on simulation works as it stands there: from a study to a model of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.test_studies.test_readme import BLOCK, follow

PAGE = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text()


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_leads_from_a_study_to_a_folder(tmp_path):
    said = follow(PAGE, tmp_path)
    assert said.splitlines()[-1] == "True", said
    assert {p.name for p in (tmp_path / "pictures").iterdir()} >= {
        "results-1.png",
        "batch.svg",
    }
    told = json.loads((tmp_path / "tanks" / "model.json").read_text())
    assert told["task"]["name"] == "simulation" and told["study"] == "answers"
