"""The page on prediction works as it stands there: a study, and its model piece by piece."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_studies.test_readme import BLOCK, follow

PAGE = (Path(__file__).parents[2] / "docs" / "prediction.md").read_text()


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_leads_from_a_study_to_pieces(tmp_path):
    said = follow(PAGE, tmp_path)
    assert said.splitlines()[-2:] == ["True", "True"], said
