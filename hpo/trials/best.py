"""Which epoch of a trial is its best one; nobody else decides that.

The value of a trial is the objective at its best epoch within budget; of equal ones the earliest
counts, and one that is not finite never does. Epochs beyond the budget are not let through: they
are no part of a trial's record (`hpo.trials.reducer`), and a learner that reports one has
completed its budget with the last epoch within it (`hpo.director`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from hpo.study import Objective


def best_epoch(
    values: Iterable[tuple[int, float]], objective: Objective, budget: int
) -> int | None:
    """The number of the best epoch, or None where none counts.

    Args:
        values: Epochs with the objective's value (NaN where it was not reported), in any order.
        objective: What trials are ranked by.
        budget: The trial's epoch budget.
    """
    best: tuple[float, int] | None = None
    for number, value in values:
        if number <= budget and comes_before(number, value, best, objective):
            best = objective.rank_key(value), number
    return None if best is None else best[1]


def comes_before(
    number: int, value: float, best: tuple[float, int] | None, objective: Objective
) -> bool:
    """Whether an epoch is better than the best one before.

    Args:
        number: An epoch within budget.
        value: The objective there.
        best: Rank key and number of the best epoch before; None before any.
        objective: What trials are ranked by.
    """
    if not math.isfinite(value):
        return False
    return best is None or (objective.rank_key(value), number) < best
