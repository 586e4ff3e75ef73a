"""Measurement noise added in training, scaled by a traced value."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float

from models.transforms.batch import Batch, BatchTransform, Transform


def add_noise(*, signal: str, scale: str, unit: Float[Array, " channel"]) -> Transform:
    """Add white Gaussian noise to one signal of every batch.

    Args:
        signal: Name in the batch, such as ``"u"``; ``[B, T, C]``.
        scale: Name of the traced value that sets the noise level.
        unit: Per channel, the physical size of level 1 (the channel's standard deviation).

    Returns:
        A `Transform` to use as an augmentation.
    """

    def function(
        key: Array, batch: Batch, step: Array, *, scale: Float[Array, ""]
    ) -> Batch:
        del step
        values = batch[signal]
        noise = jax.random.normal(key, values.shape, values.dtype)
        size = (scale * unit).astype(values.dtype)[None, None]
        return batch | {signal: values + noise * size}

    wrapped: BatchTransform = function
    return Transform(function=wrapped, values={"scale": scale})
