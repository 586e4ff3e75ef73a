"""Virtual order with real processes: workers that train ahead, park, die, and are stopped."""

from __future__ import annotations

import pytest
from optuna.distributions import FloatDistribution

from hpo.audit import auditing
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import read_events
from hpo.run.extend import Extension, extend
from hpo.run.launch import launch, resume
from hpo.study import Budget, Family, Resources, Rule, Study
from hpo.testing import drivers
from hpo.testing.steady import trained
from tests.test_hpo.command_line import run as hpo
from tests.test_hpo.seated import decided


def study(workers, *, stopping=("asha",), order="virtual:4", trials=8, **family):
    """A few trials of a learner in pure Python; deaths, pauses and sizes by configuration."""
    space = {"rate": FloatDistribution(0.05, 0.9), "start": 1.0, **family}
    return Study(
        name="seated",
        families=(
            Family(name="steady", space=space, create="hpo.testing.steady:create"),
        ),
        budget=Budget(trials=trials, epochs=9),
        stopping=tuple(Rule(name=name) for name in stopping),
        resources=Resources(executor="local", workers=workers, order=order),
    )


def events(folder):
    return read_events(folder / "events.jsonl")[0]


def test_one_worker_and_two_decide_the_same(tmp_path):
    found = {}
    for workers in (1, 2):
        done = launch(study(workers), results=tmp_path / str(workers))
        assert done.state == "finished"
        assert done.study.resources.order == "virtual:4"
        found[workers] = decided(events(done.folder))
        for number, lines in trained(done.folder).items():
            assert len(lines) == len(set(lines)), f"trial {number} trained twice"
    assert found[1] == found[2]
    assert any(kind == "stopped" for kind, *_ in found[1]), "nobody was compared"


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["halving", "promotion", "pbt"])
def test_rules_that_pause(rule, tmp_path):
    found = []
    for workers in (1, 3):
        a_study = study(workers, stopping=(rule,), pause=0.02)
        done = launch(a_study, results=tmp_path / str(workers))
        found.append(decided(events(done.folder)))
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_killed_driver_decides_the_same(tmp_path):
    whole = launch(study(1), results=tmp_path / "whole").folder
    expected = decided(events(whole))
    for moment in (5, 17, 30, 44):
        place = tmp_path / str(moment)
        place.mkdir()
        driver = drivers.start(place, study(3), kill_at=moment)
        try:
            driver.process.communicate(timeout=120)
            assert driver.process.returncode == -9
            assert resume(driver.folder).state == "finished"
            assert decided(events(driver.folder)) == expected, f"killed at {moment}"
        finally:
            driver.end()


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["asha", "halving"])
def test_an_extended_run_decides_the_same(rule, tmp_path):
    """What is taken up again has a seat of its own, and the clock goes on."""
    found = []
    for workers in (1, 3):
        a_study = study(workers, stopping=(rule,), trials=12)
        a_study = a_study.replace(budget=Budget(trials=12, epochs=9, total_epochs=30))
        folder = launch(a_study, results=tmp_path / str(workers)).folder
        assert (
            extend(folder, Extension(trials=3, total_epochs=60)).state != "interrupted"
        )
        told = events(folder)
        assert any(event.event == "reopened" for event in told), "nobody goes on"
        assert not auditing.audit(RunFolder(folder)).findings
        found.append([x for x in decided(told) if x[0] != "extended"])
    assert found[0] == found[1]


@pytest.mark.slow
def test_the_command_line(tmp_path, monkeypatch):
    """`check` says what `launch` does; no seat and a time budget are refused."""
    monkeypatch.chdir(tmp_path)
    some = ("--workers", 2, "--order", "virtual")
    told = hpo("check", "quickstart", *some)
    assert told.exit_code == 0 and "virtual order on 8 seats" in told.stdout
    bad = hpo("check", "quickstart", "--order", "virtual:0")
    assert bad.exit_code == 1 and "virtual:0" in bad.stderr
    bad = hpo("check", "quickstart", "--order", "virtual", "--time-budget", "1m")
    assert bad.exit_code == 1 and "time budget" in bad.stderr
