"""Finite pools of finished curves as spaces that any sampler can search.

A point that a sampler proposes becomes the nearest row of the pool that has not been trained
yet, and the sampler is told of that row: a model learns from what was really trained. Draws
that look at nothing (`random`) are draws from the rows that are left, each as likely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.search.unit import middle
from hpo.simulate.task import Curve
from search_spaces.space import Space


class Pool:
    """Rows of a table: points of a space, each with a curve.

    Args:
        space: What may vary; every row is a point of it.
        rows: Searched values by name. Equal ones are different rows (other seeds).
        curves: The curve of each.
    """

    def __init__(
        self,
        *,
        space: Space,
        rows: Sequence[Mapping[str, Any]],
        curves: Sequence[Curve],
    ) -> None:
        self.space = space
        self.size: int | None = len(rows)
        self._rows = [dict(row) for row in rows]
        self._curves = list(curves)
        self._names = tuple(space.distributions)
        self._choices = np.array(
            [
                isinstance(d, CategoricalDistribution)
                for d in space.distributions.values()
            ],
            dtype=bool,
        )
        self._places = np.array([self._position(row) for row in rows], dtype=float)
        self._of_point: dict[str, list[int]] = {}
        for index, row in enumerate(self._rows):
            self._of_point.setdefault(_key(row), []).append(index)

    def place(
        self, params: Mapping[str, Any], *, seed: int, uniform: bool, taken: set[int]
    ) -> dict[str, Any]:
        """See `Curves`; the row is added to `taken`."""
        free = np.array([i for i in range(len(self._rows)) if i not in taken])
        assert free.size, "a study has no more trials than the pool has rows"
        if uniform:
            row = int(free[seed % free.size])
        else:
            row = int(free[np.argmin(self._distances(params, free))])
        taken.add(row)
        return dict(self._rows[row])

    def curve(self, params: Mapping[str, Any], seed: int) -> Curve:
        """See `Curves`; of several rows with the same point the seed chooses one."""
        rows = self._of_point[_key(params)]
        return self._curves[rows[seed % len(rows)]]

    def _distances(self, params: Mapping[str, Any], free: Any) -> Any:
        """Squared distances on the unit cube; another choice, or none, is a whole side."""
        mine = np.array(self._position(params), dtype=float)
        rows = self._places[free]
        with np.errstate(invalid="ignore"):
            apart = (rows - mine) ** 2
            apart = np.where(self._choices, (rows != mine).astype(float), apart)
        only_one = np.isnan(rows) != np.isnan(mine)
        apart = np.where(only_one, 1.0, np.where(np.isnan(rows), 0.0, apart))
        return apart.sum(axis=1)

    def _position(self, params: Mapping[str, Any]) -> list[float]:
        """Coordinates on the unit cube; NaN where a dimension does not exist."""
        return [
            middle(self.space.distributions[n], params[n]) if n in params else np.nan
            for n in self._names
        ]


def dimension(values: Sequence[float]) -> BaseDistribution:
    """The range that numbers of a table span; logarithmic when it is wider than tenfold.

    Args:
        values: One number a row.
    """
    low, high = float(min(values)), float(max(values))
    log = low > 0 and high > 10 * low
    if all(float(v).is_integer() for v in values):
        return IntDistribution(int(low), int(high), log=log and low >= 1)
    return FloatDistribution(low, high, log=log)


def ladder(values: Sequence[Any]) -> tuple[BaseDistribution, dict[Any, int]]:
    """An ordered list of values as the whole numbers of their places in it.

    Args:
        values: The values, in any order, repeated or not.

    Returns:
        The distribution of places from 0, and the place of each value.
    """
    order = sorted(set(values))
    return IntDistribution(0, len(order) - 1), {v: i for i, v in enumerate(order)}


def _key(params: Mapping[str, Any]) -> str:
    return repr(sorted(params.items()))
