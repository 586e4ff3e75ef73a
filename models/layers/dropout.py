"""Dropout whose rate is an array and whose key is an argument."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def dropout(
    inputs: Float[Array, "batch time channel"],
    rate: Float[Array, ""],
    key: Key[Array, ""] | None,
) -> Float[Array, "batch time channel"]:
    """Drop whole channels of a sequence, each for its whole length.

    The mask is constant over time (variational dropout): a mask drawn anew at every step
    would feed the recurrent layers white noise. Kept channels are scaled by
    ``1 / (1 - rate)``. A rate of exactly 0 changes no bit of the input.

    Args:
        inputs: ``[B, T, C]``.
        rate: Probability in ``[0, 1)``; may be traced.
        key: Randomness of this call, or None to leave the input as it is (evaluation).

    Source: Gal and Ghahramani 2016, "A theoretically grounded application of dropout in
    recurrent neural networks"; for convolutions the same as spatial dropout.
    """
    if key is None:
        return inputs
    batch, _, channels = inputs.shape
    kept = _kept(rate, key, (batch, 1, channels))
    return jnp.where(kept, inputs / (1 - rate), jnp.zeros_like(inputs))


def entry_dropout(
    inputs: Float[Array, "*shape"],
    rate: Float[Array, ""],
    key: Key[Array, ""] | None,
) -> Float[Array, "*shape"]:
    """Drop single numbers; a rate of exactly 0 changes no bit of the input.

    Args:
        inputs: Of any shape.
        rate: Probability in ``[0, 1)``; may be traced.
        key: Randomness, or None to leave the input as it is (evaluation).

    Source: Srivastava et al. 2014, "Dropout".
    """
    if key is None:
        return inputs
    kept = _kept(rate, key, inputs.shape)
    return jnp.where(kept, inputs / (1 - rate), jnp.zeros_like(inputs))


def dropout_scale(
    rate: Float[Array, ""], key: Key[Array, ""] | None, *, batch: int, channels: int
) -> Float[Array, "batch channel"]:
    """The factors of `dropout`: 0 for a dropped channel, 1 without a key.

    Args:
        rate: As for `dropout`.
        key: As for `dropout`; the same key drops the same channels.
        batch: Sequences.
        channels: Of each.
    """
    if key is None:
        return jnp.ones((batch, channels), rate.dtype)
    kept = _kept(rate, key, (batch, 1, channels))[:, 0]
    return jnp.where(kept, 1 / (1 - rate), 0)


def split_key(
    key: Key[Array, ""] | None, parts: int
) -> tuple[Key[Array, ""] | None, ...]:
    """Keys of several parts of a model; None for each without a key (evaluation)."""
    return (None,) * parts if key is None else tuple(jax.random.split(key, parts))


def _kept(rate: Array, key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, rate.dtype) >= rate
