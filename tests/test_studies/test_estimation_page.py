"""The page on estimation works as it stands there: from files whose names say the answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_studies.test_readme import BLOCK, follow

PAGE = (Path(__file__).parents[2] / "docs" / "estimation.md").read_text()


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_leads_from_files_to_a_speed(tmp_path):
    follow(PAGE, tmp_path)
    header, value = (tmp_path / "found.csv").read_text().split()
    assert header == "speed"
    assert abs(float(value) - 5) < 2, "speeds are from 2 to 8, 5 among none of train's"
