"""Distributions as the interval from 0 to 1, and draws from them without a generator.

Samplers that think in numbers (sequences, evolution) work on the unit interval; every
logarithm, step and rounding is here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.seeds import derive
from search_spaces.space import Space, contains


def value_at(distribution: BaseDistribution, position: float) -> Any:
    """The value at a position; where values are counted, each has a share of the interval.

    Args:
        distribution: One of Optuna's three distributions.
        position: From 0 to 1; outside of it the nearest end counts.
    """
    u = min(1.0, max(0.0, position))
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        return choices[min(len(choices) - 1, int(u * len(choices)))]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high = distribution.low, distribution.high
    if u == 1.0:
        return high
    if isinstance(distribution, IntDistribution) and distribution.log:
        bottom, top = math.log(low - 0.5), math.log(high + 0.5)
        return min(high, max(low, round(math.exp(bottom + u * (top - bottom)))))
    count = _count(distribution)
    if count is None:
        if distribution.log:
            found = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
        else:
            found = low + u * (high - low)
        return float(min(high, max(low, found)))
    assert distribution.step is not None
    place = int(u * count)
    return high if place >= count - 1 else low + place * distribution.step


def share_of(distribution: BaseDistribution, value: Any) -> tuple[float, float]:
    """The part of the unit interval in which a value lies; for continuous ones a point.

    Args:
        distribution: One of Optuna's three distributions.
        value: A value of it.

    Returns:
        The part's lower and upper end.
    """
    if isinstance(distribution, CategoricalDistribution):
        position = int(distribution.to_internal_repr(value))
        return _part(position, len(distribution.choices))
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high = distribution.low, distribution.high
    if isinstance(distribution, IntDistribution) and distribution.log:
        bottom, top = math.log(low - 0.5), math.log(high + 0.5)
        below, above = (math.log(value + half) for half in (-0.5, 0.5))
        return (below - bottom) / (top - bottom), (above - bottom) / (top - bottom)
    count = _count(distribution)
    if count is not None:
        assert distribution.step is not None
        return _part(round((value - low) / distribution.step), count)
    if high == low:
        return 0.5, 0.5
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    position = (value - low) / (high - low)
    return position, position


def middle(distribution: BaseDistribution, value: Any) -> float:
    """The position of a value on the unit interval: the middle of its share."""
    low, high = share_of(distribution, value)
    return (low + high) / 2


def uniform(seed: int, *purpose: str | int) -> float:
    """A number from [0, 1) that depends on the seed and the purpose alone."""
    return derive(seed, *purpose) / (2**32 - 1)


def draw(
    space: Space, seed: int, fixed: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A point whose values are independent draws, but for the fixed ones.

    Args:
        space: What may vary.
        seed: A seed for this one point.
        fixed: Values that are decided already.
    """
    known = fixed or {}
    return space.suggest(
        lambda name, distribution: (
            known[name]
            if name in known
            else value_at(distribution, uniform(seed, "draw", name))
        )
    )


def within(
    distributions: Mapping[str, BaseDistribution], params: Mapping[str, Any]
) -> dict[str, Any]:
    """Those of a trial's values that lie in today's distributions, as values of these.

    All of them, unless the trial is of a space that was another one then (`hpo extend
    --new-spaces`): what that space alone had is no value to go on from.

    Args:
        distributions: By name.
        params: The trial's searched values by name.
    """
    return {
        name: d.to_external_repr(d.to_internal_repr(params[name]))
        for name, d in distributions.items()
        if name in params and contains(d, params[name])
    }


def unconditional(space: Space) -> dict[str, BaseDistribution]:
    """The dimensions that exist at every point of a space."""
    constants = space.constants
    doubtful = {
        c.name
        for c in space.conditions
        if c.parent not in constants or not c.holds(constants)
    }
    return {n: d for n, d in space.distributions.items() if n not in doubtful}


def _count(distribution: FloatDistribution | IntDistribution) -> int | None:
    """How many values there are; None for a continuous range."""
    if distribution.step is None:
        return None
    return round((distribution.high - distribution.low) / distribution.step) + 1


def _part(position: int, count: int) -> tuple[float, float]:
    return position / count, (position + 1) / count
