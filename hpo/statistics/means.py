"""A mean, and how sure it is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its confidence interval by Student's t distribution.

    Attributes:
        mean: The mean.
        low: Lower end; None with fewer than two values.
        high: Upper end; None with fewer than two values.
        deviation: Standard deviation of the values (n - 1); None with fewer than two.
        count: How many values.
    """

    mean: float
    low: float | None
    high: float | None
    deviation: float | None
    count: int


def mean_interval(
    values: Sequence[float], *, confidence: float = CONFIDENCE
) -> Interval | None:
    """Mean and interval of the finite values; None when there are none.

    Args:
        values: Numbers; those that are not finite count for nothing.
        confidence: How often such an interval holds the mean, for normal values.
    """
    finite = [float(v) for v in values if math.isfinite(v)]
    if not finite:
        return None
    mean, n = statistics.fmean(finite), len(finite)
    if n < 2:
        return Interval(mean=mean, low=None, high=None, deviation=None, count=n)
    deviation = statistics.stdev(finite)
    half = quantile(0.5 + confidence / 2, n - 1) * deviation / math.sqrt(n)
    return Interval(
        mean=mean, low=mean - half, high=mean + half, deviation=deviation, count=n
    )


def quantile(probability: float, degrees: float) -> float:
    """The quantile of Student's t distribution.

    Args:
        probability: In (0, 1).
        degrees: Degrees of freedom, also infinite.
    """
    from scipy import special  # a tenth of the time that `scipy.stats` takes to load

    if math.isinf(degrees):
        return float(special.ndtri(probability))
    return float(special.stdtrit(degrees, probability))
