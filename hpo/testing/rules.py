"""The conformance suite of every stopping rule, by its name and options."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence

from msgspec import structs
from optuna.distributions import FloatDistribution

from hpo.ledger.events import Event
from hpo.seeds import derive
from hpo.stopping import registry
from hpo.stopping.registry import Evidence, PausingRule, Verdict
from hpo.study import Budget, Family, Objective, Rule, Study
from hpo.testing import directed
from hpo.trials.curve import Curve
from hpo.trials.record import Trial
from hpo.trials.states import ENDINGS, State
from models.training.protocol import Epoch
from search_spaces.space import Space

STATES = ("stopped", "converged", "diverged", "paused")
_TRIALS, _EPOCHS = 12, 12


def check_rungs(rule: Rule) -> None:
    """Its rungs are epochs below the budget, ascending, and always the same.

    Args:
        rule: Its name and options.
    """
    for budget in (1, 2, 9, 30, 100):
        for index in range(9):
            rungs = registry.make(rule).rungs(budget, index)
            assert rungs == tuple(sorted(set(rungs))), rungs
            assert all(isinstance(e, int) and 0 < e < budget for e in rungs), rungs
            assert registry.make(rule).rungs(budget, index) == rungs


def check_verdicts(rule: Rule) -> None:
    """A verdict has a known state and a reason, and judging changes nothing.

    It is the same each time it is asked for. Only a rule that settles what is paused pauses,
    and a rule without rungs looks at nothing but the trial's own epochs.

    Args:
        rule: Its name and options.
    """
    made = registry.make(rule)
    for evidence in _evidence():
        before = copy.deepcopy((evidence.values, [*evidence.history]))
        verdict = made.judge(evidence)
        assert (evidence.values, [*evidence.history]) == before, "evidence was changed"
        assert registry.make(rule).judge(evidence) == verdict, "asked twice"
        if verdict is not None:
            assert isinstance(verdict, Verdict) and verdict.state in STATES
            assert verdict.reason, "a verdict without a reason"
            assert verdict.state != "paused" or isinstance(made, PausingRule)
            ranked = verdict.state == "converged"
            assert not ranked or registry.converges(made), "it said that it never does"
        if not made.rungs(evidence.budget, 0):
            alone = dataclasses.replace(evidence, history=evidence.history[:1])
            assert made.judge(alone) == verdict, "it looked at other trials"


def check_runs(rule: Rule) -> None:
    """Whole studies end: every trial, in a state of its own, whatever its numbers were.

    With one worker or three, and killed at many moments as if undisturbed. Some trial with
    finite numbers is ranked: a rule that ends all of them is of no use.

    Args:
        rule: Its name and options.
    """
    for direction in ("minimize", "maximize"):
        study = _study(rule, direction)
        whole = directed.check_resumed(study, _curve(direction))
        for events in (whole, directed.run(study, _curve(direction), workers=3)):
            ends = {e.trial: e.event for e in events if e.event in ENDINGS}
            assert len(ends) == _TRIALS
            assert {"completed", "converged"} & set(ends.values()), ends


def check_direction(rule: Rule) -> None:
    """Turning all numbers over, and the direction with them, changes no decision.

    Args:
        rule: Its name and options.
    """
    told = []
    for direction in ("minimize", "maximize"):
        events = directed.run(_study(rule, direction), _curve(direction))
        told.append([_without_numbers(e) for e in events])
    assert told[0] == told[1]


CHECKS = (check_rungs, check_verdicts, check_runs, check_direction)


# -- how it is checked --------------------------------------------------------------------


def _study(rule: Rule, direction: str) -> Study:
    return Study(
        name="conformance",
        families=(
            Family(name="one", space=Space({"level": FloatDistribution(0.5, 1.0)})),
        ),
        objectives=(Objective(direction=direction),),  # type: ignore[arg-type]
        budget=Budget(trials=_TRIALS, epochs=_EPOCHS),
        stopping=(rule,),
        seed=4,
    )


def _curve(direction: str) -> directed.Curve:
    """Curves that fall and settle; every fifth trial, and never the first, goes bad."""
    sign = 1.0 if direction == "minimize" else -1.0

    def curve(trial: Trial, number: int) -> Epoch:
        settled = min(number, 2 + derive(trial.seed, "settles") % 9)
        value = trial.current["level"] + 2.0 / settled
        value += 0.05 * derive(trial.seed, number) / 2**32
        if trial.index % 5 == 4 and number > derive(trial.seed, "when") % 7:
            value = (math.nan, math.inf)[trial.index % 2]
        return Epoch(number, {"loss": 1.0}, {"rmse": sign * value})

    return curve


def _evidence() -> list[Evidence]:
    """Epoch by epoch of a few trials, among others that have got as far."""
    curve, others = _curve("minimize"), []
    for index in range(4):
        blank = Trial(
            number=index + 1,
            family="one",
            index=index,
            params={"level": 0.5 + 0.1 * index},
            seed=derive(0, index),
            budget=_EPOCHS,
            state=State.RUNNING,
        )
        epochs = {n: curve(blank, n) for n in range(1, _EPOCHS)}
        values = {n: e.valid["rmse"] for n, e in epochs.items()}
        curve_of = Curve.of(values.items())
        others.append(structs.replace(blank, epochs=epochs, curve=curve_of))
    numbers = {1: 1.0, 2: math.nan, 3: math.inf, 4: 0.5}
    bad = structs.replace(others[0], curve=Curve.of(numbers.items()))
    return [
        _epoch_of(trial, number, others)
        for trial in (*others[:2], bad)
        for number in trial.values
    ]


def _epoch_of(trial: Trial, number: int, history: Sequence[Trial]) -> Evidence:
    values = {n: v for n, v in trial.values.items() if n <= number}
    earlier = [v for n, v in values.items() if n < number and math.isfinite(v)]
    mine = [trial if t.number == trial.number else t for t in history]
    return Evidence(
        trial=trial.number,
        budget=_EPOCHS,
        epoch=Epoch(number, {"loss": 1.0}, {"rmse": values[number]}),
        values=values,
        best=min(earlier, default=None),
        rung=None,
        history=mine,
        objective=Objective(),
    )


def _without_numbers(event: Event) -> tuple[object, ...]:
    data = {
        k: v
        for k, v in event.details().items()
        if k not in ("valid", "train", "reason", "value")
    }
    return event.event, event.trial, event.attempt, repr(sorted(data.items()))
