"""The page on confirming works as it stands there, with a study of that name that takes no time."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.test_studies.test_readme import BLOCK, do

PAGE = (Path(__file__).parents[2] / "docs" / "confirming.md").read_text()
# In the reader's own folder `studies/`, whose studies come first.
STUDY = """
from optuna.distributions import FloatDistribution
from hpo.study import Budget, Family, Resources, Rule, Study

def family(name, size):
    space = {"rate": FloatDistribution(0.05, 0.9), "start": 1.0, "size": size}
    return Family(name=name, space=space, create="hpo.testing.steady:create")

STUDY = Study(
    name="quickstart",
    families=(family("small", 1), family("large", 60)),
    budget=Budget(trials=4, epochs=3),
    sampler=Rule(name="random"),
    stopping=(Rule(name="divergence"),),
    resources=Resources(executor="local", workers=2),
    seed=3,
)
"""


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_leads_from_a_search_to_a_verdict_on_families(tmp_path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "quickstart.py").write_text(STUDY)
    said, group = {}, ""
    for name, text in BLOCK.findall(PAGE):
        assert name == "commands"
        for line in text.strip().splitlines():
            command = line.partition("#")[0].strip()
            done = do(command.replace("GROUP", group), tmp_path)
            said[command] = done.stdout
            if "--repeat" in command:  # the page: GROUP is what `--repeat` prints
                (group,) = set(
                    re.findall(r"groups/(\S+-x5)", done.stderr + done.stdout)
                )
    assert (
        "small is better than large, by enough to matter" in said["hpo confirm latest"]
    )
    assert "2 looks" in said["hpo confirm latest --extend 10"] or (
        "look 2" in said["hpo confirm latest --extend 10"].lower()
    )
    assert "5% mattered at the first look" in said["hpo confirm latest --matters 2%"]
    assert "5 searches each" in said["hpo confirm GROUP"]
    run, whole = (
        tmp_path / said[f"hpo report {name}"].strip() for name in ("latest", "GROUP")
    )
    page = run.read_text()
    assert "small is better than large" in page and 'id="figure-windows-small"' in page
    page = whole.read_text()
    assert f"group {group}" in page and 'id="figure-searches"' in page
    assert "small is better than large, by enough to matter" in page
    assert 'id="figure-windows-small"' in page and 'id="figure-pairs"' in page
    assert json.loads((whole.parent.parent / "group.json").read_text())["seeds"][0] == 3
