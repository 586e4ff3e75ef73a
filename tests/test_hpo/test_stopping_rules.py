"""Each rule against an independent reading of its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo.director import Director
from hpo.errors import StudyError
from hpo.ledger.lines import from_line
from hpo.stopping import registry, rules
from hpo.stopping.registry import Evidence, Verdict
from hpo.stopping.rung import Rung
from hpo.study import Budget, Family, Objective, Rule, Study
from hpo.testing import rules as suite
from models.training.protocol import Epoch
from search_spaces.space import Space
from tests.test_hpo.simulated import study

SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing

MINIMIZE, MAXIMIZE = Objective(), Objective(direction="maximize")
NUMBERS = st.sampled_from([*map(float, range(-9, 10)), math.nan, math.inf, -math.inf])


def evidence(values, *, objective=MINIMIZE, budget=100, loss=0.0) -> Evidence:
    """The last of a list of values, the first being epoch 1."""
    earlier = [v for v in values[:-1] if math.isfinite(v)]
    return Evidence(
        trial=1,
        budget=budget,
        epoch=Epoch(len(values), {"loss": loss}, {objective.metric: values[-1]}),
        values=dict(enumerate(values, 1)),
        best=min(earlier, key=objective.rank_key, default=None),
        rung=None,
        history=(),
        objective=objective,
    )


def rule(name, **options):
    return registry.make(Rule(name=name, options=options))


# -- successive halving -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "rungs"),
    [
        (1, ()),
        (2, (1,)),
        (9, (1, 3)),
        (10, (1, 3, 9)),
        (28, (1, 3, 9, 27)),
        (100, (1, 3, 9, 27, 81)),
    ],
)
def test_rungs_lie_below_the_budget(budget, rungs):
    assert rule("asha").rungs(budget, 0) == rungs


def test_rungs_of_other_options():
    assert rule("asha", eta=2, grace=4).rungs(33, 0) == (4, 8, 16, 32)
    assert rule("asha", eta=2, grace=0.3).rungs(120, 0) == (36, 72)


@given(st.integers(1, 99), st.integers(1, 10_000))
def test_a_part_of_the_budget_is_rounded_up(percent, budget):
    """Exactly, whatever the part is as a binary fraction."""
    made = rule("asha", grace=percent / 100)
    first = -(-percent * budget // 100)
    assert made.rungs(budget, 0)[:1] == ((first,) if first < budget else ())


def halving_by_hand(curves, rungs, eta, sign):
    """(end epoch, stopped?) of trials that run one after another, by plain recounting."""
    seen = {r: [] for r in rungs}
    ends = []
    for curve in curves:
        stopped = False
        for number, value in enumerate(curve, 1):
            if number not in rungs:
                continue
            mine = np.inf
            if np.isfinite(value):  # the best by then, by which a trial would be ranked
                mine = min(sign * v for v in curve[:number] if np.isfinite(v))
            seen[number].append(mine)
            others = np.array(seen[number][:-1], dtype=float)
            beaten_by = sum(1 for o in others if np.isfinite(o) and o < mine)
            allowed = max(1, len(seen[number]) // eta)
            if not np.isfinite(mine) or beaten_by >= allowed:
                stopped = True
                break
        ends.append((number, stopped))
    return ends


@settings(max_examples=50, deadline=None, suppress_health_check=[SLOW])
@given(
    st.lists(st.lists(NUMBERS, min_size=12, max_size=12), min_size=1, max_size=25),
    st.integers(2, 4),
    st.sampled_from(["minimize", "maximize"]),
)
def test_halving_equals_recounting(curves, eta, direction):
    """The Director with nothing but ASHA, against twelve lines of counting."""
    space = Space({"k": 1})
    a_study = Study(
        name="s",
        families=(Family(name="rnn", space=space),),
        objectives=(Objective(direction=direction),),
        budget=Budget(trials=len(curves), epochs=12),
        sampler=Rule(name="random"),
        stopping=(Rule(name="asha", options={"eta": eta}),),
    )
    director = Director(a_study, workers=1)
    n = 0
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
    got = [(t.last, t.state == "stopped") for t in director.trials.values()]
    sign = 1 if direction == "minimize" else -1
    assert got == halving_by_hand(curves, rule("asha", eta=eta).rungs(12, 0), eta, sign)


@pytest.mark.parametrize("name", ["asha", "hyperband", "percentile"])
def test_a_model_that_overfits_is_not_ended_for_what_it_is_not_ranked_by(name):
    """On ETTh1 the best of 21 trials was stopped: its best epoch was 6, the rung 18."""
    options = {"startup": 1} if name == "percentile" else {"eta": 2}
    curves = [[5.0 - 0.1 * e for e in range(12)]] * 3
    curves.append([1.0, *[6.0 + e for e in range(11)]])
    a_study = Study(
        name="s",
        families=(Family(name="rnn", space=Space({"k": 1})),),
        objectives=(Objective(),),
        budget=Budget(trials=4, epochs=12),
        sampler=Rule(name="random"),
        stopping=(Rule(name=name, options=options),),
    )
    director, n = Director(a_study, workers=1), 0
    for curve in curves:
        start, events = director.next(0.0)
        for number in range(13):
            for event in events:
                n += 1
                director.apply(from_line(event.to_line().encode()))
            if director.trials[start.trial].ended:
                break
            epoch = Epoch(number + 1, {"loss": 1.0}, {"rmse": curve[number]})
            _, events = director.judge(start.trial, 1, epoch, 0.0)
    assert director.best().number == 4 and director.best().value == 1.0


def test_a_nan_never_goes_on_and_never_blocks():
    rung, asha = Rung(), rule("asha")

    def arrive(trial, value):
        key = value if math.isfinite(value) else math.inf
        rung.add(trial, key)
        case = Evidence(
            trial=trial,
            budget=9,
            epoch=Epoch(1, {}, {"rmse": value}),
            values={1: value},
            best=None,
            rung=rung,
            history=(),
            objective=MINIMIZE,
        )
        return asha.judge(case)

    assert all(arrive(n, math.nan) for n in range(1, 8)), (
        "every NaN ends, the first too"
    )
    assert arrive(8, 5.0) is None, "seven NaNs block nobody"
    assert arrive(9, 6.0) is None, "second of nine: among the best third"
    assert arrive(10, math.inf).state == "stopped"
    assert arrive(11, 7.0) is None
    assert arrive(12, 8.0) is None
    assert arrive(13, 9.0).reason == "rank 5 of 13 at epoch 1"


@settings(deadline=None, suppress_health_check=[SLOW])
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=40))
def test_a_rung_counts_who_is_better(keys):
    rung = Rung()
    for number, key in enumerate(keys):
        before = rung.standing(number, key)
        rung.add(number, key)
        assert rung.standing(number, key) == before, "asked before or after being noted"
        rung.add(number, key - 1.0)  # trained again: the first value stands
        better = sum(k < key for k in keys[:number])
        assert before == (number + 1, better)


# -- divergence ---------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("objective", [MINIMIZE, MAXIMIZE])
def test_what_is_no_number_has_diverged(value, objective):
    guard = rule("divergence")
    assert guard.judge(evidence([1.0, value], objective=objective)).state == "diverged"
    assert guard.judge(evidence([value], objective=objective)).state == "diverged"
    assert guard.judge(evidence([1.0, 1.0], loss=value)).state == "diverged"


def test_exploding_is_relative_to_its_own_best():
    guard = rule("divergence", factor=10)
    assert guard.judge(evidence([2.0, 1.0, 10.0])) is None
    verdict = guard.judge(evidence([2.0, 1.0, 10.1]))
    assert verdict == Verdict("diverged", "rmse 10.1 is over 10 times its best 1")
    assert guard.judge(evidence([1e9])) is None, "the first epoch has no best"
    assert guard.judge(evidence([-0.1, 50.0])) is None, (
        "no scale without positive errors"
    )
    fit = evidence([90.0, -500.0], objective=MAXIMIZE)
    assert guard.judge(fit) is None


# -- patience -----------------------------------------------------------------------------


@settings(max_examples=300, deadline=None, suppress_health_check=[SLOW])
@given(
    st.lists(st.floats(-10, 10) | st.just(math.nan), min_size=1, max_size=30),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([MINIMIZE, MAXIMIZE]),
)
def test_patience_equals_looking_back(values, epochs, min_delta, objective):
    """Ends exactly when the last `epochs` epochs brought no improvement that counts."""
    sign = 1 if objective.direction == "minimize" else -1
    best, waited = None, 0
    for value in values:
        mine = value * sign
        improved = not math.isnan(mine) and (
            best is None or mine < best - min_delta * abs(best)
        )
        best, waited = (mine, 0) if improved else (best, waited + 1)
    patience = rule("patience", epochs=epochs, min_delta=min_delta)
    verdict = patience.judge(evidence(values, objective=objective))
    assert (verdict is not None) == (waited >= epochs)
    assert verdict is None or verdict.state == "converged"


# -- names and options --------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("check", suite.CHECKS)
def test_rules_conform(name, check):
    check(Rule(name=name))


ONE_FILE = '''"""End trials after some epochs of their own."""

from dataclasses import dataclass

from hpo.stopping.registry import Verdict


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """Converged: enough epochs.

    Attributes:
        epochs: How many are enough.
    """

    epochs: int = 8

    def rungs(self, budget, index):
        return ()

    def judge(self, evidence):
        if evidence.epoch.number < self.epochs:
            return None
        return Verdict("converged", f"{self.epochs} epochs are enough")
'''


def test_a_rule_is_one_file_wherever_it_lies(tmp_path, monkeypatch):
    (tmp_path / "enough.py").write_text(ONE_FILE)
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(tmp_path)])
    described = {d.name: d for d in registry.described()}["enough"]
    assert described.options == {"epochs": 8}
    for check in suite.CHECKS:
        check(Rule(name="enough", options={"epochs": 3}))
    with pytest.raises(StudyError) as caught:
        registry.make(Rule(name="enouhg"))
    assert "`enough`" in caught.value.hint


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        (Rule(name="ahsa"), "unknown stopping rule `ahsa`", "`asha`"),
        (Rule(name="asha", options={"etta": 3}), "no option `etta`", "`eta`"),
        (Rule(name="asha", options={"eta": 1}), "eta must be an integer from 2", ""),
        (Rule(name="asha", options={"eta": 2.5}), "eta must be an integer", ""),
        (Rule(name="asha", options={"grace": 0}), "budget) must be an integer", ""),
        (Rule(name="asha", options={"grace": 1.5}), "part of the budget", ""),
        (Rule(name="asha", options={"grace": -0.1}), "part of the budget", ""),
        (Rule(name="asha", options={"grace": True}), "part of the budget", ""),
        (Rule(name="divergence", options={"factor": 0.5}), "factor must be a", ""),
        (Rule(name="divergence", options={"factor": math.nan}), "factor", ""),
        (Rule(name="patience", options={"epochs": "3"}), "epochs must be an", ""),
        (Rule(name="patience", options={"min_delta": -1}), "min_delta must be", ""),
    ],
)
def test_a_wrong_rule_is_refused_before_anything_runs(given, message, hint):
    with pytest.raises(StudyError) as caught:
        Director(study(stopping=(given,)), workers=1)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
