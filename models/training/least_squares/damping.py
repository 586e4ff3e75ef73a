"""The state of the method, and its rule for the damping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

SMALLEST, LARGEST = 1e-12, 1e12


class Damping(NamedTuple):
    """What one iteration hands to the next, beside the parameters.

    Attributes:
        value: λ, relative to the squared lengths of the Jacobian's columns.
        columns: Those squared lengths at the last iteration, a mean over the scored
            samples; zeros before the first.
    """

    value: Float[Array, ""]
    columns: Float[Array, " parameters"]

    @classmethod
    def first(cls, hyper: Mapping[str, Array], params: Any) -> Damping:
        """The state before the first iteration.

        Args:
            hyper: Traced values by dotted key.
            params: The tree of parameters.
        """
        vector, _ = ravel_pytree(params)
        return cls(hyper["optimizer.damping"], jnp.zeros_like(vector))

    def scaled(self, factor: float) -> Damping:
        """The state with λ times a factor.

        λ has come far from where it began; a factor keeps what was learned on the way.

        Args:
            factor: Positive.
        """
        value = jnp.clip(self.value * factor, SMALLEST, LARGEST)
        return self._replace(value=value.astype(self.value.dtype))


def raised(value: Float[Array, ""], hyper: Mapping[str, Array]) -> Float[Array, ""]:
    """λ after a step was refused."""
    return jnp.minimum(value * hyper["optimizer.damping_up"], LARGEST)


def lowered(
    value: Float[Array, ""], taken: Bool[Array, ""], hyper: Mapping[str, Array]
) -> Float[Array, ""]:
    """λ after the iteration: lower where its step was taken."""
    down = jnp.maximum(value / hyper["optimizer.damping_down"], SMALLEST)
    return jnp.where(taken, down, value)
