"""Intervals by drawing again.

Source: Rao and Wu 1988, "Resampling inference with complex survey data".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

RESAMPLES = 4000
LEVEL = 95.0  # per cent
Span = tuple[float | None, float | None, float | None]  # mean, lower, upper end


def within_groups(
    values: Sequence[float], groups: Sequence[str], *, resamples: int = RESAMPLES
) -> Span:
    """A mean and its 95 % percentile bootstrap interval, drawn again within each group.

    Of a group's n values n - 1 are drawn (Rao and Wu), or the spread of few values would
    come out too small by the factor (n - 1) / n. Groups of a single value are drawn from
    as if they were one group, which makes the interval wider rather than narrower.

    Args:
        values: Finite numbers.
        groups: Whose each is.
        resamples: How often they are drawn again; the draws are always the same.

    Returns:
        Mean, lower and upper end. None for all where there is nothing, for the ends where a
        value has no other to be drawn with.
    """
    if not values:
        return None, None, None
    measured = np.asarray(values, dtype=float)
    mean = float(measured.mean())
    sizes = Counter(groups)
    names = np.asarray([g if sizes[g] > 1 else "" for g in groups])
    random = np.random.default_rng(0)
    total = np.zeros(resamples)
    for name in dict.fromkeys(names.tolist()):
        mine = measured[names == name]
        if len(mine) == 1:
            return mean, None, None
        drawn = random.integers(0, len(mine), (resamples, len(mine) - 1))
        total += len(mine) * mine[drawn].mean(axis=1)
    outside = (100.0 - LEVEL) / 2
    low, high = np.percentile(total / len(values), (outside, 100.0 - outside))
    return mean, float(low), float(high)
