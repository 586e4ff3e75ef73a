"""How many full runs a method needs for what plain random search has after so many.

The means over studies are joined by straight lines from budget to budget; intervals are those
of `regret`: studies are drawn again within each task, the same for both methods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpo.errors import StudyError
from hpo.report.regret import Comparison
from hpo.statistics.bootstrap import ends, weights

REFERENCE = "random none"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How soon one method is as good as the reference.

    Attributes:
        method: Its name.
        runs: Full runs; infinity where it is not within the budget.
        low: Lower end of its interval; None for that of a single study a task.
        high: Upper end, infinity likewise.
    """

    method: str
    runs: float
    low: float | None
    high: float | None


def check(methods: Sequence[str], budgets: Sequence[int], at: int) -> None:
    """Refuse what has no answer, before anything is simulated.

    Args:
        methods: The names of the methods.
        budgets: Full runs.
        at: The budget of the reference.

    Raises:
        StudyError: The reference is none of the methods, or the budget none of theirs.
    """
    if REFERENCE not in methods:
        raise StudyError(
            f"`--reach` asks for the regret of `{REFERENCE}`, which is not compared",
            hint="add `none` to `--stopping` and `random` to `--sampler`",
        )
    if at not in budgets:
        raise StudyError(
            f"`--reach {at}`: studies are looked at after {', '.join(map(str, budgets))} "
            "full runs",
            hint=f"add {at} to `--at`, or raise `--budget`",
        )


def reaches(comparison: Comparison, *, at: int) -> list[Reach]:
    """The full runs until the mean regret that the reference has at `at`, by method.

    Args:
        comparison: The outcomes; the reference is among the methods, `at` of the budgets.
        at: Full runs of the reference.
    """
    studies = {o.study: o.task for o in comparison.outcomes}
    drawn = weights([*studies.values()])
    once = np.ones((1, len(studies)))
    goal = comparison.budgets.index(at)
    found = []
    for method in comparison.methods:
        spans: list[float] = []
        for weight in (once,) if drawn is None else (once, drawn):
            mine = _means(comparison, method, weight)
            wanted = _means(comparison, REFERENCE, weight)[:, goal]
            reached = [
                _first(comparison.budgets, m, w)
                for m, w in zip(mine, wanted, strict=True)
            ]
            spans += reached if weight is once else ends(np.asarray(reached))
        runs, low, high = (*spans, None, None)[:3]
        assert runs is not None
        found.append(Reach(method=method, runs=runs, low=low, high=high))
    return found


def _means(
    comparison: Comparison, method: str, weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted means of a method's regret, ``(row of weights, budget)``."""
    studies = [*dict.fromkeys(o.study for o in comparison.outcomes)]
    place = {study: i for i, study in enumerate(studies)}
    values = np.full((len(studies), len(comparison.budgets)), np.nan)
    for o in comparison.outcomes:
        if o.method == method and o.regret is not None:
            values[place[o.study], comparison.budgets.index(o.budget)] = o.regret
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = weight @ np.where(known, values, 0.0)
        means /= weight @ known
    return means


def _first(budgets: Sequence[int], means: NDArray[np.float64], wanted: float) -> float:
    """Where the line through the means first comes down to a value."""
    before: tuple[int, float] | None = None
    for budget, mean in zip(budgets, means, strict=True):
        if mean <= wanted:
            if before is None:
                return float(budget)
            share = (before[1] - wanted) / (before[1] - mean)
            return before[0] + float(share) * (budget - before[0])
        if math.isfinite(mean):
            before = budget, float(mean)
    return math.inf


def render(found: Sequence[Reach], *, at: int, budget: int) -> str:
    """The reaches as one sentence a method.

    Args:
        found: What `reaches` gave.
        at: Full runs of the reference.
        budget: The largest budget, which a method that does not reach exceeds.
    """

    def told(runs: float) -> str:
        return f"{runs:.1f}" if math.isfinite(runs) else f"over {budget}"

    lines = [f"full runs until the regret that `{REFERENCE}` has after {at}:"]
    for reach in found:
        span = ""
        if reach.low is not None and reach.high is not None:
            span = f" [{told(reach.low)}, {told(reach.high)}]"
        lines.append(f"  {reach.method}: {told(reach.runs)}{span}")
    return "\n".join(lines)
