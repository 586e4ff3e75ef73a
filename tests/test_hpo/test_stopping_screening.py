"""A few epochs for everybody, then the best to the end: pauses, promotions, freed workers."""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

sys.path.insert(0, str(Path(__file__).parent))
import run_helpers as helpers
import run_processes as processes

from hpo.director.decisions import Done, Pause, Start, Wait
from hpo.errors import RunError
from hpo.ledger.events import Completed, EpochEvent, Paused, Proposed, Started
from hpo.ledger.log import read_events
from hpo.report.summary import load_summary
from hpo.run.launch import launch
from hpo.study import Budget, Family, Objective, Rule
from search_spaces.space import Space
from tests.test_hpo.simulated import SimulatedLoop, curve, study
from tests.test_hpo.test_director import Table, simple

sys.path.pop(0)

SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing


def screening(epochs=3, keep=2) -> Rule:
    return Rule(name="screening", options={"epochs": epochs, "keep": keep})


def screened(**changes):
    settings = {"stopping": (screening(),), "sampler": Rule(name="random")}
    return study(**{**settings, **changes})


@settings(max_examples=40, deadline=None, suppress_health_check=[SLOW])
@given(
    seed=st.integers(0, 10**6),
    trials=st.integers(3, 14),
    epochs=st.integers(1, 5),
    keep=st.integers(1, 4),
    workers=st.integers(1, 4),
    direction=st.sampled_from(["minimize", "maximize"]),
)
def test_it_equals_sorting(seed, trials, epochs, keep, workers, direction):
    """Whoever arrives when: the best of each family by their best value by that epoch."""
    a_study = screened(
        seed=seed,
        stopping=(screening(epochs, keep),),
        budget=Budget(trials=trials, epochs=6),
        objectives=(Objective(direction=direction),),
    )
    loop = SimulatedLoop(a_study, workers=workers)
    loop.run(choose=random.Random(seed).choice)
    sign = 1 if direction == "minimize" else -1
    for family in a_study.families:
        members = [t for t in loop.director.trials.values() if t.family == family.name]
        budget = a_study.epochs_of(family.name)
        if epochs >= budget:
            assert {t.state for t in members} == {"completed"}
            continue
        by = {
            t.number: [
                sign * curve(t.params, t.seed, e).valid["rmse"]
                for e in range(1, epochs + 1)
            ]
            for t in members
        }
        at = {
            number: min(filter(math.isfinite, v)) if math.isfinite(v[-1]) else math.inf
            for number, v in by.items()
        }
        finite = sorted((v, n) for n, v in at.items() if math.isfinite(v))
        best = {n for _, n in finite[:keep]}
        assert {t.number for t in members if t.state == "completed"} == best
        for trial in members:
            assert trial.last == (budget if trial.number in best else epochs)
            if trial.number not in best:
                assert (trial.state, trial.rule) == ("stopped", "screening")


def test_a_pause_frees_the_worker_and_nothing_is_trained_twice():
    loop = SimulatedLoop(screened(), cadence=100)
    loop.run()
    assert len(loop.trained) == len(set(loop.trained))
    order = [e for e in loop.ledger.events if e.event in ("started", "paused")]
    pauses = [e for e in order if e.event == "paused"]
    assert len(pauses) == 11 - sum(
        t.last == 3 and t.rule == "screening" and "nan" in t.reason
        for t in loop.director.trials.values()
    )
    why = Counter(e.attempt_of for e in order if e.event == "started")
    assert why == {"first": 12, "promoted": 4}, "two of each family that searches"
    last_first = max(e.n for e in order if getattr(e, "attempt_of", "") == "first")
    promoted = [e for e in order if getattr(e, "attempt_of", "") == "promoted"]
    assert all(e.n > last_first for e in promoted), "first everybody, then the best"
    assert {e.epoch for e in promoted} == {3}
    assert {e.from_attempt for e in promoted} == {1}


def pausing(workers=1, **changes) -> Table:
    """Three trials of four epochs, of which the best goes on after two."""
    return Table(simple(stopping=(screening(2, 1),), **changes), workers=workers)


def to_the_pause(table, *values):
    """Trials as far as their pause, with these values there."""
    for value in values:
        start = table.next()
        table.report(start.trial, 1, value)
        decision, events = table.report(start.trial, 2, value)
        assert decision == Pause("screening")
        assert [e.event for e in events] == ["epoch", "paused"]
        table.saved(start.trial, 1, 2)


def test_the_best_goes_on_from_its_checkpoint_and_the_others_end():
    table = pausing()
    to_the_pause(table, 3.0, 1.0, 2.0)
    assert table.director.counts() == {"paused": 3}
    start = table.next()
    assert (start.trial, start.attempt, start.known) == (2, 2, 2)
    assert table.sources(2) == [None, 1]
    ended = [(e.event, e.trial, getattr(e, "reason", None)) for e in table.events[-3:]]
    assert ended == [
        ("stopped", 1, "rank 3 of 3 at epoch 2"),
        ("stopped", 3, "rank 2 of 3 at epoch 2"),
        ("started", 2, None),
    ]
    table.report(2, 3, 1.0, attempt=2)
    decision, _ = table.report(2, 4, 1.0, attempt=2)
    assert (decision.state, table.next()) == ("completed", Done("budget"))
    assert table.director.best().number == 2


def test_who_is_still_on_the_way_is_waited_for():
    table = pausing(workers=2)
    to_the_pause(table, 3.0)
    second, third = table.next(), table.next()
    table.report(second.trial, 1, 1.0)
    table.report(second.trial, 2, 1.0)
    assert table.next() == Wait(), "the third might be better"
    table.write(table.director.lost(third.trial, 1, "killed", 0.0, retry=True))
    again = table.next()
    assert (again.trial, again.attempt) == (3, 2), "and is tried again first"
    table.write(table.director.lost(3, 2, "broken", 0.0, retry=False))
    assert table.next().trial == 2, "a failed trial is waited for no longer"


def test_a_nan_ends_at_the_pause_and_keeps_nobody_from_going_on():
    table = pausing()
    for value in (math.nan, math.inf):
        start = table.next()
        table.report(start.trial, 1, 1.0)
        decision, _ = table.report(start.trial, 2, value)
        assert (decision.state, decision.rule) == ("stopped", "screening")
    to_the_pause(table, 9.0)
    assert table.next().trial == 3


def test_other_rules_come_before_the_pause():
    table = Table(
        simple(stopping=(screening(2, 3), Rule(name="asha", options={"grace": 2})))
    )
    for value, expected in ((1.0, "paused"), (2.0, "stopped"), (0.5, "paused")):
        start = table.next()
        table.report(start.trial, 1, value)
        table.report(start.trial, 2, value)
        assert table.state(start.trial) == expected
    assert [table.next().trial for _ in range(1)] == [3], "the best first"


def test_a_pause_cut_off_by_death_is_taken_then():
    """The epoch reached the disk, the pause that follows it did not."""
    table = pausing()
    start = table.next()
    table.report(start.trial, 1)
    epoch = table.report(start.trial, 2)[1]
    assert [e.event for e in epoch] == ["epoch", "paused"]
    fresh = pausing()
    fresh.write(table.events[:-1])
    (event,) = fresh.director.interrupt("the driver died", 0.0)
    assert (event.event, event.rule) == ("paused", "screening")


def test_a_promoted_trial_that_dies_is_tried_again():
    table = pausing()
    to_the_pause(table, 3.0, 1.0, 2.0)
    table.next()
    table.write(table.director.lost(2, 2, "killed", 0.0, retry=True))
    start = table.next()
    assert (start.trial, start.attempt, start.known) == (2, 3, 2)
    assert table.events[-1].attempt_of == "retry"


def test_paused_trials_of_which_none_goes_on_end_with_the_run():
    """An earlier run's trial has the one place already: the decision is Done at once."""
    table = pausing()
    origin = {"origin": "carried", "number": 0, "family": "rnn", "seed": 1}
    params = {"kind": "gru", "rate": 0.1, "layers": 1}
    table.write(
        [
            Proposed(trial=1, **origin, params=params),
            Started(trial=1, attempt=1, attempt_of="carried", epoch=0),
        ]
    )
    for number in range(1, 5):
        epoch = {"epoch": number, "train": {}, "valid": {"rmse": 1.0}}
        seconds = {"seconds": 1.0, "compile_seconds": 0.0}
        table.write([EpochEvent(trial=1, attempt=1, **epoch, **seconds)])
    table.write([Completed(trial=1, attempt=1, epoch=4)])
    to_the_pause(table, 3.0, 2.0)
    assert table.next() == Done("budget")
    assert [e.event for e in table.events[-2:]] == ["stopped", "stopped"]
    assert table.director.counts() == {"completed": 1, "stopped": 2}


def test_a_budget_that_is_used_up_cancels_what_is_paused():
    table = pausing(budget=Budget(trials=3, epochs=4, seconds=10))
    to_the_pause(table, 3.0, 1.0)
    assert table.next(10.0) == Done("time")
    assert table.director.counts() == {"cancelled": 2}


def test_a_grid_that_ends_early_is_settled_too():
    space = Space({"rate": FloatDistribution(0.1, 1.0, log=True)})
    family = Family(name="rnn", space=space, create="tests.test_hpo.simulated:create")
    a_study = screened(
        families=(family,),
        budget=Budget(trials=9, epochs=6),
        sampler=Rule(name="grid", options={"steps": 4}),
    )
    loop = SimulatedLoop(a_study, workers=2)
    loop.run()
    states = Counter(t.state for t in loop.director.trials.values())
    assert sum(states.values()) == 4 and states["completed"] <= 2
    assert all(t.ended for t in loop.director.trials.values())


def test_a_budget_no_longer_than_the_screening_has_no_pause():
    table = Table(simple(stopping=(screening(4, 1),)))
    start = table.next()
    assert isinstance(start, Start) and start.rungs == ()
    for number in range(1, 5):
        decision, _ = table.report(1, number)
    assert decision.state == "completed"


def test_pauses_that_no_rule_of_the_study_makes_are_refused():
    table = pausing()
    table.next()
    table.report(1, 1)
    for data in ({"epoch": 1, "rule": "screening"}, {"epoch": 1, "rule": "asha"}):
        event = Paused(trial=1, attempt=1, **data)
        with pytest.raises(RunError, match="pauses no trial there"):
            table.director.apply(event)


# -- with workers -------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    processes.end_all()


def trained(folder):
    """Every epoch that a worker trained, by trial."""
    return {
        int(path.parent.name): [
            int(line.split()[0]) for line in path.read_text().splitlines()
        ]
        for path in sorted(folder.glob("trials/*/trained.txt"))
    }


def test_local_workers_pause_and_go_on_from_the_checkpoint(tmp_path):
    outcome = launch(
        helpers.study(
            create=helpers.create,
            stopping=(screening(2, 2),),
            sampler=Rule(name="qmc"),
        ),
        results=tmp_path,
    )
    assert outcome.state == "finished"
    summary = load_summary(outcome.folder)
    assert summary.counts() == {"completed": 2, "stopped": 4}
    at_pause = sorted(
        (min(point.value for point in row.curve[:2]), row.trial) for row in summary.rows
    )
    best = {trial for _, trial in at_pause[:2]}
    assert {row.trial for row in summary.rows if row.rank} == best
    assert trained(outcome.folder) == {
        number: [1, 2, 3, 4, 5, 6] if number in best else [1, 2]
        for number in range(1, 7)
    }
    assert {a.why for r in summary.rows if r.rank for a in r.attempts} == {
        "first",
        "promoted",
    }


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [None, 12, 29, 33])
def test_ray_workers_tell_the_same_story(tmp_path, kill_at):
    """Two workers; killed before, at and after the first promotion."""
    options = {"screening": [2, 2], "workers": 2, "executor": "ray"}
    answer = processes.outcome(processes.start(tmp_path / "local", screening=[2, 2]))
    whole = helpers.story(answer["folder"])
    if kill_at is None:
        answer = processes.outcome(processes.start(tmp_path / "ray", **options))
    else:
        driver = processes.start(tmp_path / "ray", kill_at=kill_at, **options)
        processes.finish(driver)
        assert driver.returncode == -9
        (folder,) = (tmp_path / "ray/steady").iterdir()
        answer = processes.outcome(
            processes.start(tmp_path / "ray", resume=str(folder), **options)
        )
    assert answer["state"] == "finished"
    events, _ = read_events(Path(answer["folder"]) / "events.jsonl")
    assert Counter(e.event for e in events)["paused"] == 6
    assert helpers.story(answer["folder"]) == whole
