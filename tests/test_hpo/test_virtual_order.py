"""Virtual order: the same decisions with any number of workers, any delays, deaths and kills."""

from __future__ import annotations

import random

import pytest

from hpo import order as orders
from hpo.director import Director
from hpo.director.clock import Clock
from hpo.errors import StudyError
from hpo.ledger.events import Completed, EpochEvent, Paused, Proposed, Started
from hpo.run.sources import as_run
from hpo.study import Budget, Resources, Rule
from tests.test_hpo.seated import SeatedLoop, decided
from tests.test_hpo.simulated import Killed, SimulatedLoop, outcome, study
from tests.test_hpo.test_stopping_pbt import population, trained

EIGHT = Resources(order="virtual:8")


def rule(name, **options) -> Rule:
    return Rule(name=name, options=options)


RULES = [
    (rule("divergence"), rule("asha"), rule("patience", epochs=3, min_delta=0.01)),
    (rule("divergence"), rule("halving")),
    (rule("divergence"), rule("promotion")),
    (rule("divergence"), rule("screening", epochs=3, keep=2)),
    (rule("hyperband"),),
    (rule("divergence"), rule("median", startup=2)),
    (rule("optuna", pruner="SuccessiveHalvingPruner"),),
]
BUDGETS = [Budget(trials=12, epochs=9), Budget(trials=20, epochs=9, total_epochs=60)]
SAMPLERS = [rule("random"), rule("tpe", startup=3)]
FIRST = pytest.mark.parametrize(
    "rules", RULES, ids=lambda rules: f"{rules[-1].name}-{len(rules)}"
)


def virtual(**changes):
    return study(**{"resources": EIGHT, **changes})


class Population(SeatedLoop):
    """Trials that adopt each other."""

    def curve(self, start, number):
        return trained(start.seed, start.params, start.schedule, number)


class Eventful(SeatedLoop):
    """One learner that has no more to yield, and one that raises."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.ends, self.failing = {2: 4, 5: 2}, {3: 1, 6: 3}


def told(a_study, kind=SeatedLoop, **options):
    loop = kind(a_study, **options)
    loop.run()
    return decided(loop.ledger.events), outcome(loop.director)


@FIRST
@pytest.mark.parametrize("budget", BUDGETS, ids=["trials", "epochs"])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=["random", "tpe"])
def test_any_number_of_workers(rules, budget, sampler):
    a_study = virtual(stopping=rules, budget=budget, sampler=sampler)
    expected = told(a_study, workers=1)
    assert {"epoch", "proposed"} <= {kind for kind, *_ in expected[0]}
    for workers in (2, 4, 8, 16):
        for deaths in (0.0, 0.1):
            found = told(a_study, workers=workers, deaths=deaths, seed=workers)
            assert found == expected, f"{workers} workers, deaths {deaths}"


def test_arrival_order_is_another_one():
    """The property is none of the study's: as reports arrive, decisions differ."""
    expected, differing = None, 0
    for seed in range(5):
        loop = SimulatedLoop(study(sampler=rule("random")), workers=4)
        loop.run(choose=random.Random(seed).choice)
        found = outcome(loop.director)
        expected = expected or found
        differing += found != expected
    assert differing


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_learners_that_end_and_fail_have_their_turn(workers):
    a_study = virtual(sampler=rule("random"), stopping=(rule("divergence"),))
    expected = told(a_study, Eventful, workers=3)
    states = {number: state for number, *_, state, _, _, _, _, _, _ in expected[1]}
    assert states[3] == states[6] == "failed" and states[2] == "completed"
    for seed in range(10):
        found = told(a_study, Eventful, workers=workers, seed=seed, deaths=0.05)
        assert found == expected


def test_a_population_adopts_the_same():
    a_study = population(trials=8, epochs=10).replace(resources=EIGHT)
    expected = told(a_study, Population)
    assert any(kind == "exploited" for kind, *_ in expected[0])
    for workers in (2, 3, 8):
        for seed in range(3):
            found = told(
                a_study, Population, workers=workers, seed=seed, deaths=0.05 * seed
            )
            assert found == expected


@FIRST
def test_one_seat_is_arrival_order_with_one_worker(rules):
    """Line by line, times and all."""
    arrival = SimulatedLoop(study(stopping=rules))
    arrival.run()
    one = virtual(stopping=rules, resources=Resources(order="virtual:1"))
    seated = SeatedLoop(one)
    seated.chance.choice = lambda found: found[0]  # as slow as the other loop
    seated.run()
    assert seated.ledger.lines == arrival.ledger.lines


def kill(loop, last, mercy):
    loop.ledger.last, loop.ledger.mercy = last, mercy
    try:
        loop.run()
    except Killed:
        loop.resume()
        loop.run()


@FIRST
def test_killed_at_some_events(rules):
    killed_at_events(rules, every=37)


@pytest.mark.long
@FIRST
def test_killed_at_every_event(rules):
    killed_at_events(rules, every=1)


def killed_at_events(rules, *, every):
    for budget in BUDGETS:
        a_study = virtual(stopping=rules, budget=budget, sampler=rule("random"))
        whole = SeatedLoop(a_study, workers=3)
        whole.run()
        expected = decided(whole.ledger.events), outcome(whole.director)
        for last in range(1, len(whole.ledger.lines), every):
            for workers, mercy in ((3, False), (5, True)):
                loop = SeatedLoop(a_study, workers=workers, deaths=0.02, seed=last)
                kill(loop, last, mercy)
                found = decided(loop.ledger.events), outcome(loop.director)
                assert found == expected, f"killed at {last}, {workers} workers"


@pytest.mark.slow
def test_a_killed_population():
    a_study = population(trials=6, epochs=10).replace(resources=EIGHT)
    whole = Population(a_study, workers=3)
    whole.run()
    expected = decided(whole.ledger.events), outcome(whole.director)
    for last in range(1, len(whole.ledger.lines)):
        loop = Population(a_study, workers=3, seed=last)
        kill(loop, last, bool(last % 2))
        assert (decided(loop.ledger.events), outcome(loop.director)) == expected


def test_workers_train_ahead_but_not_past_what_decides():
    """Nobody is trained beyond its next rung, or its own end, before its turn."""
    rules = (rule("divergence"), rule("asha"))
    a_study = virtual(stopping=rules, sampler=rule("random"))
    loop = SeatedLoop(a_study, workers=4)
    step, ahead = loop.step, []

    def watched(trial):
        start, _ = loop.active[trial]
        known = loop.director.trials[trial].last
        step(trial)
        done = max(n for t, n in loop.trained if t == trial)
        ahead.append(done - known)
        crossed = [r for r in start.rungs if known < r < done]
        assert len(crossed) == 0 or loop.director.trials[trial].last >= crossed[-1]

    loop.step = watched
    loop.run()
    assert max(ahead) > 1, "nobody trained ahead"
    wasted = len(loop.trained) - loop.director.epochs
    assert wasted == 0, "trained what no ledger holds"


@pytest.mark.parametrize("seats", [8, 16])
def test_nobody_trains_far_past_the_end_of_the_epochs(seats):
    """Without rungs nothing parks a trial but the end of the run: 60 epochs, not each 30."""
    a_study = virtual(
        stopping=(),
        sampler=rule("random"),
        budget=Budget(trials=40, epochs=30, total_epochs=60),
        resources=Resources(order=f"virtual:{seats}"),
    )
    for seed in range(4):
        loop = SeatedLoop(a_study, workers=4, seed=seed)
        loop.run()
        assert len(loop.trained) - 60 < 40, "trained in vain"


def test_the_clock_by_hand():
    clock = Clock()
    clock.apply(proposed(1))
    clock.apply(proposed(2))
    assert (clock.head(), clock.turn(1), clock.turn(2)) == (1, (1, 1), (1, 2))
    clock.apply(epoch(1, 1))
    assert (clock.now, clock.head(), clock.turn(1)) == (1, 2, (2, 1))
    clock.apply(epoch(2, 1))
    clock.apply(epoch(1, 2))
    assert (clock.now, clock.head()) == (2, 2)
    clock.apply(Paused(trial=2, attempt=1, epoch=1))
    clock.apply(proposed(3))
    assert (clock.head(), clock.turn(3)) == (1, (3, 3))
    clock.apply(Completed(trial=1, attempt=1, epoch=2))
    assert list(clock.seated) == [3]
    clock.apply(Started(trial=3, attempt=1, attempt_of="first", epoch=0))
    clock.apply(Started(trial=2, attempt=2, attempt_of="promoted", epoch=1))
    assert (clock.turn(3), clock.turn(2)) == ((3, 3), (3, 4))
    clock.apply(Proposed(trial=4, **ORIGIN | {"origin": "carried"}))
    clock.apply(epoch(4, 1))
    assert list(clock.seated) == [3, 2] and clock.now == 2


ORIGIN = {"family": "rnn", "number": 0, "params": {}, "seed": 1, "origin": "random"}


def proposed(trial):
    return Proposed(trial=trial, **ORIGIN)


def epoch(trial, number):
    return EpochEvent(
        trial=trial,
        attempt=1,
        epoch=number,
        train={},
        valid={},
        seconds=0.1,
        compile_seconds=0.0,
    )


@pytest.mark.parametrize(
    "order", ["virtual:0", "virtual:-1", "virtual:x", "random", ""]
)
def test_an_order_without_meaning_is_refused(order):
    with pytest.raises(StudyError, match="order of decisions") as caught:
        Resources(order=order)
    assert repr(order) in caught.value.message


def test_a_time_budget_is_refused():
    with pytest.raises(StudyError, match="time budget"):
        virtual(budget=Budget(trials=3, seconds=10.0))


def test_seats_are_counted_and_recorded():
    a_study = as_run(virtual(resources=Resources(order="virtual")), workers=3)
    assert a_study.resources.order == "virtual:12" and a_study.resources.seats == 12
    again = type(a_study).from_json(a_study.to_json())
    assert again.resources == a_study.resources
    old = a_study.to_json()
    del old["resources"]["order"]
    assert type(a_study).from_json(old).resources.order == orders.ARRIVAL
    assert Resources(workers=3).seats == 3
    director = Director(a_study, workers=a_study.resources.seats)
    assert director.workers == 12
