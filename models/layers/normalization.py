"""Statistics of the train part, carried inside the model and never trained."""

from __future__ import annotations

from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from models.data.statistics import Statistics
from models.errors import DataError


class Statistic(nnx.Variable):
    """A number computed from data: saved with the model, never differentiated."""


class Standardize(nnx.Module):
    """An affine map between physical units and units of standard deviation.

    Args:
        mean: Per channel, in physical units.
        std: Per channel, in physical units; positive.

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
    def of(cls, statistics: Statistics, signal: str) -> Self:
        """Standardize one signal by the statistics of the train part.

        Args:
            statistics: Mean and standard deviation per channel, by signal.
            signal: ``u`` or ``y``.
        """
        return cls(mean=statistics.mean[signal], std=statistics.std[signal])

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
