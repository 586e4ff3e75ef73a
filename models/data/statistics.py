"""Mean, standard deviation and extremes per channel, in one pass and bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Statistics of the train part over the values seen, float64, by role.

    Attributes:
        mean: Role to ``[channels]``.
        std: Role to ``[channels]``; 1 for a constant channel, so that dividing is safe.
        count: Time steps, or rows.
        low: Role to the smallest values ``[channels]``; 0 where nothing was seen.
        high: Likewise the largest.
    """

    mean: Mapping[str, np.ndarray]
    std: Mapping[str, np.ndarray]
    count: int
    low: Mapping[str, np.ndarray] = field(default_factory=dict)
    high: Mapping[str, np.ndarray] = field(default_factory=dict)


class Extremes:
    """The smallest and the largest value of each channel of blocks that pass through."""

    def __init__(self) -> None:
        self._low: np.ndarray | None = None
        self._high: np.ndarray | None = None

    def through(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The blocks ``[…, channels]`` as they come; NaN is a value not seen."""
        for block in blocks:
            values = np.asarray(block, np.float64)
            values = values.reshape(-1, values.shape[-1])
            low = np.fmin.reduce(values, axis=0, initial=np.inf)
            high = np.fmax.reduce(values, axis=0, initial=-np.inf)
            self._low = low if self._low is None else np.minimum(self._low, low)
            self._high = high if self._high is None else np.maximum(self._high, high)
            yield block

    @property
    def low(self) -> np.ndarray:
        """``[channels]``; 0 where nothing was seen."""
        assert self._low is not None, "parts are checked to hold samples"
        return np.where(np.isfinite(self._low), self._low, 0.0)

    @property
    def high(self) -> np.ndarray:
        """``[channels]``; 0 where nothing was seen."""
        assert self._high is not None, "parts are checked to hold samples"
        return np.where(np.isfinite(self._high), self._high, 0.0)


def accumulate(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation over blocks ``[…, channels]``.

    NaN is a value not seen. A channel counts as constant when its spread is within rounding
    of its mean.

    Returns:
        Mean and standard deviation ``[channels]``, float64; 0 and 1 for a channel of which
        nothing was seen.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances", 1979, equation 2.1.
    """
    count, mean, squares = np.zeros(()), np.zeros(()), np.zeros(())
    for block in blocks:
        values = np.asarray(block, np.float64)
        values = values.reshape(-1, values.shape[-1])
        own_count, own, own_squares = _moments(values)
        delta, total = own - mean, count + own_count
        divisor = np.maximum(total, 1)
        squares = squares + own_squares + delta**2 * (count * own_count / divisor)
        mean, count = mean + delta * (own_count / divisor), total
    assert count.ndim, "parts are checked to hold samples"
    std = np.sqrt(squares / np.maximum(count, 1))
    rounding = 1e-12 * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)
    return mean, np.where(std > rounding, std, 1.0)


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
