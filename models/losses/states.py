"""How far two trajectories of hidden states are apart, whatever their size."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from models.losses.elementwise import require_same_shape

States = Float[Array, "batch time channel"]
_TINY = 1e-12  # keeps the slope of a norm finite at zero


def _squares(first: States, second: States) -> Array:
    """``‖a - b‖² / ‖b‖²`` of every window."""
    difference = jnp.sum(jnp.square(first - second), (1, 2))
    return difference / (jnp.sum(jnp.square(second), (1, 2)) + _TINY)


def _sizes(first: States, second: States) -> Array:
    """``‖a - b‖₁ / ‖b‖₁`` of every window."""
    difference = jnp.sum(jnp.abs(first - second), (1, 2))
    return difference / (jnp.sum(jnp.abs(second), (1, 2)) + _TINY)


def _squares_by_channel(first: States, second: States) -> Array:
    """`_squares` of every channel alone, averaged over them."""
    difference = jnp.sum(jnp.square(first - second), 1)
    return jnp.mean(difference / (jnp.sum(jnp.square(second), 1) + _TINY), 1)


def _sizes_by_channel(first: States, second: States) -> Array:
    """`_sizes` of every channel alone, averaged over them."""
    difference = jnp.sum(jnp.abs(first - second), 1)
    return jnp.mean(difference / (jnp.sum(jnp.abs(second), 1) + _TINY), 1)


def _angles(first: States, second: States, *, power: int) -> Array:
    """``(1 - cos)^power`` of the states at every sample, summed over a window.

    Two states of zero, which stand for samples that do not count, give 0.
    """
    product = jnp.sum(first * second, 2)
    lengths = jnp.sum(jnp.square(first), 2) * jnp.sum(jnp.square(second), 2)
    counts = lengths > 0
    cosine = product / jnp.sqrt(jnp.where(counts, lengths, 1.0))
    far = jnp.where(counts, 1 - cosine, 0.0) ** power
    return jnp.sum(far, 1) / jnp.maximum(jnp.sum(counts, 1, dtype=far.dtype), 1)


DISTANCES: dict[str, Callable[[States, States], Array]] = {
    "mse": _squares,
    "mae": _sizes,
    "mspe": _squares_by_channel,
    "mape": _sizes_by_channel,
    "cos": lambda a, b: _angles(a, b, power=1),
    "cos_pow": lambda a, b: _angles(a, b, power=2),
}


def state_distance(
    kind: str,
    states: States,
    reference: States,
    *,
    mask: Bool[Array, "batch time 1"],
) -> Float[Array, ""]:
    """The mean over windows of the distance of two trajectories, relative to the second.

    All kinds are free of scale, so that one weight suits every width, window and batch:
    ``mse`` is ``‖a - b‖²/‖b‖²`` over a window and ``mae`` the same of absolute values;
    ``mspe`` and ``mape`` are those of every channel alone, averaged; ``cos`` is ``1 - cos``
    of the angle at every sample, ``cos_pow`` its square. (TSFast, whose names these are,
    divides by the norm of a whole batch and needs weights of about 1e7 for it.)

    Args:
        kind: One of `DISTANCES`.
        states: ``[B, T, H]``.
        reference: ``[B, T, H]``.
        mask: The samples that count.

    Raises:
        ValueError: The shapes differ.
    """
    require_same_shape(states, reference)
    zero = jnp.zeros_like(states)
    here = jnp.where(mask, states, zero), jnp.where(mask, reference, zero)
    return jnp.mean(DISTANCES[kind](*here))


def symmetric_distance(first: States, second: States) -> Float[Array, ""]:
    """``‖a - b‖² / (‖a‖ + ‖b‖)²`` of every window, averaged; between 0 and 1.

    Raises:
        ValueError: The shapes differ.
    """
    require_same_shape(first, second)
    difference = jnp.sum(jnp.square(first - second), (1, 2))
    lengths = [
        jnp.sqrt(jnp.sum(jnp.square(a), (1, 2)) + _TINY) for a in (first, second)
    ]
    return jnp.mean(difference / jnp.square(lengths[0] + lengths[1]))
