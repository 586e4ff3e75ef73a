"""The difference of two means whose spreads may differ.

Source: Welch 1947, "The generalization of Student's problem when several different population
variances are involved". Numbers are those of ``scipy.stats.ttest_ind(equal_var=False)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from hpo.statistics.means import quantile

MOST = 100_000
"""Values each beyond which nobody is told to go."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean of one sample less that of another.

    Attributes:
        value: The difference.
        low: Lower end of its interval.
        high: Upper end.
        degrees: Degrees of freedom, infinite where neither sample varies.
    """

    value: float
    low: float
    high: float
    degrees: float


def difference(a: Sequence[float], b: Sequence[float], *, error: float) -> Difference:
    """Welch's interval of the difference of two means.

    Args:
        a: Two or more finite values.
        b: Likewise.
        error: How often the interval may miss: 0.05 for one of 95 %.
    """
    value = fmean(a) - fmean(b)
    spreads = _variance(a), _variance(b)
    degrees = _degrees(spreads, (len(a), len(b)))
    half = _half_width(spreads, (len(a), len(b)), error)
    return Difference(value=value, low=value - half, high=value + half, degrees=degrees)


def needed(
    a: Sequence[float], b: Sequence[float], *, error: float, half_width: float
) -> int | None:
    """The least number of values each whose interval is as narrow as wanted.

    The spreads are taken to be those of the samples.

    Args:
        a: Two or more finite values.
        b: Likewise.
        error: How often the interval may miss.
        half_width: Half of the interval's width.

    Returns:
        At least 2; None where it would be more than `MOST`.
    """
    spreads = _variance(a), _variance(b)

    # Normal quantiles are smaller than Student's, so that this is never too many.
    least = (quantile(1 - error / 2, math.inf) / half_width) ** 2 * sum(spreads)
    if least > MOST:
        return None
    count = max(math.ceil(least), 2)
    while _half_width(spreads, (count, count), error) > half_width:
        count += 1
    return count


def _variance(values: Sequence[float]) -> float:
    """With n - 1; `statistics.variance` calculates in fractions, which takes 20 times as long."""
    mean = fmean(values)
    return math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)


def _half_width(
    spreads: tuple[float, float], counts: tuple[int, int], error: float
) -> float:
    spread = math.sqrt(sum(s / n for s, n in zip(spreads, counts, strict=True)))
    if spread == 0:
        return 0.0
    return quantile(1 - error / 2, _degrees(spreads, counts)) * spread


def _degrees(spreads: tuple[float, float], counts: tuple[int, int]) -> float:
    """Welch's equation for the degrees of freedom (Satterthwaite)."""
    shares = [s / n for s, n in zip(spreads, counts, strict=True)]
    below = sum(v * v / (n - 1) for v, n in zip(shares, counts, strict=True))
    return sum(shares) ** 2 / below if below else math.inf
