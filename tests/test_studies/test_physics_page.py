"""The page on physics works as it stands there: its equation is found, fitted and shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_studies.test_readme import BLOCK, follow

PAGE = (Path(__file__).parents[2] / "docs" / "physics.md").read_text()


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_leads_from_an_equation_to_its_coefficients(tmp_path):
    said = follow(PAGE, tmp_path)
    assert "2 of 2 trials ended" in said
    truth = {"stiffness": 40.0, "damping": 0.8, "cubic": 400.0}
    for name, value in truth.items():
        (shown,) = re.findall(rf"coefficient\.{name}\s+([\d.e+-]+)", said)[:1]
        assert float(shown) == pytest.approx(value, rel=0.02), said
