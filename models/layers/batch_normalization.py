"""Batch normalization of sequences, as torch has it."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.layers.codebooks import Followed

MOMENTUM, EPSILON = 0.1, 1e-5


class BatchNormalization(nnx.Module):
    """Each channel to mean 0 and variance 1 over batch and time, then scaled and shifted.

    In training by the batch's own statistics, which move averages; in evaluation by these.
    It wants the whole batch at once.

    Args:
        channels: How many.

    Source: Ioffe and Szegedy 2015, "Batch normalization"; momentum, epsilon and the unbiased
    variance of the average as in ``torch.nn.BatchNorm1d``.
    """

    def __init__(self, channels: int) -> None:
        self.scale = nnx.Param(jnp.ones((channels,)))
        self.shift = nnx.Param(jnp.zeros((channels,)))
        self.mean = Followed(jnp.zeros((channels,)))
        self.variance = Followed(jnp.ones((channels,)))

    def __call__(
        self, inputs: Float[Array, "batch time channel"], *, training: bool
    ) -> Float[Array, "batch time channel"]:
        """The same shape; in training the averages are moved in place."""
        mean, variance = self.mean[...], self.variance[...]
        if training:
            own_mean = jnp.mean(inputs, axis=(0, 1))
            own = jnp.mean(jnp.square(inputs - own_mean[None, None]), axis=(0, 1))
            count = inputs.shape[0] * inputs.shape[1]
            unbiased = own * (count / max(count - 1, 1))
            self.mean.set_value(mean + MOMENTUM * (own_mean - mean))
            self.variance.set_value(variance + MOMENTUM * (unbiased - variance))
            mean, variance = own_mean, own
        factor = self.scale[...] / jnp.sqrt(variance + EPSILON)
        return (inputs - mean[None, None]) * factor[None, None] + self.shift[...][
            None, None
        ]
