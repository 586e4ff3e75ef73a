"""Two ways compared pair by pair: the mean difference, its interval, and an exact p-value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpo.statistics.means import mean_interval

EXACT = 20
"""Up to this many pairs all signs are tried (2²⁰ sums)."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """What pairs say.

    Attributes:
        count: Pairs.
        mean: Of the differences.
        low: Lower end of Student's 95 % interval of the mean.
        high: Its upper end.
        p: Two-sided, of the sign-flip test: the share of all ways to give each difference
            either sign whose mean is as far from 0, this one included.
    """

    count: int
    mean: float
    low: float
    high: float
    p: float


def paired(differences: Sequence[float]) -> Paired:
    """Mean, interval and p-value of differences within pairs.

    Args:
        differences: One a pair, from 2 to `EXACT`.

    Raises:
        ValueError: There are fewer or more, or one is not finite.

    Source: Fisher 1935, "The design of experiments", section 21 (randomization of pairs).
    """
    count = len(differences)
    if not 2 <= count <= EXACT or not all(map(math.isfinite, differences)):
        raise ValueError(
            f"from 2 to {EXACT} finite differences can be compared, got {list(differences)}"
        )
    found = mean_interval(differences)
    assert found is not None and found.low is not None and found.high is not None
    sums = (
        sum(d if sign else -d for d, sign in zip(differences, signs, strict=True))
        for signs in itertools.product((True, False), repeat=count)
    )
    # A sum of other order may round to a little less than this one's mirror image.
    least = abs(sum(differences)) * (1 - 1e-12)
    p = sum(abs(s) >= least for s in sums) / 2**count
    return Paired(count=count, mean=found.mean, low=found.low, high=found.high, p=p)
