"""The page on windows works as it stands there: data, a study, its metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_studies.test_readme import BLOCK, do

PAGE = (Path(__file__).parents[2] / "docs" / "windows.md").read_text()


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_leads_from_recordings_to_codes(tmp_path):
    said = ""
    for name, text in BLOCK.findall(PAGE):
        if name != "commands":
            (tmp_path / name).write_text(text)
            continue
        for line in text.strip().splitlines():
            said = do(line, tmp_path).stdout
    for metric in ("mse", "rmse.left", "mae_blocks"):
        assert metric in said, said
