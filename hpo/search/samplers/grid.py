"""Every point of a grid once, in an order without a pattern."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.errors import StudyError
from hpo.options import at_least
from hpo.search.registry import Request
from hpo.seeds import derive
from search_spaces.space import Space, SpaceError

LARGEST = 100_000  # points of a grid that are worth listing


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """All combinations of a few values of each dimension; then there are no more points.

    Categorical dimensions have all their choices. A range of numbers has at most `steps`
    values: all of them where it has no more, else evenly spaced ones (in the logarithm
    where the range is logarithmic), its ends included. Conditional dimensions are varied
    only where they exist. The order is shuffled, so that a grid cut short is no corner.
    Points that trials of an earlier run have are left out, and those that the run's own had
    in another space, before an extension.

    Attributes:
        steps: Most values of a numeric dimension.
    """

    steps: int = 5

    def __post_init__(self) -> None:
        """A range has two ends."""
        at_least("grid: steps", self.steps, 2, whole=True)

    def examine(self, space: Space, objectives: int) -> tuple[str, ...]:
        """How many points there are.

        Raises:
            StudyError: More than anybody could train.
        """
        most = math.prod(
            len(values(d, self.steps)) for d in space.distributions.values()
        )
        if most > LARGEST:
            raise StudyError(
                f"a grid of {self.steps} steps has up to {most:,} points here; "
                f"at most {LARGEST:,} are searched",
                hint="fewer `steps`, fewer dimensions, or the sampler `qmc`",
            )
        return (f"the grid has {len(_points(space, self.steps))} points",)

    def propose(self, request: Request) -> dict[str, Any] | None:
        """The next point in the grid's order, or None after the last one."""
        left, place = self._left(request), request.place
        return dict(left[place]) if place < len(left) else None

    def ends(self, request: Request) -> bool:
        """Whether the last point was given."""
        return request.place >= len(self._left(request))

    def _left(self, request: Request) -> list[tuple[tuple[str, Any], ...]]:
        """The grid in its order, without what was trained before this space was searched."""
        points = _points(request.space, self.steps)
        order = _order(len(points), request.family_seed)
        known = {tuple(trial.params.items()) for trial in request.carried}
        known |= {
            tuple(point.items())
            for trial, space in request.former
            if (point := _moved(trial.params, space, request.space)) is not None
        }
        return [points[place] for place in order if points[place] not in known]


def _moved(params: Mapping[str, Any], then: Space, now: Space) -> dict[str, Any] | None:
    """A point of one space as that of another which is the same configuration, if one is."""
    whole = then.complete(params)
    try:
        point = now.validate({n: v for n, v in whole.items() if n in now.distributions})
    except (SpaceError, TypeError):  # a parent may have been of another type
        return None
    return point if now.complete(point) == whole else None


def values(distribution: BaseDistribution, steps: int) -> tuple[Any, ...]:
    """The values of one dimension, ascending or in declared order, each once.

    Args:
        distribution: One of Optuna's three distributions.
        steps: Most values of a range of numbers.
    """
    if isinstance(distribution, CategoricalDistribution):
        return tuple(distribution.choices)
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high, step = distribution.low, distribution.high, distribution.step
    if low == high:
        return (low,)
    if distribution.log:
        ratio = math.log(high / low)
        raw = [low * math.exp(ratio * k / (steps - 1)) for k in range(steps)]
    else:
        raw = [low + (high - low) * k / (steps - 1) for k in range(steps)]
    if step is not None:  # a counted range: all of it, or what lies nearest
        count = round((high - low) / step) + 1
        if count <= steps:
            raw = [low + k * step for k in range(count)]
        raw = [low + round((x - low) / step) * step for x in raw]
    raw = [min(high, max(low, x)) for x in (low, *raw[1:-1], high)]
    whole = isinstance(distribution, IntDistribution)
    return tuple(dict.fromkeys(round(x) if whole else float(x) for x in raw))


@lru_cache(maxsize=16)
def _points(space: Space, steps: int) -> tuple[tuple[tuple[str, Any], ...], ...]:
    """Every point of the grid, the last dimension varying fastest."""
    names = list(space.distributions)

    def walk(place: int, point: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if place == len(names):
            yield point
            return
        name = names[place]
        if name not in space.active(point):
            yield from walk(place + 1, point)
            return
        for value in values(space.distributions[name], steps):
            yield from walk(place + 1, {**point, name: value})

    return tuple(tuple(point.items()) for point in walk(0, {}))


@lru_cache(maxsize=16)
def _order(count: int, seed: int) -> tuple[int, ...]:
    return tuple(sorted(range(count), key=lambda k: derive(seed, "grid", k)))
