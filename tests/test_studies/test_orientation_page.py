"""The page on orientation works as it stands there: a study, and what its winner tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_studies.test_readme import BLOCK, follow

PAGE = (Path(__file__).parents[2] / "docs" / "orientation.md").read_text()


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_leads_from_a_study_to_a_turn(tmp_path):
    said = follow(PAGE, tmp_path)
    assert "deg" in said and "accelerometer" in said, said
    assert said.splitlines()[-2:] == ["True", "True"], said
