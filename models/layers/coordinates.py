"""Parameters on the whole real line, whatever limits their prior has.

What has two limits goes through the quantiles of a uniform prior to those of a normal one, so
that a uniform prior becomes N(0, 1); what has one, through the logarithm of its distance from
that; what has none is standardized. So no draw of a model leaves the prior's box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

_EDGE = 1e-6
"""Share of the distance between two limits within which nothing is told apart."""


@dataclass(frozen=True)
class Coordinates:
    """The map of one role's columns, and its inverse; for numpy and JAX alike.

    Attributes:
        mean: Of the train part, per column.
        std: Likewise; of a column without limits.
        limits: Lowest and highest value per column; None where there is none.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    limits: tuple[tuple[float | None, float | None], ...]

    @property
    def columns(self) -> int:
        """How many there are."""
        return len(self.mean)

    def real(self, values: Any) -> Any:
        """Physical values ``[…, columns]`` on the real line."""
        arrays, special = _namespaces(values)
        c = self._constants(values)
        away = (values - c.origin) / c.unit
        if not c.limited:
            return away
        share = arrays.where(c.both, away, 0.5)
        quantile = special.ndtri(arrays.clip(share, _EDGE, 1 - _EDGE))
        far = arrays.maximum(arrays.where(c.one, away, 1.0), _EDGE)
        logarithm = c.sign * arrays.log(far)
        return arrays.where(c.both, quantile, arrays.where(c.one, logarithm, away))

    def physical(self, places: Any) -> Any:
        """The inverse of `real`; for any place, within the limits."""
        arrays, special = _namespaces(places)
        c = self._constants(places)
        if not c.limited:
            return places * c.unit + c.origin
        share = special.ndtr(places)
        far = arrays.exp(arrays.where(c.one, c.sign * places, 0.0))
        away = arrays.where(c.both, share, arrays.where(c.one, far, places))
        return away * c.unit + c.origin

    def log_slope(self, places: Any) -> Any:
        """``log |d physical / d real|`` at places on the real line, summed over columns.

        A density on the real line, less this, is that of the physical values.
        """
        return self.log_slopes(places).sum(axis=-1)

    def log_slopes(self, places: Any) -> Any:
        """`log_slope` of every column by itself."""
        arrays, _ = _namespaces(places)
        c = self._constants(places)
        normal = -0.5 * (places**2 + math.log(2 * math.pi))
        one = arrays.where(c.one, c.sign * places, 0.0)
        inner = arrays.where(c.both, normal, one)
        return inner + arrays.log(arrays.abs(c.unit))

    def _constants(self, values: Any) -> _Constants:
        """The numbers of all columns, of the type and rank of some values."""
        found = [
            _column(*column)
            for column in zip(self.mean, self.std, self.limits, strict=True)
        ]
        rank = (1,) * (values.ndim - 1)
        *numbers, both, one = (np.array(a) for a in zip(*found, strict=True))
        return _Constants(
            *(a.astype(values.dtype).reshape(*rank, -1) for a in numbers),
            both.reshape(*rank, -1),
            one.reshape(*rank, -1),
        )


class _Constants(NamedTuple):
    """Of every column ``[1, …, columns]``.

    Attributes:
        origin: The mean, or the limit that values are told from.
        unit: What their distance from it is measured in.
        sign: -1 where the one limit is the higher one.
        both: Whether there are two limits.
        one: Whether there is one.
    """

    origin: np.ndarray
    unit: np.ndarray
    sign: np.ndarray
    both: np.ndarray
    one: np.ndarray

    @property
    def limited(self) -> bool:
        """Whether any column has a limit."""
        return bool(self.both.any() or self.one.any())


def _column(
    mean: float, std: float, limits: tuple[float | None, float | None]
) -> tuple[float, float, float, bool, bool]:
    low, high = limits
    if low is not None and high is not None:
        return low, high - low, 1.0, True, False
    if low is not None:
        return low, mean - low, 1.0, False, True
    if high is not None:
        return high, mean - high, -1.0, False, True
    return mean, std, 1.0, False, False


def _namespaces(values: Any) -> tuple[Any, Any]:
    """The array module of some values, and its special functions."""
    arrays = values.__array_namespace__()
    if arrays is np:
        import scipy.special

        return arrays, scipy.special
    import jax.scipy.special

    return arrays, jax.scipy.special
