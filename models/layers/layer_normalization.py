"""Layer normalization: every vector by itself to mean 0 and variance 1.

Source: Ba, Kiros and Hinton 2016, "Layer normalization"; ε as in torch.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

EPSILON = 1e-5


def normalized(inputs: Float[Array, "*batch number"]) -> Float[Array, "*batch number"]:
    """Over the last axis to mean 0 and variance 1."""
    centred = inputs - jnp.mean(inputs, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + EPSILON)


class LayerNorm(nnx.Module):
    """`normalized`, then a trained scale and shift.

    Args:
        size: Numbers of a vector.
    """

    def __init__(self, size: int) -> None:
        self.scale = nnx.Param(jnp.ones((size,)))
        self.shift = nnx.Param(jnp.zeros((size,)))

    def __call__(
        self, inputs: Float[Array, "batch token number"]
    ) -> Float[Array, "batch token number"]:
        """``[B, N, D]`` both."""
        scaled = normalized(inputs) * self.scale[...][None, None]
        return scaled + self.shift[...][None, None]
