"""Sequences at a lower rate inside a model: filtered on the way in, interpolated on the way out."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

REACH = 10
"""Coarse samples that the filter looks back and ahead."""


def coarse_length(length: int, factor: int) -> int:
    """Samples of a coarse sequence: every `factor`-th one from the first, up to or past the last.

    Args:
        length: Fine samples.
        factor: Every how many there is a coarse one.
    """
    return (length + factor - 2) // factor + 1


def decimate(
    values: Float[Array, "batch time channel"], factor: int
) -> Float[Array, "batch coarse channel"]:
    """Every `factor`-th sample, without what lies beyond half the new rate.

    The filter has zero phase. Before its first and behind its last sample a signal is taken
    to stay as it is there.

    Args:
        values: Signals at the recorded rate.
        factor: A whole number, at least 2.

    Source: `scipy.signal.resample_poly` with ``padtype="edge"``: a windowed sinc, Kaiser's β = 5.
    """
    count = coarse_length(values.shape[1], factor)
    pad = REACH * factor
    behind = (count + REACH) * factor - values.shape[1]
    padded = jnp.pad(values, ((0, 0), (pad, behind), (0, 0)), mode="edge")
    blocks = padded.reshape(values.shape[0], count + 2 * REACH, factor, values.shape[2])
    taps = jnp.asarray(_taps(factor), values.dtype)
    found = blocks[:, 2 * REACH : 2 * REACH + count, 0] * taps[-1]
    # A product a block of taps: many times faster here than a strided convolution.
    for block, weights in enumerate(taps[:-1].reshape(2 * REACH, factor)):
        seen = blocks[:, block : block + count]
        found = found + jnp.einsum("bnkc,k->bnc", seen, weights)
    return found


def every(
    values: Float[Array, "batch time channel"], factor: int
) -> Float[Array, "batch coarse channel"]:
    """Every `factor`-th sample as it is; behind the end the last one.

    Args:
        values: Signals at the recorded rate.
        factor: A whole number.
    """
    count = coarse_length(values.shape[1], factor)
    behind = (count - 1) * factor + 1 - values.shape[1]
    return jnp.pad(values, ((0, 0), (0, behind), (0, 0)), mode="edge")[:, ::factor]


def interpolate(
    values: Float[Array, "batch coarse channel"], factor: int, length: int
) -> Float[Array, "batch time channel"]:
    """The lines between coarse samples, at the recorded rate.

    Args:
        values: As long as `coarse_length` says.
        factor: Every how many fine samples there is a coarse one.
        length: How many fine samples are wanted.
    """
    share = jnp.arange(factor, dtype=values.dtype)[None, None, :, None] / factor
    before, after = values[:, :-1, None], values[:, 1:, None]
    lines = before + share * (after - before)
    flat = lines.reshape(values.shape[0], -1, values.shape[2])
    return jnp.concatenate([flat, values[:, -1:]], axis=1)[:, :length]


def _taps(factor: int) -> np.ndarray:
    """The filter ``[2 · REACH · factor + 1]``, whose sum is 1."""
    half = REACH * factor
    place = np.arange(-half, half + 1)
    taps: np.ndarray = np.sinc(place / factor) * np.kaiser(2 * half + 1, 5.0)
    return taps / taps.sum()
