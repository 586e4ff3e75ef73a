"""Order instead of size: rank correlations, and a test that needs no mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean

from hpo.statistics.means import CONFIDENCE


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Rank correlation; equal values share a rank. None where one side is all equal.

    `scipy.stats.spearmanr` gives the same (that is tested), but takes longer to load than a
    table takes to print.

    Args:
        a: Values, infinite ones allowed, no NaN.
        b: As many others.
    """
    x, y = _ranks(a), _ranks(b)
    centre = fmean(x)
    spread = [sum((v - centre) ** 2 for v in side) for side in (x, y)]
    if not all(spread):
        return None
    shared = sum((v - centre) * (w - centre) for v, w in zip(x, y, strict=True))
    return max(-1.0, min(1.0, shared / math.sqrt(spread[0] * spread[1])))


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 0 up; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks, first = [0.0] * len(values), 0
    while first < len(order):
        last = first
        while last + 1 < len(order) and values[order[last + 1]] == values[order[first]]:
            last += 1
        for place in order[first : last + 1]:
            ranks[place] = (first + last) / 2
        first = last + 1
    return ranks


def spearman_interval(correlation: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a rank correlation.

    Fisher's transformation with the variance of Bonett and Wright (2000), (1 + r²/2)/(n - 3).
    A perfect order, which it cannot hold, counts as half an exchange of two neighbours short
    of perfect.

    Args:
        correlation: Spearman's, from `count` pairs.
        count: At least 4.
    """
    most = 1 - 6 / (count**3 - count)
    r = max(-most, min(most, correlation))
    half = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    half *= math.sqrt((1 + r * r / 2) / (count - 3))
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def restricted(correlation: float, *, share: float) -> float:
    """The value a rank correlation over all trials may fall to over the best share of them.

    For normal values with the selection made at a rung between this one and the end (at this
    one it costs less): value at the rung → value where the cut is made → end is taken as a
    chain, and of all such chains the one in which the correlation falls most (both links
    equal). With r over all and the variance v that the best share keeps of the whole, it is
    r v / (1 - r (1 - v)) (Pearson's selection formula).

    Args:
        correlation: Spearman's over all trials.
        share: How many of all trials have an end, in (0, 1].
    """
    if share >= 1:
        return correlation
    normal = NormalDist()
    edge = normal.inv_cdf(1 - share)
    above = normal.pdf(edge) / share  # mean of what lies above the edge
    kept = 1 + edge * above - above * above
    r = 2 * math.sin(math.pi * correlation / 6)  # Pearson's, of normal values
    r = r * kept / (1 - r * (1 - kept))
    return 6 / math.pi * math.asin(r / 2)


def rank_test(a: Sequence[float], b: Sequence[float]) -> float:
    """The two-sided p-value of the exact test of Wilcoxon, Mann and Whitney.

    It is exact with ties, too: over all ways to deal the shared ranks to the two samples.

    Args:
        a: Values, infinite ones allowed, no NaN.
        b: Others.
    """
    import numpy as np

    ranks = [
        round(2 * r) for r in _ranks([*a, *b])
    ]  # whole numbers: shared ranks are halves
    count = len(a)
    ways = np.zeros((count + 1, sum(ranks) + 1))  # of choosing so many with such a sum
    ways[0, 0] = 1.0
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank].copy()
    share = ways[count] / ways[count].sum()
    found = sum(ranks[:count])
    tail = min(share[: found + 1].sum(), share[found:].sum())
    return min(1.0, 2.0 * float(tail))
