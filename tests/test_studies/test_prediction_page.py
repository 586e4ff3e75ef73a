"""The page on prediction works as it stands there: a study, and its model piece by piece."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpo import discovery
from tests.test_studies.test_readme import BLOCK, follow

PAGE = (Path(__file__).parents[2] / "docs" / "prediction.md").read_text()


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


def test_the_page_says_how_every_family_holds_the_start():
    table = PAGE.split("| family |")[1].split("\n\n")[0]
    told = {
        name
        for row in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert told == {f.name for f in discovery.families() if "prediction" in f.tasks}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_leads_from_a_study_to_pieces(tmp_path):
    said = follow(PAGE, tmp_path)
    assert said.splitlines()[-2:] == ["True", "True"], said
