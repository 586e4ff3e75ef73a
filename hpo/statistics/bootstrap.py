"""Intervals by drawing again.

Source: Rao and Wu 1988, "Resampling inference with complex survey data".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
    drawn = weights(groups, resamples=resamples)
    if drawn is None:
        return mean, None, None
    low, high = ends(drawn @ measured / len(values))
    return mean, low, high


def weights(
    groups: Sequence[str], *, resamples: int = RESAMPLES
) -> NDArray[np.float64] | None:
    """How often each value counts when they are drawn again as in `within_groups`.

    ``(resample, value)``; a group's weights add up to its size. None where a value has no
    other to be drawn with.

    Args:
        groups: Whose each value is.
        resamples: How often they are drawn again; the draws are always the same.
    """
    sizes = Counter(groups)
    names = np.asarray([g if sizes[g] > 1 else "" for g in groups])
    random = np.random.default_rng(0)
    found = np.zeros((resamples, len(groups)))
    rows = np.arange(resamples)[:, None]
    for name in dict.fromkeys(names.tolist()):
        (mine,) = np.nonzero(names == name)
        if len(mine) == 1:
            return None
        drawn = random.integers(0, len(mine), (resamples, len(mine) - 1))
        np.add.at(found, (rows, mine[drawn]), len(mine) / (len(mine) - 1))
    return found


def ends(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """The ends of the 95 % percentile interval of what was drawn again.

    Args:
        drawn: A number for each time; infinite ones lie outside of all others.
    """
    outside = (100.0 - LEVEL) / 2
    low, high = np.percentile(drawn, (outside, 100.0 - outside), method="nearest")
    return float(low), float(high)
