"""Groups of searches: seeds of their own, resumed as one, confirmed with the search as unit."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from scipy import stats

from hpo.confirmation.reading import load_confirmation
from hpo.ledger.group import RunGroup
from hpo.ledger.log import read_events
from hpo.report.summary import load_summary
from hpo.testing.steady import trained
from tests.test_hpo.command_line import refused, run

ROOT = Path(__file__).parents[2]
STUDY = """
from optuna.distributions import FloatDistribution
from hpo.study import Budget, Family, Resources, Rule, Study

def family(name, size):
    space = {"rate": FloatDistribution(0.05, 0.9), "start": 1.0, "size": size}
    return Family(name=name, space=space, create="hpo.testing.steady:create")

STUDY = Study(
    name="pair",
    families=(family("first", 1), family("second", 6)),
    budget=Budget(trials=2, epochs=2),
    sampler=Rule(name="random"),
    stopping=(Rule(name="divergence"),),
    resources=Resources(executor="local", workers=1),
    seed=3,
)
"""
KILLED = """
import os, sys
from contextlib import nullcontext
from pathlib import Path
from hpo.ledger.group import RunGroup
from hpo.run.group import carry_on
from hpo.run.observer import Silent

class KillAt(Silent):
    seen = 0
    def event(self, event, director):
        KillAt.seen += 1
        if KillAt.seen == int(sys.argv[2]):
            os.kill(os.getpid(), 9)

carry_on(
    RunGroup(Path(sys.argv[1])),
    observe=lambda study: nullcontext(KillAt()),
    told=lambda *how: None,
)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("group")
    (folder / "pair.py").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def group(place):
    """Five searches, all ended."""
    results = place / "results"
    done = run("launch", place / "pair.py", "--repeat", 5, "--results", results)
    assert done.exit_code == 0, done.stderr
    (path,) = results.glob("pair/groups/*")
    assert "hpo confirm" in done.stderr and done.stdout.count("pair/2") == 5
    return RunGroup(path)


def values(folder):
    return [(r.trial, r.seed, r.params, r.objective) for r in load_summary(folder).rows]


def test_every_search_is_a_run_with_a_seed_of_its_own(group):
    runs = group.runs
    assert len(runs) == 5 and len(set(group.seeds)) == 5 and group.seeds[0] == 3
    found = [load_summary(run.path).study.seed for run in runs]
    assert found == group.seeds
    first = [row for run in runs for row in values(run.path)]
    assert len({seed for _, seed, _, _ in first}) == len(first)
    assert len({str(params) for _, _, params, _ in first}) == len(first)
    assert all(load_summary(run.path).finished for run in runs)
    assert RunGroup.find(group.results, group.name).path == group.path
    assert RunGroup.find(group.results, "pair") is None


@pytest.mark.slow
def test_a_killed_group_goes_on_as_one(place, group, tmp_path):
    results = tmp_path / "results"
    from hpo import discovery
    from hpo.run.group import begin

    path = place / "pair.py"
    study = discovery.load_study(str(path))
    mine = begin(
        study, 5, results=results, data_root=None, source=str(path), study_file=path
    )
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(mine.path), "19"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    before = [trained(r.path) for r in mine.runs]
    assert 1 <= len(before) < 5
    refused(run("confirm", mine.path), "of 5 searches", "hpo resume")
    assert load_confirmation(mine.path) is None
    again = run("resume", mine.path)
    assert again.exit_code == 0, again.stderr
    assert [values(r.path) for r in mine.runs] == [values(r.path) for r in group.runs]
    assert trained(mine.runs[0].path) == before[0], "an ended search was trained again"


def test_a_search_confirmed_by_itself_stands(group, tmp_path):
    shutil.copytree(group.results, tmp_path / "results")
    mine = RunGroup(tmp_path / "results/pair/groups" / group.name)
    fifth = mine.runs[4].path
    alone = run("confirm", fifth, "--top", 2, "--seeds", 5, "--workers", 1)
    assert alone.exit_code == 0, alone.stderr
    refused(run("confirm", mine.path, "--top", 1), "chosen with `--top 2`")
    assert load_confirmation(mine.runs[0].path) is None, "refused after training"
    done = run("confirm", mine.path, "--workers", 1)
    assert done.exit_code == 0, done.stderr
    for contender in load_confirmation(mine.path).contenders:
        assert [len(w.seeds) for w in contender.winners] == [3, 3, 3, 3, 5]


def test_the_search_is_the_unit(group):
    done = run("confirm", group.path, "--format", "json", "--workers", 1)
    assert done.exit_code == 0, done.stderr
    found = load_confirmation(group.path)
    assert found.look == 1 and found.unit_of == "search" and len(found.runs) == 5
    means = {}
    for c in found.contenders:
        assert len(c.winners) == 5 and all(len(w.seeds) == 3 for w in c.winners)
        means[c.family] = [
            statistics.fmean(s.test["rmse"] for s in w.seeds) for w in c.winners
        ]
        assert sorted(c.values) == pytest.approx(sorted(means[c.family]))
        for w in c.winners:  # the search's own winner, nothing chosen
            members = [r for r in load_summary(w.run).rows if r.family == c.family]
            assert w.trial == members[0].trial
    (pair,) = found.pairs
    oracle = stats.ttest_ind(
        *([math.log(v) for v in means[f]] for f in (pair.a, pair.b)),
        equal_var=False,
    ).confidence_interval(0.96)
    assert (math.log(pair.low), math.log(pair.high)) == pytest.approx(
        (oracle.low, oracle.high)
    )
    assert json.loads(done.stdout)["unit_of"] == "search"
    reads = [
        e
        for r in group.runs
        for e in read_events(r.events_file)[0]
        if e.event == "test_read"
    ]
    assert len(reads) == 5, "once a search"
    shown = run("confirm", group.path)
    assert "as this study tunes them, 5 searches each" in shown.stdout
    assert "nothing was trained" in shown.stderr
    refused(run("confirm", group.path, "--extend", 5), "the search", "--repeat")


def test_wrong_groups_are_refused(place, tmp_path):
    where = ("--results", tmp_path / "results")
    refused(run("launch", place / "pair.py", "--repeat", 1, *where), "from 2", "got 1")
    refused(run("confirm", "groups/nothing", *where), "no group")
    assert not (tmp_path / "results").exists()
