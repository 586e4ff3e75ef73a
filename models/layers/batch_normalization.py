"""Batch normalization, as torch has it, of sequences or of groups side by side."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.layers.codebooks import Followed

MOMENTUM, EPSILON = 0.1, 1e-5


class BatchNormalization(nnx.Module):
    """Each number to mean 0 and variance 1 over the batch, then scaled and shifted.

    In training by the batch's own statistics, which move averages; in evaluation by these.
    It wants the whole batch at once.

    Args:
        *shape: Of what is normalized: channels, or groups and numbers.
        over: Axes of the inputs that statistics are taken over: batch and time
            ``[B, T, C]``, or ``(1,)`` for the batch of groups ``[G, B, D]``.

    Source: Ioffe and Szegedy 2015, "Batch normalization"; momentum, epsilon and the unbiased
    variance of the average as in ``torch.nn.BatchNorm1d``.
    """

    def __init__(self, *shape: int, over: tuple[int, ...] = (0, 1)) -> None:
        self.over = over
        self.scale = nnx.Param(jnp.ones(shape))
        self.shift = nnx.Param(jnp.zeros(shape))
        self.mean = Followed(jnp.zeros(shape))
        self.variance = Followed(jnp.ones(shape))

    def __call__(
        self, inputs: Float[Array, ...], *, training: bool
    ) -> Float[Array, ...]:
        """The same shape; in training the averages are moved in place."""
        mean, variance = self.mean[...], self.variance[...]
        if training:
            own_mean = jnp.mean(inputs, axis=self.over)
            apart = jnp.square(inputs - self._along(own_mean))
            own = jnp.mean(apart, axis=self.over)
            count = math.prod(inputs.shape[axis] for axis in self.over)
            unbiased = own * (count / max(count - 1, 1))
            self.mean.set_value(mean + MOMENTUM * (own_mean - mean))
            self.variance.set_value(variance + MOMENTUM * (unbiased - variance))
            mean, variance = own_mean, own
        factor = self.scale[...] * jax.lax.rsqrt(variance + EPSILON)
        centred = inputs - self._along(mean)
        return centred * self._along(factor) + self._along(self.shift[...])

    def _along(self, values: Array) -> Array:
        """With an axis of 1 for each that statistics are taken over."""
        return jnp.expand_dims(values, self.over)
