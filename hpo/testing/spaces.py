"""The conformance suite of every `Space`, whoever wrote it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.space import Space


def check_json(space: Space) -> None:
    """A space survives being written down and read back.

    Args:
        space: The space to check.
    """
    text = json.dumps(space.to_json())
    again = Space.from_json(json.loads(text))
    assert again == space, f"the space changed on its way through JSON: {again}"
    assert str(again) == str(space)


def check_suggestions(space: Space, *, count: int = 50, seed: int = 0) -> None:
    """Whatever Optuna suggests is a point of the space, and survives JSON.

    Args:
        space: The space to check.
        count: How many points to draw.
        seed: Of the random sampler.
    """
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        sampler = optuna.samplers.RandomSampler(seed=seed)
        study = optuna.create_study(sampler=sampler)
        points = [
            space.suggest(lambda name, d: study.ask({name: d}).params[name])
            for _ in range(count)
        ]
    finally:
        optuna.logging.set_verbosity(before)
    for point in points:
        _check_point(space, point)


def check_edges(space: Space) -> None:
    """Both ends of every range, and every choice, are points of the space.

    Args:
        space: The space to check.
    """
    for name in space.distributions:
        for value in edges(space.distributions[name]):
            _check_point(space, point_with(space, name, value))


def check_known(space: Space, keys: Collection[str]) -> None:
    """Every entry is a configuration key that the family knows.

    Args:
        space: The space to check.
        keys: The family's dotted configuration keys.
    """
    strange = sorted(set(space.entries()) - set(keys))
    assert not strange, f"the space names {strange}, which the family does not know"


def edges(distribution: BaseDistribution) -> tuple[Any, ...]:
    """The ends of a range, or every choice.

    Args:
        distribution: One of Optuna's three distributions.
    """
    if isinstance(distribution, CategoricalDistribution):
        return tuple(distribution.choices)
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    return distribution.low, distribution.high


def neighbors(distribution: BaseDistribution) -> tuple[Any, Any]:
    """Two different values that are cheap to try: the smallest shapes, the widest floats.

    Args:
        distribution: One of Optuna's three distributions, with at least two values.
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0], distribution.choices[1]
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    if isinstance(distribution, IntDistribution):
        return distribution.low, distribution.low + distribution.step
    return distribution.low, distribution.high


def point_with(space: Space, name: str, value: Any) -> dict[str, Any]:
    """A point in which the dimension `name` exists and has this value.

    The other dimensions take their first value that lets `name` exist.

    Args:
        space: The space.
        name: One of its dimensions.
        value: A value of that dimension.
    """
    wanted: dict[str, Any] = {name: value}
    for parent, allowed in _parents(space, name):
        wanted.setdefault(parent, allowed)
    return space.suggest(lambda n, d: wanted[n] if n in wanted else edges(d)[0])


def _parents(space: Space, name: str) -> Iterator[tuple[str, Any]]:
    """Searched parents, and theirs, each with a value for which `name` exists."""
    for condition in space.conditions:
        if condition.name == name and condition.parent in space.distributions:
            options = edges(space.distributions[condition.parent])
            fitting = [v for v in options if condition.holds({condition.parent: v})]
            assert fitting, f"`{name}` can never exist: no `{condition}`"
            yield condition.parent, fitting[0]
            yield from _parents(space, condition.parent)


def _check_point(space: Space, point: dict[str, Any]) -> None:
    again = json.loads(json.dumps(point))
    checked = space.validate(again)
    assert checked == point, f"{point} became {checked}"
    assert list(checked) == list(point), "the order of the dimensions changed"
    assert set(point) == set(space.active(point)), "a dimension is missing or too many"
    whole = space.complete(point)
    assert set(whole) == set(point) | set(space.constants)
    for name, distribution in space.active(point).items():
        internal = distribution.to_internal_repr(point[name])
        assert distribution.to_external_repr(internal) == point[name], (
            f"`{name}` = {point[name]!r} does not survive Optuna's internal form"
        )
