"""Choosing a family's candidate, and the verdict on two families. Pure functions of numbers."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean
from typing import Literal

from hpo.confirmation.record import DECIDED, LEAST, Pair, Verdict
from hpo.objective import Matters, Objective
from hpo.statistics import looks, welch
from hpo.statistics.ranks import rank_test


def chosen(
    values: Mapping[int, Sequence[float | None]],
    objective: Objective,
    *,
    beyond: Collection[int] = (),
) -> int | None:
    """The trial with the best mean over its fresh seeds; of equal ones the first.

    One beyond a limit comes after all that keep to it, one with a failed seed after all others
    without. None where every seed of all failed.

    Args:
        values: The objective over the validation part by trial, in the order of their ranks;
            None for a seed that failed.
        objective: What they are compared by.
        beyond: The trials that exceed a limit of the study with their fresh seeds.
    """
    good = {
        trial: [v for v in seeds if v is not None and math.isfinite(v)]
        for trial, seeds in values.items()
    }

    def key(trial: int) -> tuple[bool, int, float]:
        failed = len(values[trial]) - len(good[trial])
        return trial in beyond, failed, objective.rank_key(fmean(good[trial]))

    possible = [trial for trial in values if good[trial]]
    return min(possible, key=key, default=None)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The values of one family.

    Attributes:
        family: Its name.
        values: One a seed (or search); None for one that failed.
        looks: The look at which each came in.
    """

    family: str
    values: tuple[float | None, ...]
    looks: tuple[int, ...]

    def at(self, look: int) -> Sample:
        """What there was of it at a look."""
        kept = [i for i, seen in enumerate(self.looks) if seen <= look]
        return replace(
            self,
            values=tuple(self.values[i] for i in kept),
            looks=tuple(self.looks[i] for i in kept),
        )

    @property
    def good(self) -> list[float]:
        """The values that there are."""
        return [v for v in self.values if v is not None and math.isfinite(v)]

    @property
    def failed(self) -> int:
        """How many there are not."""
        return len(self.values) - len(self.good)


def judged(
    samples: Sequence[Sample], objective: Objective, matters: Matters, *, look: int
) -> tuple[Pair, ...]:
    """One verdict a pair of families, as it stands after a look.

    Each look spends its own share of the error, so that what was decided at an earlier one
    stands; a later one may only add by how much.

    Args:
        samples: The families, with the values of all looks so far.
        objective: What the values are.
        matters: The smallest difference that matters.
        look: The latest look, from 1.
    """
    pairs = list(combinations(samples, 2))
    scale = _scale(samples, objective, matters)

    def compared(a: Sample, b: Sample, number: int) -> Pair:
        how = _How(
            objective=objective,
            matters=matters,
            scale=scale,
            look=number,
            pairs=len(pairs),
        )
        return _pair(a.at(number), b.at(number), how)

    found = []
    for a, b in pairs:
        standing: Pair | None = None
        for number in range(1, look + 1):
            standing = _standing(standing, compared(a, b, number))
        assert standing is not None, "there is a first look"
        found.append(standing)
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class _How:
    objective: Objective
    matters: Matters
    scale: Literal["ratio", "difference"]
    look: int
    pairs: int

    def on_scale(self, values: Sequence[float]) -> list[float]:
        """Logarithms, where it is ratios that are compared."""
        return [math.log(v) if self.scale == "ratio" else v for v in values]


def _scale(
    samples: Sequence[Sample], objective: Objective, matters: Matters
) -> Literal["ratio", "difference"]:
    """Errors are compared by their ratio; what may be 0 or negative is not."""
    errors = objective.direction == "minimize" and matters.relative
    positive = all(v > 0 for s in samples for v in s.good)
    return "ratio" if errors and positive else "difference"


def _pair(first: Sample, second: Sample, how: _How) -> Pair:
    a, b = _ordered(first, second, how)
    error = looks.error_of_each(how.look, how.pairs)
    wins = _wins(a, b, how.objective)
    margin = _margin(a, b, how)
    ratio = how.scale == "ratio"
    plain = Pair(
        a=a.family,
        b=b.family,
        verdict=Verdict.NONE,
        look=how.look,
        scale=how.scale,
        effect=None,
        low=None,
        high=None,
        least=math.exp(-margin) if ratio else -margin,
        most=math.exp(margin) if ratio else margin,
        confidence=1 - error,
        p=None,
        wins=wins,
        compared=len(a.values) * len(b.values),
        needed=None,
    )
    if a.failed or b.failed:
        return _ranked(plain, a, b, how.objective, error)
    if min(len(a.good), len(b.good)) < 2:
        return plain
    x, y = how.on_scale(a.good), how.on_scale(b.good)
    found = welch.difference(x, y, error=error)
    verdict = Verdict.NONE
    if min(len(x), len(y)) >= LEAST:
        verdict = located(found.low, found.high, margin)
    back = math.exp if ratio else float
    pair = replace(
        plain,
        verdict=verdict,
        effect=back(found.value),
        low=back(found.low),
        high=back(found.high),
    )
    if verdict in DECIDED:
        return pair
    after = looks.error_of_each(how.look + 1, how.pairs)  # more seeds are another look
    number = welch.needed(x, y, error=after, half_width=margin / 2)
    return replace(pair, needed=None if number is None else max(number, LEAST))


def located(low: float, high: float, margin: float) -> Verdict:
    """The verdict by where an interval lies.

    Args:
        low: Its lower end.
        high: Its upper end.
        margin: What matters lies beyond ± this.
    """
    if low > margin or high < -margin:
        return Verdict.BETTER
    if -margin <= low and high <= margin:
        return (
            Verdict.SAME
        )  # also where it does not hold 0: too little to matter is known
    if low > 0 or high < 0:
        return Verdict.BETTER_OPEN
    return Verdict.UNDECIDED


def _ranked(
    plain: Pair, a: Sample, b: Sample, objective: Objective, error: float
) -> Pair:
    """The verdict by ranks, a failed seed being the worst value of all."""
    if min(len(a.values), len(b.values)) < LEAST:
        return plain
    p = rank_test(_keys(a, objective), _keys(b, objective))
    verdict = Verdict.BETTER_OPEN if p <= error else Verdict.UNDECIDED
    return replace(plain, verdict=verdict, p=p)


def _standing(before: Pair | None, now: Pair) -> Pair:
    """The latest numbers with the earliest decision; only its amount may become known."""
    if before is None or before.verdict not in DECIDED:
        return now
    same_side = (before.a, before.b) == (now.a, now.b)
    if same_side and (before.verdict, now.verdict) == (
        Verdict.BETTER_OPEN,
        Verdict.BETTER,
    ):
        return now
    if not same_side and before.verdict is not Verdict.SAME:
        now = _turned(now)  # the decision names `a`, whichever mean is ahead by now
    return replace(now, verdict=before.verdict, look=before.look, needed=None)


def _turned(pair: Pair) -> Pair:
    """The same pair seen from the other family."""
    ratio = pair.scale == "ratio"

    def back(value: float | None) -> float | None:
        if value is None:
            return None
        return 1 / value if ratio else -value

    return replace(
        pair,
        a=pair.b,
        b=pair.a,
        effect=back(pair.effect),
        low=back(pair.high),
        high=back(pair.low),
        wins=1 - pair.wins,
    )


def _ordered(first: Sample, second: Sample, how: _How) -> tuple[Sample, Sample]:
    """The better one first: by the mean, or where seeds failed by the pairs won."""
    if first.failed or second.failed or not (first.good and second.good):
        ahead = _wins(first, second, how.objective) >= 0.5
    else:
        sides = (how.on_scale(s.good) for s in (first, second))
        means = [how.objective.rank_key(fmean(side)) for side in sides]
        ahead = means[0] <= means[1]
    return (first, second) if ahead else (second, first)


def _wins(a: Sample, b: Sample, objective: Objective) -> float:
    """The share of pairs of values in which `a` is the better one."""
    x, y = _keys(a, objective), _keys(b, objective)
    if not x or not y:
        return 0.5
    y.sort()
    lost = sum(bisect_left(y, v) + bisect_right(y, v) for v in x) / 2  # a tie: a half
    return 1 - lost / (len(x) * len(y))


def _keys(sample: Sample, objective: Objective) -> list[float]:
    """Numbers that sort best first; those that failed are the worst of all."""
    return [
        objective.rank_key(v) if v is not None and math.isfinite(v) else math.inf
        for v in sample.values
    ]


def _margin(a: Sample, b: Sample, how: _How) -> float:
    """What matters, as a difference of logarithms or of values."""
    amount = how.matters.amount
    if how.scale == "ratio":
        return math.log1p(amount)
    if not how.matters.relative:
        return amount
    sizes = [abs(fmean(s.good)) for s in (a, b) if s.good]
    return amount * fmean(sizes) if sizes else amount
