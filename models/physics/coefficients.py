"""The coefficients of an equation as parameters that cannot leave their bounds."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from models.layers.normalization import Statistic
from models.physics.equation import Coefficient, Equation


class Coefficients(nnx.Module):
    """Trained coefficients between their bounds, the others as they were stated.

    A trained one is ``low + (high - low) sigmoid(z)``, or ``low (high / low) sigmoid(z)`` as
    a power where both bounds are positive: numbers of unknown size are then searched by
    factors. The parameter is how far z lies from that of the stated value, so that weight
    decay pulls to what was stated.

    Args:
        equation: Checked.
    """

    def __init__(self, equation: Equation) -> None:
        trained = equation.trained
        self.names = tuple(trained)
        self.fixed = tuple(
            (name, c.value)
            for name, c in equation.coefficients.items()
            if not c.trained
        )
        dtype = jnp.zeros(()).dtype
        if not trained:
            self.shift = None
            return
        self.shift = nnx.Param(jnp.zeros((len(trained),), dtype))
        chosen = list(trained.values())
        self.geometric = tuple(c.low > 0 for c in chosen)
        ends = np.array([[_scale(c, v) for v in (c.low, c.high)] for c in chosen])
        share = np.array([_scale(c, c.value) for c in chosen])
        share = (share - ends[:, 0]) / (ends[:, 1] - ends[:, 0])
        self.low = Statistic(jnp.asarray(ends[:, 0], dtype))
        self.width = Statistic(jnp.asarray(ends[:, 1] - ends[:, 0], dtype))
        self.stated = Statistic(jnp.asarray(np.log(share / (1 - share)), dtype))

    def __call__(self) -> dict[str, Float[Array, ""]]:
        """Every coefficient's value by name, in its unit."""
        dtype = jnp.zeros(()).dtype
        values = {name: jnp.asarray(value, dtype) for name, value in self.fixed}
        return values | self.trained()

    def trained(self) -> dict[str, Float[Array, ""]]:
        """The values of the trained ones."""
        if self.shift is None:
            return {}
        share = jax.nn.sigmoid(self.stated[...] + self.shift[...])
        position = self.low[...] + self.width[...] * share
        return {
            name: jnp.exp(position[i]) if geometric else position[i]
            for i, (name, geometric) in enumerate(
                zip(self.names, self.geometric, strict=True)
            )
        }

    def scatter(self, key: Key[Array, ""], size: Float[Array, ""]) -> None:
        """Begin elsewhere: every z a normal distance from that of the stated value.

        Args:
            key: Randomness.
            size: Standard deviation of the distance; 1 covers about half of the bounds.
        """
        if self.shift is not None:
            shape = self.shift[...].shape
            self.shift.set_value(size * jax.random.normal(key, shape, size.dtype))


def _scale(coefficient: Coefficient, value: float) -> float:
    """Where a value lies on the scale that the sigmoid covers evenly."""
    return math.log(value) if coefficient.low > 0 else value
