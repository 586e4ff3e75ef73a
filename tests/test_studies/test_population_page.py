"""The page on populations works as it stands there: a study, its re-runs, a function."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_studies.test_readme import BLOCK, follow

PAGE = (Path(__file__).parents[2] / "docs" / "population.md").read_text()


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_leads_from_a_population_to_its_winner(tmp_path):
    said = follow(PAGE, tmp_path)
    assert "population" in said
    assert "rnn: 6 trials, optimizer.learning_rate" in said
    assert "adopted trial" in said
    assert "equal: every number of 12 epochs is the same" in said
