"""Mean, standard deviation and extremes per channel, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np


class Extremes:
    """The smallest and the largest values of every role, read when they are asked for.

    Args:
        blocks: Gives the blocks ``[…, channels]`` of a role; NaN is a value not seen.
        roles: The roles that there are.
    """

    def __init__(
        self, blocks: Callable[[str], Iterable[np.ndarray]], roles: Iterable[str]
    ) -> None:
        self._blocks, self._roles = blocks, tuple(roles)

    @cached_property
    def low(self) -> dict[str, np.ndarray]:
        """Role to ``[channels]``; 0 where nothing was seen."""
        return self._found(np.fmin)

    @cached_property
    def high(self) -> dict[str, np.ndarray]:
        """Role to ``[channels]``; 0 where nothing was seen."""
        return self._found(np.fmax)

    def _found(self, choose: np.ufunc) -> dict[str, np.ndarray]:
        found = {}
        for role in self._roles:
            ends = [
                choose.reduce(np.asarray(b, np.float64).reshape(-1, b.shape[-1]))
                for b in self._blocks(role)
            ]
            value = choose.reduce(ends)
            found[role] = np.where(np.isnan(value), 0.0, value)
        return found


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Statistics of the train part over the values seen, float64, by role.

    Attributes:
        mean: Role to ``[channels]``.
        std: Role to ``[channels]``; 1 for a constant channel, so that dividing is safe.
        count: Time steps, or rows.
        extremes: Smallest and largest values, which few ask for; None where nobody can.
    """

    mean: Mapping[str, np.ndarray]
    std: Mapping[str, np.ndarray]
    count: int
    extremes: Extremes | None = None

    @property
    def low(self) -> Mapping[str, np.ndarray]:
        """Role to the smallest values ``[channels]``; see `Extremes`."""
        assert self.extremes is not None, "statistics of data"
        return self.extremes.low

    @property
    def high(self) -> Mapping[str, np.ndarray]:
        """Role to the largest values ``[channels]``; see `Extremes`."""
        assert self.extremes is not None, "statistics of data"
        return self.extremes.high


class Moments:
    """Mean and population standard deviation per channel, of blocks one after the other.

    NaN is a value not seen.

    Attributes:
        count: Values seen ``[channels]``.
        mean: ``[channels]``; 0 where nothing was seen.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances", 1979, equation 2.1.
    """

    def __init__(self) -> None:
        self.count, self.mean = np.zeros(()), np.zeros(())
        self._squares = np.zeros(())

    def add(self, block: np.ndarray) -> None:
        """Take a block ``[…, channels]`` in."""
        values = np.asarray(block, np.float64)
        values = values.reshape(-1, values.shape[-1])
        own_count, own, own_squares = _moments(values)
        delta, total = own - self.mean, self.count + own_count
        divisor = np.maximum(total, 1)
        between = delta**2 * (self.count * own_count / divisor)
        self._squares = self._squares + own_squares + between
        self.mean = self.mean + delta * (own_count / divisor)
        self.count = total

    @property
    def std(self) -> np.ndarray:
        """``[channels]``; about 0 for a constant channel, 0 where nothing was seen."""
        found: np.ndarray = np.sqrt(self._squares / np.maximum(self.count, 1))
        return found

    @property
    def varies(self) -> np.ndarray:
        """Whether a channel's spread is more than rounding of its mean, ``[channels]``."""
        rounding = 1e-12 * np.maximum(np.abs(self.mean), np.finfo(np.float64).tiny)
        found: np.ndarray = self.std > rounding
        return found


def accumulate(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation over blocks ``[…, channels]``; see `Moments`.

    Returns:
        Mean and standard deviation ``[channels]``, float64; 1 for the deviation of a
        constant channel; 0 and 1 for a channel of which nothing was seen.
    """
    found = Moments()
    for block in blocks:
        found.add(block)
    assert found.mean.ndim, "parts are checked to hold samples"
    return found.mean, np.where(found.varies, found.std, 1.0)


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values seen, their mean, and their squared distance from it, per channel."""
    missing = np.isnan(values)
    if not missing.any():  # bit for bit what was computed before there were gaps
        count, mean = np.full(values.shape[1:], float(len(values))), values.mean(axis=0)
        return count, mean, ((values - mean) ** 2).sum(axis=0)
    count = len(values) - missing.sum(axis=0, dtype=float)
    mean = np.where(missing, 0, values).sum(axis=0) / np.maximum(count, 1)
    away = np.where(missing, 0, values - mean)
    return count, mean, (away**2).sum(axis=0)
