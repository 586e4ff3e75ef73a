"""Rules that compare trials, each against a plain recount or Optuna at work."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hpo.director import Director
from hpo.errors import StudyError
from hpo.ledger.lines import from_line
from hpo.search.optuna_study import silent
from hpo.stopping import registry
from hpo.study import Budget, Family, Objective, Rule, Study
from models.training.protocol import Epoch
from search_spaces.space import Space

SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing

NUMBERS = st.sampled_from([*map(float, range(-9, 10)), math.nan, math.inf, -math.inf])
FINITE = st.sampled_from([*map(float, range(-9, 10))])
DIRECTIONS = st.sampled_from(["minimize", "maximize"])


def curves_of(numbers, length=12, most=25):
    one = st.lists(numbers, min_size=length, max_size=length)
    return st.lists(one, min_size=1, max_size=most)


def ends(rule, curves, direction="minimize"):
    """(last epoch, stopped?) of trials that run one after another under one rule."""
    a_study = Study(
        name="s",
        families=(Family(name="rnn", space=Space({"k": 1})),),
        objectives=(Objective(direction=direction),),
        budget=Budget(trials=len(curves), epochs=len(curves[0])),
        sampler=Rule(name="random"),
        stopping=(rule,),
    )
    director, n = Director(a_study, workers=1), 0
    for curve in curves:
        start, events = director.next(0.0)
        for number in range(start.epochs + 1):
            for event in events:
                n += 1
                director.apply(from_line(event.to_line().encode()))
            if director.trials[start.trial].ended:
                break
            epoch = Epoch(number + 1, {"loss": 1.0}, {"rmse": curve[number]})
            _, events = director.judge(start.trial, 1, epoch, 0.0)
    return [(t.last, t.state == "stopped") for t in director.trials.values()]


def walk(curves, stops):
    """The same by a recount: `stops(index, earlier values by epoch)` decides."""
    found = []
    for index, curve in enumerate(curves):
        stopped = False
        for number in range(1, len(curve) + 1):
            if number < len(curve) and stops(index, number, curve[:number]):
                stopped = True
                break
        found.append((number, stopped))
    return found


def best_by(values, sign):
    """The best finite value of a curve that is finite at its end, smaller is better."""
    if not math.isfinite(values[-1]):
        return math.inf
    return min(sign * v for v in values if math.isfinite(v))


# -- hyperband ----------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[SLOW])
@given(curves_of(NUMBERS, most=40), st.integers(2, 4), st.integers(1, 3), DIRECTIONS)
def test_hyperband_equals_recounting_each_bracket(curves, eta, grace, direction):
    sign = 1 if direction == "minimize" else -1
    made = registry.make(Rule(name="hyperband", options={"eta": eta, "grace": grace}))
    seen = defaultdict(list)

    def stops(index, number, values):
        bracket = made.bracket(12, index)
        rungs = [grace * eta**k for k in range(bracket, 9) if grace * eta**k < 12]
        if number not in rungs:
            return False
        mine = best_by(values, sign)
        reached = seen[bracket, number]
        reached.append(mine)
        better = sum(math.isfinite(v) and v < mine for v in reached[:-1])
        return not math.isfinite(mine) or better >= max(1, len(reached) // eta)

    rule = Rule(name="hyperband", options={"eta": eta, "grace": grace})
    expected = walk(curves, stops)
    assert ends(rule, curves, direction) == expected


def test_brackets_have_the_sizes_of_the_paper():
    """R = 81, eta = 3: brackets of 81, 34, 15, 8 and 5 configurations (Li et al., table 1;
    there, the first bracket runs 81 from one epoch), in proportion after every cycle."""
    rule = registry.make(Rule(name="hyperband"))
    cycle = 81 + 34 + 15 + 8 + 5
    found = Counter(rule.bracket(81, i) for i in range(10 * cycle))
    assert found == {b: 10 * n for b, n in enumerate((81, 34, 15, 8, 5))}
    shares = {b: Fraction(n, cycle) for b, n in enumerate((81, 34, 15, 8, 5))}
    for count in range(1, cycle):
        part = Counter(rule.bracket(81, i) for i in range(count))
        assert all(abs(part[b] - shares[b] * count) < 3 for b in shares)
    assert rule.rungs(81, next(i for i in range(99) if rule.bracket(81, i) == 1)) == (
        *(3, 9, 27),
    )
    assert () in {rule.rungs(81, i) for i in range(cycle)}, "some train to the end"


# -- percentile and median ----------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[SLOW])
@given(
    curves_of(NUMBERS),
    st.sampled_from([0.0, 25.0, 40.0, 50.0, 100.0]),
    st.integers(1, 4),
    st.integers(0, 5),
    st.integers(1, 3),
    DIRECTIONS,
)
def test_percentile_equals_numpy(curves, keep, startup, warmup, interval, direction):
    sign = 1 if direction == "minimize" else -1
    seen = defaultdict(list)

    def stops(index, number, values):
        if number not in range(max(1, warmup), 12, interval):
            return False
        mine = best_by(values, sign)
        others = seen[number].copy()
        seen[number].append(mine)
        if not math.isfinite(values[-1]):
            return True
        if len(others) < startup:
            return False
        # for numpy, the worst there is must be a number
        return mine > np.percentile(np.minimum(others, 1e9), keep)

    options = {"startup": startup, "warmup": warmup, "interval": interval}
    rule = Rule(name="percentile", options={"keep": keep, **options})
    expected = walk(curves, stops)
    assert ends(rule, curves, direction) == expected
    if keep == 50.0:
        assert ends(Rule(name="median", options=options), curves, direction) == expected


def test_the_median_rule_compares_ten_times_by_default():
    rule = registry.make(Rule(name="median"))
    assert rule.rungs(100, 0) == tuple(range(10, 100, 10))
    assert rule.rungs(5, 0) == (1, 2, 3, 4)
    assert rule.rungs(1, 0) == ()


# -- none ---------------------------------------------------------------------------------


@given(curves_of(NUMBERS, most=3))
@settings(max_examples=10, deadline=None, suppress_health_check=[SLOW])
def test_none_ends_nothing(curves):
    assert ends(Rule(name="none"), curves) == [(12, False)] * len(curves)


# -- optuna -------------------------------------------------------------------------------

PRUNERS = [
    ("MedianPruner", {"n_startup_trials": 2, "n_warmup_steps": 1}),
    ("PercentilePruner", {"percentile": 25.0, "n_startup_trials": 1}),
    ("SuccessiveHalvingPruner", {"min_resource": 1, "reduction_factor": 3}),
    ("SuccessiveHalvingPruner", {"min_resource": 2, "bootstrap_count": 2}),
    ("HyperbandPruner", {"min_resource": 1, "max_resource": 12}),
    ("ThresholdPruner", {"upper": 5.0}),
    ("NopPruner", {}),
]


def optunas_ends(pruner, curves, direction):
    """Optuna itself, live, with values reported and `should_prune` asked at every epoch."""
    with silent():
        study = optuna.create_study(
            study_name="hpo", direction=direction, pruner=pruner
        )
        found = []
        for curve in curves:
            trial, stopped = study.ask(), False
            for number, value in enumerate(curve, 1):
                trial.report(value, number)
                if number < len(curve) and trial.should_prune():
                    stopped = True
                    break
            if stopped:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                best = min if direction == "minimize" else max
                study.tell(trial, best(v for v in curve if math.isfinite(v)))
            found.append((number, stopped))
    return found


@pytest.mark.parametrize(("name", "options"), PRUNERS)
@settings(max_examples=12, deadline=None, suppress_health_check=[SLOW])
@given(curves=curves_of(FINITE, most=12), direction=DIRECTIONS)
def test_optunas_pruners_decide_as_in_optuna(name, options, curves, direction):
    pruner = getattr(optuna.pruners, name)(**options)
    expected = optunas_ends(pruner, curves, direction)
    rule = Rule(name="optuna", options={"pruner": name, **options})
    assert ends(rule, curves, direction) == expected


@settings(max_examples=12, deadline=None, suppress_health_check=[SLOW])
@given(curves=curves_of(NUMBERS, most=10))
def test_optunas_pruners_meet_numbers_that_are_none(curves):
    """A value that is not finite ends its trial or not as in Optuna, and never blocks others."""
    assume(all(any(map(math.isfinite, curve)) for curve in curves))
    options = {"n_startup_trials": 1}
    with np.errstate(all="ignore"):
        expected = optunas_ends(
            optuna.pruners.MedianPruner(**options), curves, "minimize"
        )
        rule = Rule(name="optuna", options={"pruner": "MedianPruner", **options})
        assert ends(rule, curves) == expected


def test_a_pruner_around_a_pruner():
    inner = {"pruner": "MedianPruner", "n_startup_trials": 1}
    rule = Rule(
        name="optuna",
        options={"pruner": "PatientPruner", "wrapped_pruner": inner, "patience": 2},
    )
    curves = [[float(12 - e) for e in range(12)], [20.0 + e for e in range(12)]]
    with silent():
        pruner = optuna.pruners.PatientPruner(
            optuna.pruners.MedianPruner(n_startup_trials=1), patience=2
        )
        expected = optunas_ends(pruner, curves, "minimize")
    assert ends(rule, curves) == expected == [(12, False), (4, True)]


def test_what_optuna_would_guess_follows_from_the_budget():
    """`auto` waits for completed trials in Optuna; here the first trial has rungs too."""
    curves = [[1.0] * 12, [2.0] * 12, [0.5] * 12]
    rule = Rule(name="optuna", options={"pruner": "SuccessiveHalvingPruner"})
    assert ends(rule, curves) == [(12, False), (1, True), (12, False)]
    ends(Rule(name="optuna", options={"pruner": "HyperbandPruner"}), curves)


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"pruner": "MedianPrunr"}, "unknown pruner `MedianPrunr`", "MedianPruner"),
        ({"n_startup": 3}, "no argument `n_startup`", "n_startup_trials"),
        ({"pruner": "PercentilePruner"}, "optuna's `PercentilePruner`: ", ""),
        ({"pruner": "PercentilePruner", "percentile": 101.0}, "between 0 and 100", ""),
    ],
)
def test_a_wrong_pruner_is_refused(options, message, hint):
    with pytest.raises(StudyError) as caught:
        registry.make(Rule(name="optuna", options=options))
    assert message in str(caught.value) and hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule(name="hyperband", options={"eta": 1}), "eta must be an integer from 2"),
        (Rule(name="hyperband", options={"grace": 0}), "grace must be an integer"),
        (Rule(name="percentile", options={"keep": 120}), "keep must be at most 100"),
        (Rule(name="median", options={"startup": 0}), "startup must be an integer"),
        (Rule(name="median", options={"interval": 0}), "interval must be an integer"),
        (Rule(name="screening", options={"keep": 0}), "keep must be an integer"),
        (Rule(name="screening", options={"epochs": 0}), "epochs must be an integer"),
        (Rule(name="none", options={"x": 0}), "`none` has no option `x`"),
    ],
)
def test_a_wrong_option_is_refused(rule, message):
    with pytest.raises(StudyError, match=message):
        registry.make(rule)
