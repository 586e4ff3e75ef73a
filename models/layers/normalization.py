"""Statistics of the train part, carried inside the model and never trained."""

from __future__ import annotations

from typing import Literal, Self

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from models.data.statistics import Statistics
from models.errors import DataError


class Statistic(nnx.Variable):
    """A number computed from data: saved with the model, never differentiated."""


Scaling = Literal["standard", "minmax", "maxabs"]
"""How a channel is mapped to numbers around 1."""


class Standardize(nnx.Module):
    """An affine map between physical units and units of standard deviation, or of a range.

    Args:
        mean: Per channel, in physical units; what becomes 0.
        std: Per channel, in physical units; positive; what becomes 1.

    Raises:
        DataError: A standard deviation is not positive and finite.
    """

    def __init__(self, *, mean: ArrayLike, std: ArrayLike) -> None:
        deviations = np.atleast_1d(np.asarray(std))
        if not (np.isfinite(deviations).all() and (deviations > 0).all()):
            raise DataError(
                f"every standard deviation must be positive, got {deviations.tolist()}"
            )
        default = jnp.zeros(()).dtype
        self.mean = Statistic(jnp.asarray(np.atleast_1d(mean), default))
        self.std = Statistic(jnp.asarray(deviations, default))

    @classmethod
    def of(
        cls, statistics: Statistics, signal: str, *, scaling: Scaling = "standard"
    ) -> Self:
        """Scale one signal by the statistics of the train part.

        Args:
            statistics: Of every channel, by signal.
            signal: ``u`` or ``y``.
            scaling: By mean and standard deviation; by smallest and largest value, which
                become -1 and 1; or by the largest absolute value, so that 0 stays 0. A
                channel that never changes is not scaled.
        """
        middle, reach = cls.constants(statistics, signal, scaling=scaling)
        return cls(mean=middle, std=reach)

    @staticmethod
    def constants(
        statistics: Statistics, signal: str, *, scaling: Scaling
    ) -> tuple[np.ndarray, np.ndarray]:
        """What `of` maps to 0, and how far from it to 1; ``[channels]`` both, float64."""
        if scaling == "standard":
            return statistics.mean[signal], statistics.std[signal]
        low, high = statistics.low[signal], statistics.high[signal]
        if scaling == "minmax":
            middle, reach = (low + high) / 2, (high - low) / 2
        else:
            reach = np.maximum(np.abs(low), np.abs(high))
            middle = np.zeros_like(reach)
        return middle, np.where(reach > 0, reach, 1.0)

    @property
    def channels(self) -> int:
        """How many channels the signal has."""
        return self.mean.shape[0]

    def __call__(self, values: Float[Array, "batch time channel"]) -> Array:
        """Physical units to units of standard deviation; ``[B, T, C]`` both."""
        return (values - self.mean[...][None, None]) / self.std[...][None, None]

    def inverse(self, values: Float[Array, "batch time channel"]) -> Array:
        """Units of standard deviation to physical units; ``[B, T, C]`` both."""
        return values * self.std[...][None, None] + self.mean[...][None, None]
