"""Runge and Kutta's method of fourth order, in a scan over samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Field = Callable[[Array, Array], Array]
Between = Literal["linear", "held"]


def rk4(
    derivative: Field,
    start: Float[Array, "batch state"],
    u: Float[Array, "batch time input"],
    *,
    rate: float,
    steps: int = 1,
    between: Between = "linear",
) -> Float[Array, "batch time state"]:
    """The states at every sample.

    Args:
        derivative: ``(state [S], input [U]) -> [S]`` per second, of one sample.
        start: The states at the first sample.
        u: The inputs at the samples.
        rate: Samples per second.
        steps: Steps from one sample to the next.
        between: What the input is between two samples: a straight line, or held at the
            earlier one until the later.

    Returns:
        ``[B, T, S]``; the first sample is `start`.
    """
    field = jax.vmap(derivative)
    step = 1.0 / (rate * steps)

    def advance(state: Array, level: Array) -> tuple[Array, Array]:
        begin, middle, end = level
        first = field(state, begin)
        second = field(state + (0.5 * step) * first, middle)
        third = field(state + (0.5 * step) * second, middle)
        fourth = field(state + step * third, end)
        slope = first + 2.0 * (second + third) + fourth
        state = state + (step / 6.0) * slope
        return state, state

    _, after = jax.lax.scan(advance, start, _levels(u, steps=steps, between=between))
    states = jnp.concatenate([start[None], after[steps - 1 :: steps]])
    return jnp.swapaxes(states, 0, 1)


def _levels(
    u: Float[Array, "batch time input"], *, steps: int, between: Between
) -> Float[Array, "step 3 batch input"]:
    """The input at the begin, the middle and the end of every step."""
    inputs = jnp.swapaxes(u, 0, 1)
    left = inputs[:-1, None, None]
    if between == "held":
        shape = (left.shape[0], steps, 3, *inputs.shape[1:])
        return jnp.broadcast_to(left, shape).reshape(-1, *shape[2:])
    parts = (np.arange(steps)[:, None] + np.array([0.0, 0.5, 1.0])) / steps
    weights = jnp.asarray(parts[None, :, :, None, None], u.dtype)
    levels = left + (inputs[1:, None, None] - left) * weights
    return levels.reshape(-1, *levels.shape[2:])
