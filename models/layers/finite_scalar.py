"""Finite scalar quantization: every number of a latent is rounded to one of a few levels.

The code of a latent is the point of a fixed grid; nothing is learned, nothing can die.

Source: Mentzer et al. 2023, "Finite scalar quantization: VQ-VAE made simple", section 3 and
its published code.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from models.layers.through import straight_through

_LEVELS = {
    1: (2,),
    2: (4,),
    3: (8,),
    4: (4, 4),
    5: (8, 4),
    6: (8, 8),
    7: (5, 5, 5),
    8: (8, 6, 5),
    9: (8, 8, 8),
    10: (8, 5, 5, 5),
    11: (8, 8, 6, 5),
    12: (8, 8, 8, 8),
}
_SLACK = 1e-3
"""The outermost levels are reached a little before a latent is infinite."""


def levels_of(bits: int) -> tuple[int, ...]:
    """Levels per number with at most ``2**bits`` codes: the paper's, from 8 bits on.

    Its table 1 has 1.07 times as many codes as 12 bits tell apart; here are exactly as many.
    """
    return _LEVELS[bits]


def scalar_quantized(
    latents: Float[Array, "*shape number"], levels: tuple[int, ...]
) -> tuple[Float[Array, "*shape number"], Int[Array, "*shape"]]:
    """Codes between -1 and 1 with straight-through gradients, and their tokens.

    Args:
        latents: One number per entry of `levels`.
        levels: At least 2 each.
    """
    shape = (1,) * (latents.ndim - 1) + (len(levels),)
    counts = np.array(levels)
    half = (counts - 1) * (1 + _SLACK) / 2
    offset = np.where(counts % 2 == 0, 0.5, 0.0)
    shift = np.arctanh(offset / half)

    def of(values: np.ndarray) -> Array:
        return jnp.asarray(values, latents.dtype).reshape(shape)

    bounded = jnp.tanh(latents + of(shift)) * of(half) - of(offset)
    whole = straight_through(bounded, jnp.round(bounded))
    places = jax.lax.stop_gradient(whole).astype(jnp.int32)
    basis = jnp.asarray(_basis(levels), jnp.int32).reshape(shape)
    middle = jnp.asarray(counts // 2, jnp.int32).reshape(shape)
    return whole / of(counts // 2), jnp.sum((places + middle) * basis, axis=-1)


def scalar_codes(
    tokens: Int[Array, "*shape"], levels: tuple[int, ...]
) -> Float[Array, "*shape number"]:
    """The codes that tokens stand for."""
    whole = [
        (tokens // step % count - count // 2).astype(jnp.zeros(()).dtype) / (count // 2)
        for count, step in zip(levels, _basis(levels), strict=True)
    ]
    return jnp.stack(whole, axis=-1)


def _basis(levels: tuple[int, ...]) -> list[int]:
    return [math.prod(levels[:place]) for place in range(len(levels))]
