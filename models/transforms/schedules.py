"""Values that change over training, as functions of the fraction of the horizon.

A `Schedule` of the problem (`models.training.problem`) gives one of them a name, by which batch
functions and loss terms read it. Ends may be traced.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

Number = Float[Array, ""] | float


def linear(
    fraction: Number, *, start: Number, end: Number, until: Number = 0.75
) -> Float[Array, ""]:
    """On a line from `start` to `end`, which is reached at `until` and held.

    Args:
        fraction: Of the horizon, from 0 to 1.
        start: Value at 0.
        end: Value from `until` on.
        until: Fraction at which the line ends.
    """
    return ramp(fraction, start=start, end=end, left=0.0, right=until)


def ramp(
    fraction: Number,
    *,
    start: Number,
    end: Number,
    left: Number = 0.2,
    right: Number = 0.6,
) -> Float[Array, ""]:
    """`start` up to `left`, a line, and `end` from `right` on; a step where they meet.

    Args:
        fraction: Of the horizon, from 0 to 1.
        start: Value up to `left`.
        end: Value from `right` on.
        left: Fraction at which the line begins.
        right: Fraction at which it ends.
    """
    now, first, last, left, right = _numbers(fraction, start, end, left, right)
    span = right - left
    done = jnp.where(
        span > 0,
        jnp.clip((now - left) / jnp.where(span > 0, span, 1.0), 0.0, 1.0),
        (now >= right).astype(now.dtype),
    )
    return first + done * (last - first)


def flat_cosine(
    fraction: Number, *, start: Number, end: Number, flat: Number = 0.75
) -> Float[Array, ""]:
    """`start` up to `flat`, then half a cosine to `end` at 1.

    Args:
        fraction: Of the horizon, from 0 to 1.
        start: Value up to `flat`.
        end: Value at 1.
        flat: Fraction at which the cosine begins.
    """
    now, first, last, flat = _numbers(fraction, start, end, flat)
    done = ramp(now, start=0.0, end=1.0, left=flat, right=1.0)
    return last + (first - last) * 0.5 * (1.0 + jnp.cos(jnp.pi * done))


def _numbers(*values: Number) -> tuple[Float[Array, ""], ...]:
    return tuple(jnp.asarray(v, jnp.zeros(()).dtype) for v in values)
