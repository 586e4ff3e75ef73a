"""Rules that plan, against recounts of their ledgers, examples by hand and bad input."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

from hpo.director import Director
from hpo.director.decisions import Done, Pause, Start, Wait
from hpo.errors import StudyError
from hpo.search import registry as search
from hpo.stopping import registry
from hpo.study import Budget, Family, Rule
from search_spaces.space import Space
from tests.test_hpo.simulated import SimulatedLoop, study
from tests.test_hpo.test_director import Table, simple
from tests.test_hpo.test_director_replay import (
    OPTIONS,
    outcome,
    story,
    survive,
    undisturbed,
)

SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing
NAMES = ("promotion", "halving")
RANDOM = Rule(name="random")


def planned(name, **changes):
    options = changes.pop("options", {})
    stopping = (Rule(name="divergence"), Rule(name=name, options=options))
    return study(**{"stopping": stopping, "sampler": RANDOM, **changes})


def train(table, epochs_values):
    """Report epochs of one trial until it pauses or ends; its state then."""
    start = table.next()
    assert isinstance(start, Start), start
    for number, value in epochs_values(start.trial):
        if number <= start.known:
            continue
        decision, _ = table.report(
            start.trial, number, value, attempt=start.attempt, elapsed=0.0
        )
        if isinstance(decision, Pause):
            table.saved(start.trial, start.attempt, number)
            return start.trial, "paused", number
        if table.director.trials[start.trial].ended:
            return start.trial, str(table.state(start.trial)), number
    raise AssertionError("neither paused nor ended")


def flat(trial):
    """Trial 1 is the worst, each later one better, in every epoch."""
    return ((n, 100.0 - trial) for n in range(1, 99))


# -- halving, by hand ---------------------------------------------------------------------


def test_halving_of_48_epochs_by_hand():
    """16 epochs a trial, rungs 1 and 4; weights 1 and 3/4 of the 24 that are not kept.

    The last stage keeps 24 = 2 × 12. The best trial is brought through both stages (1 + 3);
    of the other 20 epochs stage 0 has 20 / 1.75 = 11.4: 13 draws (the last begins at 12).
    Stage 1: the best by rank, three epochs each, while 24 hold: 3 of them (22), and two
    draws with what is left. Then the two best of the second rung have 12 each: 48 epochs.
    """
    budget = Budget(trials=99, epochs=16, total_epochs=48)
    table = Table(simple(budget=budget, stopping=(Rule(name="halving"),)))
    told = []
    while not isinstance(table.director.next(0.0)[0], Done):
        told.append(train(table, flat))
    assert told == [
        *((n, "paused", 1) for n in range(1, 14)),
        *((n, "paused", 4) for n in (13, 12, 11)),
        *((n, "paused", 1) for n in (14, 15)),
        (13, "completed", 16),
        (12, "completed", 16),
    ]
    assert table.next() == Done("epochs")
    assert table.director.counts() == {"completed": 2, "stopped": 13}
    reasons = {t.number: t.reason for t in table.director.trials.values()}
    assert reasons[11] == "rank 3 of 3 at epoch 4: the run's budget (epochs) is used up"
    assert (
        reasons[1] == "rank 15 of 15 at epoch 1: the run's budget (epochs) is used up"
    )


def test_the_best_of_each_family_comes_to_the_last_rung_before_the_end():
    """Two families, two runs of 32 epochs: one finisher, chosen from both at epoch 8.

    It keeps 24 of 64. The stages to epochs 1, 2 and 8 have 2 × 1, 2 × 1 and 2 × 6 of the
    other 40 for the two best, and 24 / 1.625 = 14.8, 3.7 and 5.5 more, by the weights 1, 1/4
    and 3/8: 17 draws (until 17 epochs are spent), 6 that go on to epoch 2 (23), and two to
    epoch 8 (35). A third would leave too little; five more go on to epoch 2 (40).
    """
    families = [
        Family(name=name, space=Space({"rate": FloatDistribution(0.1, 1.0)}), trials=20)
        for name in ("quick", "slow")
    ]
    a_study = simple(
        families=tuple(families),
        budget=Budget(trials=40, epochs=32, total_epochs=64),
        stopping=(Rule(name="halving"),),
    )
    loop = undisturbed(a_study)
    reached = {
        epoch: [t.family for t in loop.director.trials.values() if t.last >= epoch]
        for epoch in (1, 2, 8, 32)
    }
    assert [len(r) for r in reached.values()] == [17, 11, 2, 1]
    assert {*reached[8]} == {"quick", "slow"}


@pytest.mark.parametrize("better", [0, 1])
@pytest.mark.parametrize("epochs", [(60, 62), (30, 62), (16, 62), (60, 30)])
def test_the_last_stage_compares_families_by_value_also_where_epochs_differ(
    epochs, better
):
    """Top rungs are rounded: 15 of 60, 16 of 62, 8 of 30, 4 of 16; the value decides."""
    names = ("one", "other")
    space = Space({"rate": FloatDistribution(0.1, 1.0)})
    families = tuple(
        Family(name=name, space=space, epochs=count)
        for name, count in zip(names, epochs, strict=True)
    )
    budget = Budget(trials=40, epochs=62, total_epochs=160)
    rules = (Rule(name="halving", options={"last": 0.3}),)
    table = Table(simple(families=families, budget=budget, stopping=rules))
    trials = table.director.trials

    def values(trial):
        level = 0.0 if trials[trial].family == names[better] else 1000.0
        return ((n, level + n) for n in range(1, 99))

    while not isinstance(table.director.next(0.0)[0], Done):
        train(table, values)
    tops = {name: round(count / 4) for name, count in zip(names, epochs, strict=True)}
    waited = Counter(t.family for t in trials.values() if t.last >= tops[t.family])
    ended = [t.family for t in trials.values() if t.ranked]
    assert len(waited) == 2 and ended
    assert ended.count(names[better]) == min(len(ended), waited[names[better]])


def test_halving_of_a_pool_that_runs_dry_trains_all_to_the_end():
    budget = Budget(trials=4, epochs=16, total_epochs=400)
    table = Table(simple(budget=budget, stopping=(Rule(name="halving"),)))
    while not isinstance(table.director.next(0.0)[0], Done):
        train(table, flat)
    assert table.director.counts() == {"completed": 4}
    assert table.director.epochs == 64


@pytest.mark.parametrize("trials", [1, 2, 5, 10, 25, 100])
def test_halving_without_a_limit_draws_every_trial_and_ends_in_proportion(trials):
    """About 1.4 full runs by the root of the number of trials, never fewer than one."""
    budget = Budget(trials=trials, epochs=27)
    loop = undisturbed(planned("halving", budget=budget, families=one_family()))
    assert len(loop.director.trials) == trials
    called_for = max(1.0, 1.4 * math.sqrt(trials), trials * 3.2 / 27)
    assert loop.director.epochs <= 27 * called_for + 1
    ranked = [t for t in loop.director.trials.values() if t.ranked]
    assert ranked


def one_family():
    return study().families[:1]


@settings(max_examples=25, deadline=None, suppress_health_check=[SLOW])
@given(
    seed=st.integers(0, 10**6),
    trials=st.integers(1, 30),
    epochs=st.integers(1, 20),
    runs=st.integers(1, 8),
    workers=st.integers(1, 6),
)
def test_halving_keeps_to_its_budget_and_finishes_what_it_begins(
    seed, trials, epochs, runs, workers
):
    budget = Budget(trials=trials, epochs=epochs, total_epochs=runs * epochs)
    a_study = planned("halving", budget=budget, seed=seed, families=one_family())
    loop = SimulatedLoop(a_study, workers=workers)
    loop.run(choose=random.Random(seed).choice)
    trials_ = loop.director.trials.values()
    assert all(t.ended for t in trials_)
    assert loop.director.epochs <= budget.total_epochs
    assert not any(t.state == "cancelled" for t in trials_), "nothing is cut half-way"
    bad = {"diverged", "stopped"}
    if not any(t.ranked for t in trials_):
        # only where whatever was to be finished went bad
        assert {str(t.state) for t in trials_} <= bad
        assert any(t.state == "diverged" for t in trials_)


@pytest.mark.parametrize("name", NAMES)
def test_promotions_at_a_rung_go_to_the_best_of_the_family_there(name):
    """Recounted from the ledger: nobody of the family who waits there is better."""
    loop = undisturbed(planned(name, budget=Budget(trials=40, epochs=27)))
    at, waits, counted = {}, {}, 0
    for event in loop.ledger.events:
        trial = loop.director.trials[event.trial]
        if event.event == "epoch":
            at[event.trial, event.epoch] = event.valid["rmse"]
        elif event.event == "paused":
            waits[event.trial] = event.epoch
        elif event.event == "started" and event.attempt_of == "promoted":
            rung = waits.pop(event.trial)
            rivals = [
                n
                for n, epoch in waits.items()
                if epoch == rung and loop.director.trials[n].family == trial.family
            ]
            last_stage = name == "halving" and rung == max(
                loop.director.rungs(trial.family)
            )
            if not last_stage:  # which goes by the best epoch so far
                assert all(at[n, rung] >= at[event.trial, rung] for n in rivals)
            counted += 1
        elif event.event == "stopped":
            waits.pop(event.trial, None)
    assert counted > 10 and not waits


def test_promotion_by_hand():
    """Rungs 1 and 3 of 9 epochs, eta 3: of three the best goes on, then the best of all."""
    budget = Budget(trials=7, epochs=9)
    table = Table(simple(budget=budget, stopping=(Rule(name="promotion"),)))
    told = [train(table, flat) for _ in range(12)]
    assert told == [
        *((n, "paused", 1) for n in (1, 2, 3)),
        (3, "paused", 3),  # the best of three
        (4, "paused", 1),  # now the best of four, of which one may go on
        (4, "paused", 3),
        (5, "paused", 1),
        (5, "paused", 3),
        (5, "completed", 9),  # the best of three at the second rung
        (6, "paused", 1),
        (6, "paused", 3),
        (6, "completed", 9),
    ]


# -- whoever is killed, and whoever runs beside -------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("sampler", search.names())
@pytest.mark.parametrize("name", NAMES)
def test_killed_at_every_event_of_a_rule_that_plans(name, sampler):
    if sampler in ("gp", "cmaes"):
        pytest.importorskip({"gp": "torch", "cmaes": "cmaes"}[sampler])
    a_study = planned(
        name, sampler=Rule(name=sampler, options=OPTIONS.get(sampler, {}))
    )
    whole = undisturbed(a_study)
    expected, states = story(whole.ledger.events), outcome(whole.director)
    assert {"paused", "stopped"} <= {e.event for e in whole.ledger.events}
    for last in range(1, len(whole.ledger.lines), 7 if sampler == "gp" else 1):
        loop = SimulatedLoop(a_study)
        survive(loop, last, last % 2 == 0)
        assert story(loop.ledger.events) == expected, f"killed at event {last}"
        assert outcome(loop.director) == states
        lost = len(loop.trained) - len(whole.trained)
        assert lost <= loop.cadence, f"killed at {last}: {lost} epochs trained twice"


@pytest.mark.parametrize("name", NAMES)
def test_killed_at_some_events(name):
    a_study = planned(name, budget=Budget(trials=9, epochs=9, total_epochs=40))
    whole = undisturbed(a_study)
    expected = story(whole.ledger.events)
    for last in range(1, len(whole.ledger.lines), 11):
        loop = SimulatedLoop(a_study)
        survive(loop, last, last % 2 == 0)
        assert story(loop.ledger.events) == expected, f"killed at event {last}"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("workers", [2, 5])
def test_with_workers_everything_ends_and_none_waits_while_there_is_a_draw(
    name, workers
):
    a_study = planned(name, budget=Budget(trials=30, epochs=9))
    loop = SimulatedLoop(a_study, workers=workers)
    fill, waited = loop.fill, Counter()

    def watched():
        found = fill()
        if len(loop.active) < workers and len(loop.director.trials) < 30:
            waited["early"] += len(loop.active) > 0
        return found

    loop.fill = watched
    loop.run(choose=random.Random(3).choice)
    assert not waited
    assert all(t.ended for t in loop.director.trials.values())
    assert len(loop.director.trials) == loop.director.total


def test_a_worker_waits_only_for_those_that_run():
    table = Table(
        simple(budget=Budget(trials=2, epochs=4), stopping=(Rule(name="halving"),)),
        workers=3,
    )
    assert [type(table.next()) for _ in range(3)] == [Start, Start, Wait]


# -- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("options", "budget", "told"),
    [
        ({"eta": 1}, {}, "eta must be an integer from 2 up, got 1"),
        ({"eta": 2.5}, {}, "eta must be an integer"),
        ({}, {"total_epochs": 8}, "8 epochs of all trials together"),
    ],
)
def test_bad_input_is_told_with_rule_and_value(name, options, budget, told):
    a_study = planned(name, options=options, budget=Budget(epochs=9, **budget))
    with pytest.raises(StudyError) as caught:
        Director(a_study, workers=1)
    assert told in caught.value.message and name in caught.value.message


def test_a_rung_beyond_every_budget_is_refused():
    with pytest.raises(StudyError, match="epoch 9, is not below") as caught:
        Director(planned("promotion", options={"grace": 9}), workers=1)
    assert "grace" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("halving", "screening"), "halving and screening"),
        (("screening", "promotion"), "screening and promotion"),
        (("halving", "divergence", "halving"), "halving and halving"),
        (("screening", "screening"), "screening and screening"),
    ],
)
def test_only_one_rule_says_which_paused_trials_go_on(names, told):
    rules = tuple(Rule(name=name) for name in names)
    with pytest.raises(StudyError, match="only one rule") as caught:
        Director(study(stopping=rules), workers=1)
    assert caught.value.message.endswith(told)
    assert "stopping" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("budget", "rungs"),
    [
        (1, ()),
        (2, (1,)),
        (5, (1,)),
        (27, (1, 2, 7)),
        (40, (1, 2, 10)),
        (64, (1, 4, 16)),
    ],
)
def test_rungs_of_halving(budget, rungs):
    assert registry.make(Rule(name="halving")).rungs(budget, 0) == rungs


def test_families_without_rungs_are_trained_to_their_end():
    families = (Family(name="closed", space=Space({"k": 1}), trials=2, epochs=1),)
    loop = undisturbed(planned("halving", families=(*families, *one_family())))
    closed = [t for t in loop.director.trials.values() if t.family == "closed"]
    assert [str(t.state) for t in closed] == ["completed", "completed"]
