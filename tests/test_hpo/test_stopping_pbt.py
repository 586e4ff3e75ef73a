"""Population-based training: who adopts whom, what varies, and one training in the end."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.check import traced
from hpo.director import Director, replay
from hpo.director.decisions import Start
from hpo.errors import RunError, StudyError
from hpo.fixed import FixedTrial
from hpo.ledger.events import EpochEvent, Exploited, Proposed, Started
from hpo.schedule import values_in
from hpo.seeds import derive
from hpo.stopping.registry import make
from hpo.study import Budget, Family, Objective, Rule, Study
from hpo.testing import directed
from hpo.trials.states import State
from models.training.protocol import Epoch
from search_spaces.space import Space, SpaceError

SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing

SPACE = Space(
    {
        "rate": FloatDistribution(1e-4, 1e-1, log=True),
        "decay": FloatDistribution(0.0, 0.5),
        "size": 4,
    }
)


def pbt(**options) -> Rule:
    return Rule(name="pbt", options={"interval": 3, **options})


def population(*, trials=8, epochs=10, seed=1, direction="minimize", **options):
    families = (Family(name="net", space=SPACE, create="tests.nowhere:create"),)
    return Study(
        name="population",
        families=families,
        objectives=(Objective(direction=direction),),
        budget=Budget(trials=trials, epochs=epochs),
        stopping=(pbt(**options),),
        seed=seed,
    )


def trained(seed, params, schedule, number, *, sign=1.0, bad=0):
    """The epoch of a training: every epoch before it leaves its mark, and so does its rate."""
    state = derive(seed, "initial") / 2**32
    for epoch in range(1, number + 1):
        values = values_in(params, schedule, epoch)
        state = 0.7 * state + abs(math.log10(values["rate"]) + 2.5) + values["decay"]
        state += 0.1 * derive(seed, epoch) / 2**32
    value = sign * state
    if bad and derive(seed, "bad") % bad == 0 and number > 1:
        value = math.nan
    return Epoch(number, {"loss": state}, {"rmse": value})


def curve(sign=1.0, bad=0):
    def of(trial, number):
        return trained(
            trial.seed, trial.params, trial.schedule, number, sign=sign, bad=bad
        )

    return of


def generations(events):
    """By epoch: the own value of every trial there, and who adopted whom, by plain recount."""
    values: dict[int, dict[int, float]] = {}
    adopted: dict[int, dict[int, Exploited]] = {}
    paused = {(e.trial, e.epoch) for e in events if e.event == "paused"}
    for event in events:
        if isinstance(event, EpochEvent) and (event.trial, event.epoch) in paused:
            value = event.valid["rmse"]
            values.setdefault(event.epoch, {})[event.trial] = value
        if isinstance(event, Exploited):
            adopted.setdefault(event.epoch, {})[event.trial] = event
    return values, adopted


@settings(max_examples=30, deadline=None, suppress_health_check=[SLOW])
@given(
    seed=st.integers(0, 10**6),
    trials=st.integers(2, 13),
    quantile=st.sampled_from([0.1, 0.25, 0.34, 0.5]),
    workers=st.integers(1, 4),
    direction=st.sampled_from(["minimize", "maximize"]),
    bad=st.sampled_from([0, 3]),
)
def test_it_equals_a_recount(seed, trials, quantile, workers, direction, bad):
    a_study = population(
        trials=trials, seed=seed, direction=direction, quantile=quantile
    )
    sign = 1.0 if direction == "minimize" else -1.0
    events = directed.run(a_study, curve(sign, bad), workers=workers)
    values, adopted = generations(events)
    for epoch, own in values.items():
        assert len(own) == trials, "nobody ends before the budget"
        order = sorted(
            own,
            key=lambda n: (sign * own[n] if math.isfinite(own[n]) else math.inf, n),
        )
        finite = [n for n in order if math.isfinite(own[n])]
        if not finite:
            continue
        count = min(max(1, math.floor(quantile * trials)), trials // 2)
        donors = finite[:count]
        rest = [n for n in order if n not in donors]
        losers = set(rest[len(rest) - min(count, len(rest)) :])
        losers |= {n for n in order if n not in finite}
        assert set(adopted.get(epoch, {})) == losers
        assert {e.donor for e in adopted[epoch].values()} <= set(donors)


@settings(max_examples=20, deadline=None, suppress_health_check=[SLOW])
@given(seed=st.integers(0, 10**6), workers=st.integers(1, 4))
def test_every_trial_is_one_training_from_its_roots_seed(seed, workers):
    """All epochs of a record follow from seed, values and schedule alone; nothing counts twice."""
    a_study = population(seed=seed)
    events = directed.run(a_study, curve(), workers=workers)
    director = replay(a_study, events, workers=workers)
    roots = {e.seed: e.params for e in events if isinstance(e, Proposed)}
    told = [e for e in events if isinstance(e, EpochEvent)]
    for trial in director.trials.values():
        assert trial.state is State.COMPLETED
        assert roots[trial.seed] == trial.params
        assert sorted(trial.epochs) == list(range(1, 11))
        for number, epoch in trial.epochs.items():
            whole = trained(trial.seed, trial.params, trial.schedule, number)
            assert dict(epoch.valid) == whole.valid
            assert trial.curve.value_at(number) == whole.valid["rmse"]
        best = min(trial.epochs.values(), key=lambda e: (e.valid["rmse"], e.number))
        assert (trial.value, trial.best_epoch) == (best.valid["rmse"], best.number)
    assert director.epochs == len(told) == sum(t.last for t in director.trials.values())
    assert any(t.schedule for t in director.trials.values())


def test_how_many_workers_there_are_changes_nothing():
    told = []
    for workers in (1, 3):
        events = directed.run(population(), curve(), workers=workers)
        _, adopted = generations(events)
        told.append(
            {
                (epoch, n): (e.donor, e.traced)
                for epoch, found in adopted.items()
                for n, e in found.items()
            }
        )
    assert told[0] == told[1]
    assert len(told[0]) == 3 * 2, "three generations, a quarter of eight in each"


@pytest.mark.parametrize("bad", [0, 3])
def test_killed_at_every_event_the_decisions_are_the_same(bad):
    a_study = population(trials=5, epochs=7, quantile=0.4)
    whole = directed.check_resumed(a_study, curve(bad=bad), every=1)
    assert sum(isinstance(e, Exploited) for e in whole) >= 4


def test_values_move_as_published_and_stay_in_their_range():
    """Each is 1.2 or 0.8 times the donor's, at an end, or drawn anew; by their shares."""
    kinds: Counter[str] = Counter()
    for seed in range(40):
        a_study = population(seed=seed)
        director = Director(a_study, workers=1)
        for event in directed.run(a_study, curve()):
            if isinstance(event, Exploited):
                donor = director.trials[event.donor].current
                SPACE.validate(event.traced)
                assert set(event.traced) == {"rate", "decay"}
                for name, value in event.traced.items():
                    kinds[_moved(SPACE.distributions[name], donor[name], value)] += 1
            director.apply(event)
    whole = kinds.total()
    assert whole > 400
    assert kinds["up"] + kinds["down"] > 0.6 * whole
    assert 0.15 < kinds["drawn"] / whole < 0.35, "a quarter, unless told otherwise"
    assert 0.7 < kinds["up"] / kinds["down"] < 1.4


def test_what_is_kept_is_the_donors_and_everybody_begins_with_their_own():
    a_study = population(start=["decay"])
    director, begun = Director(a_study, workers=1), set()
    for event in directed.run(a_study, curve()):
        if isinstance(event, Proposed):
            begun.add(event.params["decay"])
        director.apply(event)
        if isinstance(event, Exploited):
            assert set(event.traced) == {"rate"}
            mine, donor = (director.trials[n] for n in (event.trial, event.donor))
            assert mine.current["decay"] == donor.current["decay"]
    assert len(begun) == 8 and any(t.exploits for t in director.trials.values())


def _moved(distribution, before, after):
    for name, factor in (("up", 1.2), ("down", 0.8)):
        moved = min(max(before * factor, distribution.low), distribution.high)
        if after == pytest.approx(moved, rel=1e-12):
            return name
    return "drawn"


def test_without_resampling_nothing_is_drawn_and_with_it_alone_everything():
    def moved(**options):
        a_study, found = population(**options), Counter()
        director = Director(a_study, workers=1)
        for event in directed.run(a_study, curve()):
            if isinstance(event, Exploited):
                before = director.trials[event.donor].current["rate"]
                distribution = SPACE.distributions["rate"]
                found[_moved(distribution, before, event.traced["rate"])] += 1
            director.apply(event)
        return found

    assert moved(resampling=0)["drawn"] == 0
    assert set(moved(resampling=1.0)) == {"drawn"}


def test_steps_and_choices_stay_on_their_grid():
    space = Space(
        {
            "rate": FloatDistribution(0.1, 0.9, step=0.1),
            "level": IntDistribution(1, 30),
            "weight": CategoricalDistribution([0.5, 0.1, 2.0]),
        }
    )
    family = Family(name="net", space=space, create="tests.nowhere:create")
    a_study = population(resampling=0).replace(families=(family,))

    def of(trial, number):
        now = values_in(trial.params, trial.schedule, number)
        return Epoch(number, {"loss": 0.0}, {"rmse": now["rate"] + now["weight"]})

    director = Director(a_study, workers=1)
    for event in directed.run(a_study, of):
        if isinstance(event, Exploited):
            space.validate(event.traced)
            before = director.trials[event.donor].current
            choices = sorted([0.5, 0.1, 2.0])
            step = abs(
                choices.index(before["weight"]) - choices.index(event.traced["weight"])
            )
            assert step <= 1
            assert isinstance(event.traced["level"], int)
        director.apply(event)


@pytest.mark.parametrize(
    ("distribution", "value", "down", "up"),
    [
        (IntDistribution(1, 30), 2, 1, 3),  # 1.6 and 2.4 are both rounded to 2
        (IntDistribution(1, 30), 1, 1, 2),
        (IntDistribution(1, 30), 30, 24, 30),
        (IntDistribution(2, 32, step=10), 12, 2, 22),
        (IntDistribution(0, 9), 0, 0, 0),  # of nothing a fifth is nothing
        (FloatDistribution(0.1, 0.9, step=0.1), 0.2, 0.1, 0.3),
        (FloatDistribution(-1.0, 1.0, step=0.5), -0.5, 0.0, -1.0),
    ],
)
def test_on_a_grid_a_value_moves_a_step_at_least(distribution, value, down, up):
    """Rounding alone would leave a small one where it is, for ever."""
    rule = make(pbt(resampling=0))
    found = [rule._perturbed(distribution, value, up=way) for way in (False, True)]
    assert found == pytest.approx([down, up])


def test_when_nobody_has_a_number_all_end():
    def of(trial, number):
        return Epoch(number, {"loss": 1.0}, {"rmse": math.nan})

    events = directed.run(population(trials=3), of)
    reasons = {e.trial: e.reason for e in events if e.event == "stopped"}
    why = "nobody has a finite rmse at epoch 3"
    assert reasons == {1: why, 2: why, 3: why}


def test_a_trial_that_fails_leaves_the_others_a_population():
    """Its place stays empty: who waits is settled without it."""
    a_study = population(trials=4)
    director = Director(a_study, workers=1)
    events = []

    def write(new):
        for event in new:
            events.append(structs.replace(event, n=len(events) + 1))
            director.apply(events[-1])

    while True:
        decision, new = director.next(0.0)
        write(new)
        if not isinstance(decision, Start):
            break
        trial = director.trials[decision.trial]
        while trial.state is State.RUNNING:
            if trial.number == 2 and trial.last == 1:
                write(director.lost(2, trial.attempt, "broken", 0.0, retry=False))
                break
            _, new = director.judge(
                trial.number, trial.attempt, curve()(trial, trial.last + 1), 0.0
            )
            write(new)
    states = [t.state for t in director.trials.values()]
    assert states.count(State.COMPLETED) == 3
    assert director.trials[2].state is State.FAILED
    donors = {e.donor for e in events if isinstance(e, Exploited)}
    assert donors and 2 not in donors


def test_the_start_tells_whose_state_and_which_values():
    a_study = population(trials=4, quantile=0.5)
    events = directed.run(a_study, curve())
    place = next(
        n
        for n, e in enumerate(events)
        if isinstance(e, Started) and e.attempt_of == "promoted" and e.epoch == 3
    )
    director = replay(a_study, events[:place], workers=4)
    found = {}
    while isinstance(decision := director.next(0.0)[0], Start):
        found[decision.trial] = decision
        for event in director.next(0.0)[1]:
            director.apply(event)
    exploited = {e.trial: e for e in events[:place] if isinstance(e, Exploited)}
    assert set(found) == {1, 2, 3, 4}
    assert list(found)[0] not in exploited, "the best goes on first"
    for number, start in found.items():
        assert start.known == 3
        if number not in exploited:
            assert (start.donor, start.schedule, start.since) == (None, (), 1)
            continue
        donor = director.trials[exploited[number].donor]
        assert start.donor == (donor.number, 1)
        assert start.since == 2
        assert (start.seed, start.params) == (donor.seed, donor.params)
        (change,) = start.schedule
        assert (change.after, change.traced) == (3, exploited[number].traced)


# -- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"interval": 0}, "pbt: interval must be an integer from 1 up, got 0"),
        ({"interval": 2.5}, "pbt: interval must be an integer"),
        ({"quantile": 0}, "pbt: quantile must not be 0"),
        ({"quantile": 0.6}, "pbt: quantile must be at most 0.5, got 0.6"),
        ({"perturbation": 1}, "pbt: perturbation must not be 1"),
        ({"perturbation": -0.1}, "pbt: perturbation must be a number from 0 up"),
        ({"resampling": 1.5}, "pbt: resampling must be at most 1, got 1.5"),
        ({"perturbation": 0, "resampling": 0}, "no value would ever vary"),
        ({"eta": 3}, "eta"),
        (
            {"start": "decay"},
            "`start` lists names of searched values, got 'decay'",
        ),
    ],
)
def test_bad_options_are_refused_by_name(options, rule):
    with pytest.raises(StudyError, match=rule):
        make(pbt(**options))


def test_studies_without_a_population_are_refused():
    family = Family(name="net", space=SPACE, create="tests.nowhere:create")
    fixed = FixedTrial(family="net", params={"rate": 1e-2, "decay": 0.1}, seed=1)
    depending = Space({**SPACE.entries(), "more": FloatDistribution(0, 1)}).when(
        "more", "decay", at_least=0.1
    )
    kinds = Space({"rate": CategoricalDistribution(["a", "b"])})
    constants = Space({"rate": 0.1})
    screening = Rule(name="screening")
    for a_study, rule in (
        (population(trials=1), "`net` has 1 trials of 10 epochs"),
        (population(epochs=3), "`net` has 8 trials of 3 epochs"),
        (
            population().replace(families=(Family(name="net", space=constants),)),
            "no trial would ever adopt",
        ),
        (population().replace(fixed=(fixed,)), "names its trials itself"),
        (
            population().replace(stopping=(pbt(), screening)),
            "only one rule can say which paused trials go on, got pbt and screening",
        ),
        (
            population().replace(stopping=(Rule(name="halving"), pbt())),
            "only one rule can say",
        ),
        (
            population().replace(families=(Family(name="net", space=depending),)),
            "family `net`: .*`more` exists depends on `decay`",
        ),
        (
            population(start=["dekay"]),
            "(?s)`start` names .* no family searches `dekay`.*did you mean `decay`",
        ),
        (
            population(start=["rate", "decay"]),
            "`start` names all that is searched",
        ),
        (
            population().replace(families=(Family(name="net", space=kinds),)),
            "`rate` may be 'a'",
        ),
    ):
        with pytest.raises(StudyError, match=rule):
            Director(a_study, workers=1)
    linear = Family(name="linear", space=constants, trials=1, epochs=1)
    Director(population().replace(families=(family, linear)), workers=1)


def test_what_acts_where_training_begins_changes_in_no_schedule():
    told = traced._of_family("models.greybox:create", [{}])
    assert told.start == ["physics.spread"] and "physics.spread" in told.traced
    rate, spread = ("optimizer.learning_rate",), ("physics.spread",)
    traced._refuse("greybox", rate, told, kept=spread)
    with pytest.raises(
        StudyError, match=r"(?s)`physics.spread` .*begins alone.*`start`"
    ):
        traced._refuse("greybox", (*rate, *spread), told, kept=())
    with pytest.raises(StudyError, match="`physics.steps` would change .* static"):
        traced._refuse("greybox", rate, told, kept=("physics.steps",))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"donor": 3}, "trial 3 is no other one of its family"),
        ({"donor": 99}, "only a paused trial adopts"),
        ({"epoch": 2}, "they are at epochs 3 and 3"),
    ],
)
def test_a_ledger_that_contradicts_itself_is_refused(changes, rule):
    a_study = population(trials=4)
    events = directed.run(a_study, curve())
    place = next(n for n, e in enumerate(events) if isinstance(e, Exploited))
    wrong = structs.replace(events[place], **changes)
    if changes.get("donor") == 3:
        wrong = structs.replace(wrong, donor=wrong.trial)
        rule = f"trial {wrong.trial} is no other one"
    with pytest.raises(RunError, match=rule):
        replay(a_study, [*events[:place], wrong], workers=1)
    again = events[place]
    later = next(n for n, e in enumerate(events) if n > place and e.event == "started")
    running = structs.replace(again, donor=events[later].trial)
    with pytest.raises(RunError, match="only a paused trial adopts"):
        replay(a_study, [*events[: later + 1], running], workers=1)


def test_a_value_outside_its_range_is_refused():
    with pytest.raises(SpaceError):
        SPACE.validate({"rate": 0.2, "decay": 0.1})
    change = {"after": 3, "traced": {"rate": 0.2}}
    params = {"rate": 1e-2, "decay": 0.1}
    for schedule, rule in (
        (
            [change],
            "after epoch 3 a schedule leaves the space: `rate` = 0.2 lies outside",
        ),
        ([{"after": 2, "traced": {"size": 5}}, change], "leaves the space"),
        ([{"after": 3, "traced": {"width": 5}}], "`width`, which is no key"),
        ([{"after": 0, "traced": {"rate": 0.1}}], "epoch 1 or later, got 0"),
        ([{"after": 3, "traced": {}}], "changes no value"),
        ([{"after": 3}], "a schedule is a list of changes"),
        ([{"after": 4, "traced": {"rate": 0.1}}] * 2, "must ascend"),
        ([{"after": 7, "traced": {"rate": 0.1}}], "training ends with epoch 6"),
    ):
        with pytest.raises(StudyError, match=rule):
            trial = FixedTrial(
                family="net", params=params, seed=1, epochs=6, schedule=schedule
            )
            trial.check(SPACE)
    trial = FixedTrial(
        family="net",
        params=params,
        seed=1,
        schedule=[{"after": 3, "traced": {"rate": 0.1}}],
    )
    trial.check(SPACE)
    a_study = population().replace(stopping=(), fixed=(trial,))
    assert Study.from_json(a_study.to_json()).fixed == (trial,)
