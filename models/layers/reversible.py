"""Reversible normalization: every window in units of its own, and its forecast back again.

Source: Kim et al. 2022, "Reversible instance normalization for accurate time-series
forecasting against distribution shift".
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

EPSILON = 1e-5
Kind = Literal["off", "plain", "affine"]


class Level(NamedTuple):
    """The level and scale of windows.

    Attributes:
        mean: ``[B, 1, C]``.
        std: Likewise; positive.
    """

    mean: Float[Array, "batch 1 channel"]
    std: Float[Array, "batch 1 channel"]


def level(
    values: Float[Array, "batch time channel"],
    seen: Bool[Array, "batch time channel"],
) -> Level:
    """Mean and ``√(variance + ε)`` over the values seen; no gradient goes through them.

    Args:
        values: ``[B, L, C]``, of about unit scale.
        seen: Which of them count; 0 and √ε where none does.
    """
    count = jnp.sum(seen, axis=1, keepdims=True, dtype=jnp.int32)
    count = jnp.maximum(count, 1).astype(values.dtype)
    kept = jnp.where(seen, values, 0.0)
    mean = jnp.sum(kept, axis=1, keepdims=True) / count
    away = jnp.where(seen, values - mean, 0.0)
    variance = jnp.sum(jnp.square(away), axis=1, keepdims=True) / count
    stopped = jax.lax.stop_gradient((mean, jnp.sqrt(variance + EPSILON)))
    return Level(*stopped)


class ReversibleNorm(nnx.Module):
    """To units of each window, and back.

    Args:
        kind: ``off`` leaves windows as they are; ``plain`` takes mean and deviation out;
            ``affine`` also learns a scale and a shift of every channel.
        channels: Of the windows.
    """

    def __init__(self, *, kind: Kind, channels: int) -> None:
        self.kind = kind
        affine = kind == "affine"
        self.scale = nnx.Param(jnp.ones((channels,))) if affine else None
        self.shift = nnx.Param(jnp.zeros((channels,))) if affine else None

    def __call__(
        self,
        values: Float[Array, "batch time channel"],
        seen: Bool[Array, "batch time channel"],
        at: Level,
    ) -> Float[Array, "batch time channel"]:
        """Windows in their own units, 0 where nothing was seen.

        Args:
            values: ``[B, L, C]``.
            seen: Likewise.
            at: Their `level`.
        """
        if self.kind != "off":
            values = (values - at.mean) / at.std
        if self.scale is not None and self.shift is not None:
            values = values * self.scale[...][None, None] + self.shift[...][None, None]
        return jnp.where(seen, values, 0.0)

    def inverse(
        self, values: Float[Array, "batch time channel"], at: Level
    ) -> Float[Array, "batch time channel"]:
        """Forecasts ``[B, H, C]`` in the units that windows came in."""
        if self.scale is not None and self.shift is not None:
            scale = self.scale[...][None, None]
            # Away from 0, with the sign kept (RevIN divides by γ + ε², which may meet 0).
            safe = jnp.where(jnp.abs(scale) < EPSILON, EPSILON, scale)
            values = (values - self.shift[...][None, None]) / safe
        return values if self.kind == "off" else values * at.std + at.mean
