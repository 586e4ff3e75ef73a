"""Mean, standard deviation and extremes per channel, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TypeAlias

import numpy as np

from models.errors import DataError

Made: TypeAlias = Callable[[np.ndarray], np.ndarray | None]
"""A block ``[time, channels]`` to ``[…, other channels]``; None for one that is too short."""


class Readings:
    """What few ask for and is read when they do: extremes, statistics of what is made of a role.

    Args:
        blocks: Gives the blocks ``[…, channels]`` of a role; NaN is a value not seen.
        roles: The roles that there are.
    """

    def __init__(
        self, blocks: Callable[[str], Iterable[np.ndarray]], roles: Iterable[str]
    ) -> None:
        self._blocks, self._roles = blocks, tuple(roles)
        self._made: dict[Hashable, tuple[np.ndarray, np.ndarray]] = {}

    @cached_property
    def low(self) -> dict[str, np.ndarray]:
        """Role to ``[channels]``; 0 where nothing was seen."""
        return self._found(np.fmin)

    @cached_property
    def high(self) -> dict[str, np.ndarray]:
        """Role to ``[channels]``; 0 where nothing was seen."""
        return self._found(np.fmax)

    def made_of(
        self, role: str, function: Made, *, key: Hashable
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Statistics.made_of`."""
        if (role, key) not in self._made:
            found = (function(block) for block in self._blocks(role))
            made = (block for block in found if block is not None)
            first = next(made, None)
            if first is None:
                raise DataError(
                    f"no record of the train part is long enough for what is made of `{role}`",
                    hint="choose shorter frames",
                )
            self._made[role, key] = accumulate(chain([first], made))
        return self._made[role, key]

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
        readings: What is read when it is asked for; None where nobody can.
    """

    mean: Mapping[str, np.ndarray]
    std: Mapping[str, np.ndarray]
    count: int
    readings: Readings | None = None

    @property
    def low(self) -> Mapping[str, np.ndarray]:
        """Role to the smallest values ``[channels]``; see `Readings`."""
        assert self.readings is not None, "statistics of data"
        return self.readings.low

    @property
    def high(self) -> Mapping[str, np.ndarray]:
        """Role to the largest values ``[channels]``; see `Readings`."""
        assert self.readings is not None, "statistics of data"
        return self.readings.high

    def made_of(
        self, role: str, function: Made, *, key: Hashable
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of what a function makes of a role; see `accumulate`.

        Args:
            role: Is read once more, block by block.
            function: What is made of a block.
            key: Equal for functions that make the same: the second one is not asked.

        Raises:
            DataError: All blocks are too short.
        """
        assert self.readings is not None, "statistics of data"
        return self.readings.made_of(role, function, key=key)


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
