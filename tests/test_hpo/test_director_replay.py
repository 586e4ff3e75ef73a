"""A run killed at any event and resumed tells the story of the undisturbed one."""

from __future__ import annotations

import copy
import json
import random
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from hpo.director import replay
from hpo.director.decisions import Start
from hpo.errors import RunError
from hpo.ledger.events import KINDS, Event
from hpo.ledger.log import read_events
from hpo.search import registry as search
from hpo.study import Budget, Objective, Rule
from models.training.protocol import Epoch
from tests.test_hpo.simulated import Killed, SimulatedLoop, outcome, story, study

SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing

RANDOM = Rule(name="random")

OPTIONS = {
    "cmaes": {"population": 4},
    "gp": {"startup": 3},
    "grid": {"steps": 3},
    "nsga2": {"population": 3},
    "tpe": {"startup": 3},
}
PACKAGES = {"cmaes": "cmaes", "gp": "torch"}
SAMPLERS = [
    pytest.param(
        Rule(name=name, options=OPTIONS.get(name, {})),
        id=name,
        marks=[
            pytest.mark.skipif(
                name in PACKAGES and find_spec(PACKAGES[name]) is None,
                reason=f"needs the extra `{name}`",
            ),
            *([pytest.mark.oracles] if name == "gp" else []),  # the extra with torch
        ],
    )
    for name in search.names()
]


def undisturbed(a_study, **options) -> SimulatedLoop:
    loop = SimulatedLoop(a_study, **options)
    loop.run()
    return loop


def survive(loop: SimulatedLoop, last: int, mercy: bool) -> None:
    """Kill the driver at an event, then let a new one finish."""
    loop.ledger.last, loop.ledger.mercy = last, mercy
    with pytest.raises(Killed):
        loop.run()
    loop.resume()
    loop.run()


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("mercy", [False, True])
def test_killed_at_every_event(sampler, mercy):
    a_study = study(sampler=sampler)
    whole = undisturbed(a_study)
    expected, states = story(whole.ledger.events), outcome(whole.director)
    if sampler.name in ("random", "tpe"):
        kinds = {e.event for e in whole.ledger.events}
        assert {"stopped", "completed", "converged", "diverged", "checkpoint"} <= kinds
    # A Gaussian process takes its time: there, every seventh event.
    for last in range(1, len(whole.ledger.lines), 7 if sampler.name == "gp" else 1):
        loop = SimulatedLoop(a_study)
        survive(loop, last, mercy)
        assert story(loop.ledger.events) == expected, f"killed at event {last}"
        assert outcome(loop.director) == states
        lost = len(loop.trained) - len(whole.trained)
        assert lost <= loop.cadence, f"killed at {last}: {lost} epochs trained twice"


SCREENING = Rule(name="screening", options={"epochs": 3, "keep": 2})
PRUNER = Rule(name="optuna", options={"pruner": "SuccessiveHalvingPruner"})
RULES = [
    (Rule(name="divergence"), SCREENING),
    (Rule(name="asha"), SCREENING, Rule(name="patience", options={"epochs": 3})),
    (Rule(name="hyperband"),),
    (Rule(name="divergence"), Rule(name="median", options={"startup": 2})),
    (PRUNER,),
]


@pytest.mark.slow
@pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules[-1].name)
@pytest.mark.parametrize("mercy", [False, True])
def test_killed_at_every_event_whatever_stops(rules, mercy):
    """Pauses and promotions among them: no epoch that is saved is trained again."""
    a_study = study(stopping=rules, sampler=RANDOM)
    whole = undisturbed(a_study)
    expected, states = story(whole.ledger.events), outcome(whole.director)
    kinds = {e.event for e in whole.ledger.events}
    assert "stopped" in kinds and ("paused" in kinds) == (SCREENING in rules)
    for last in range(1, len(whole.ledger.lines)):
        loop = SimulatedLoop(a_study)
        survive(loop, last, mercy)
        assert story(loop.ledger.events) == expected, f"killed at event {last}"
        assert outcome(loop.director) == states
        lost = len(loop.trained) - len(whole.trained)
        assert lost <= loop.cadence, f"killed at {last}: {lost} epochs trained twice"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_killed_at_every_event_with_two_objectives(name):
    objectives = (Objective(), Objective(metric="fit", limit=-1.5))
    options = {"tpe": {"startup": 3}, "nsga2": {"population": 3}}[name]
    a_study = study(
        objectives=objectives, sampler=Rule(name=name, options=options), stopping=()
    )
    whole = undisturbed(a_study)
    expected, best = story(whole.ledger.events), whole.director.best().number
    for last in range(1, len(whole.ledger.lines)):
        loop = SimulatedLoop(a_study)
        survive(loop, last, False)
        assert story(loop.ledger.events) == expected, f"killed at event {last}"
        assert loop.director.best().number == best


@settings(max_examples=40, deadline=None, suppress_health_check=[SLOW])
@given(
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.integers(1, 4),
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
)
def test_killed_again_and_again(seed, epochs, cadence, kills):
    budget = Budget(trials=9, epochs=epochs, total_epochs=40)
    a_study = study(seed=seed, sampler=RANDOM, budget=budget)
    whole = undisturbed(a_study, cadence=cadence)
    loop = SimulatedLoop(a_study, cadence=cadence)
    for kill in kills:
        left = len(whole.ledger.lines) - len(loop.ledger.lines)
        loop.ledger.last = len(loop.ledger.lines) + 1 + int(kill * max(left, 0))
        loop.ledger.mercy = kill > 0.5
        try:
            loop.run()
            break
        except Killed:
            loop.resume()
    loop.ledger.last = None
    loop.run()
    assert story(loop.ledger.events) == story(whole.ledger.events)
    assert outcome(loop.director) == outcome(whole.director)


def asked(director, time):
    """Everything a Director would decide now, as comparable text."""
    told = [repr(director.next(time)), repr(director.interrupt("why", time))]
    for number in director.running:
        trial = director.trials[number]
        for value in (0.5, 5.0, float("nan")):
            epoch = Epoch(trial.last + 1, {"loss": value}, {"rmse": value})
            told.append(repr(director.judge(number, trial.attempt, epoch, time)))
    counts = sorted(director.counts().items())
    return [*told, repr(director.best()), repr(counts), director.epochs]


@settings(max_examples=15, deadline=None, suppress_health_check=[SLOW])
@given(st.integers(0, 10**6), st.integers(1, 4), st.booleans())
def test_a_replayed_director_decides_like_the_live_one(seed, workers, pauses):
    """Parallel workers, any order of arrival, every prefix of the ledger."""
    chance = random.Random(seed)
    a_study = study(seed=seed, sampler=RANDOM)
    if pauses:
        a_study = a_study.replace(stopping=(Rule(name="divergence"), SCREENING))
    loop = SimulatedLoop(a_study, workers=workers)
    answers = {}

    class Watched:
        """Notes what the live Director would decide after every event."""

        def __init__(self, director) -> None:
            self.director = director

        def __getattr__(self, name):
            return getattr(self.director, name)

        def apply(self, event: Event) -> None:
            self.director.apply(event)
            answers[event.n] = asked(self.director, 1e3)

    loop.director = Watched(loop.director)
    loop.run(choose=chance.choice)
    events = loop.ledger.events
    assert len(answers) == len(events)
    for n in sorted(chance.sample(range(1, len(events) + 1), min(25, len(events)))):
        again = replay(a_study, events[:n], workers=workers)
        assert asked(again, 1e3) == answers[n], f"after event {n}"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_resume_after_every_event(sampler):
    """The next proposal depends on the events alone, whenever the Director was made."""
    a_study = study(sampler=sampler)
    events = undisturbed(a_study).ledger.events
    asked_for = 0
    for n, event in enumerate(events):
        if event.event != "proposed":
            continue
        decision, (proposed, _) = replay(a_study, events[:n], workers=1).next(0.0)
        assert isinstance(decision, Start)
        assert repr(proposed.details()) == repr(event.details())
        asked_for += 1
    grid_ends = sampler.name == "grid"  # three values of a rate, not four
    assert asked_for == sum(a_study.trials_of().values()) - grid_ends


def test_parallel_workers_killed_lose_nothing():
    """Not equal to another run, but true to its ledger: nothing lost, nothing repeated."""
    for last in range(3, 90, 7):
        loop = SimulatedLoop(study(sampler=RANDOM), workers=3)
        chance = random.Random(last)
        loop.ledger.last = last
        with pytest.raises(Killed):
            loop.run(choose=chance.choice)
        ended = {t.number for t in replayed(loop).trials.values() if t.ended}
        loop.resume()
        loop.run(choose=chance.choice)
        epochs = [(e.trial, e.epoch) for e in events(loop, "epoch")]
        assert len(epochs) == len(set(epochs))
        assert not {e.trial for e in events(loop, "started") if e.n > last} & ended
        assert all(t.ended for t in loop.director.trials.values())


def replayed(loop):
    return replay(loop.study, loop.ledger.events, workers=loop.workers)


def events(loop, kind):
    return [e for e in loop.ledger.events if e.event == kind]


def test_the_ledger_may_not_contradict_itself():
    lines = undisturbed(study(sampler=RANDOM)).ledger.events
    for drop in range(len(lines) - 1):
        if lines[drop].event in ("checkpoint", "epoch"):
            continue  # an epoch less is a shorter curve, no contradiction
        kept = [structs.replace(e, n=i) for i, e in enumerate(lines) if i != drop]
        if lines[drop].event in ("stopped", "diverged", "completed", "converged"):
            continue  # then the trial is merely still running
        with pytest.raises(RunError, match="contradicts"):
            replay(study(sampler=RANDOM), kept, workers=1)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 20),
    st.just(10**400),
    st.floats(),
    st.sampled_from(["rnn", "tcn", "nan", "", "divergence", *sorted(KINDS)]),
    st.dictionaries(st.sampled_from(["rmse", "rate", "layers"]), st.integers(-9, 9)),
    st.lists(st.integers(), max_size=2),
)


@pytest.fixture(scope="module")
def records():
    return [json.loads(line) for line in undisturbed(fuzzed()).ledger.lines]


def fuzzed():
    rules = (*study().stopping, SCREENING)
    return study(stopping=rules)


@settings(max_examples=200, deadline=None, suppress_health_check=[SLOW])
@given(st.data())
def test_an_edited_ledger_gives_an_error_or_a_run(tmp_path_factory, records, data):
    """Any value replaced by any other: a message for a person, or a run that can go on."""
    edited = copy.deepcopy(records)
    for _ in range(data.draw(st.integers(1, 2))):
        record = data.draw(st.sampled_from(edited))
        key = data.draw(st.sampled_from(sorted(record)))
        if isinstance(record[key], dict) and record[key] and data.draw(st.booleans()):
            record = record[key]
            key = data.draw(st.sampled_from(sorted(record)))
        record[key] = data.draw(JUNK)
    path = tmp_path_factory.mktemp("edited") / "events.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in edited))
    try:
        director = replay(fuzzed(), read_events(path)[0], workers=1)
    except RunError as error:
        assert "line" in error.message and error.hint
        return
    for event in director.interrupt("the driver died", 0.0):
        director.apply(event)
    director.next(0.0)
    director.best()
