"""Mean and standard deviation per channel, in one pass and bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Statistics of the train part, float64, by role (``u`` and ``y``).

    Attributes:
        mean: Role to ``[channels]``.
        std: Role to ``[channels]``; 1 for a constant channel, so that dividing is safe.
        count: Samples seen.
    """

    mean: Mapping[str, np.ndarray]
    std: Mapping[str, np.ndarray]
    count: int


def accumulate(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean and population standard deviation over blocks ``[samples, channels]``.

    A channel counts as constant when its spread is within rounding of its mean.

    Returns:
        Mean and standard deviation ``[channels]``, float64, and the number of samples.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances", 1979, equation 2.1.
    """
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for block in blocks:
        values = np.asarray(block, np.float64)
        own = values.mean(axis=0)
        delta, total = own - mean, count + len(values)
        squares = (
            squares
            + ((values - own) ** 2).sum(axis=0)
            + delta**2 * (count * len(values) / total)
        )
        mean, count = mean + delta * (len(values) / total), total
    assert count, "records are checked to hold samples"
    std = np.sqrt(squares / count)
    rounding = 1e-12 * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)
    return mean, np.where(std > rounding, std, 1.0), count
