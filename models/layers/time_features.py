"""A time between 0 and 1 as numbers that a network tells apart easily."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Float


def time_features(
    time: Float[Array, "*shape"], frequencies: int
) -> Float[Array, "*shape feature"]:
    """The time itself, and ``cos π k t`` and ``sin π k t`` for k = 1 … `frequencies`.

    Args:
        time: From 0 to 1.
        frequencies: How many half waves; 0 for the time alone.

    Source: Rahimi and Recht 2007, "Random features for large-scale kernel machines", with
    frequencies on a grid.
    """
    waves = math.pi * jnp.arange(1, frequencies + 1, dtype=time.dtype)
    angle = time[..., None] * waves.reshape(*(1,) * time.ndim, -1)
    found = (time[..., None], jnp.cos(angle), jnp.sin(angle))
    return jnp.concatenate(found, axis=-1)
