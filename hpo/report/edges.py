"""Winners that lie at the end of a range: the search may have wanted to go further."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.report import numbers
from hpo.report.families import Standing
from hpo.report.summary import Summary
from search_spaces.space import describe

NEAR = 0.05


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A family's winner within 5 % of a range's end.

    Attributes:
        family: The family.
        name: The dimension.
        value: The winner's value.
        end: ``lower`` or ``upper``.
        range: The range in words.
    """

    family: str
    name: str
    value: Any
    end: str
    range: str

    def __str__(self) -> str:
        """What to do about it."""
        return (
            f"{self.family}: {self.name} = {numbers.short(self.value)} of the winner is "
            f"within 5 % of the {self.end} end of {self.range}: widen it"
        )


def edges(summary: Summary, families: tuple[Standing, ...]) -> tuple[Edge, ...]:
    """Every dimension in which a family's best trial lies at an end of its range.

    Nothing is said of one that the space of today does not hold.

    Args:
        summary: The run.
        families: Its families.
    """
    found = []
    for standing in families:
        if standing.best is None:
            continue
        space = summary.study.family(standing.family).space
        if not space.holds(standing.best.params):
            continue
        for name, value in standing.best.params.items():
            end = _end(space.distributions.get(name), value)
            if end:
                range_ = describe(space.distributions[name])
                found.append(
                    Edge(
                        family=standing.family,
                        name=name,
                        value=value,
                        end=end,
                        range=range_,
                    )
                )
    return tuple(found)


def _end(distribution: BaseDistribution | None, value: Any) -> str:
    """``lower``, ``upper``, or nothing where the value lies well inside.

    A range that begins at 0 mostly does so because there is nothing below (a dropout, a
    number of lags), so its lower end is no remark.
    """
    if distribution is None or isinstance(distribution, CategoricalDistribution):
        return ""
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    low, high, at = float(distribution.low), float(distribution.high), float(value)
    if distribution.single():
        return ""
    if distribution.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    place = (at - low) / (high - low)
    if place <= NEAR:
        return "" if distribution.low == 0 else "lower"
    return "upper" if place >= 1 - NEAR else ""
