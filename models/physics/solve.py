"""Runge and Kutta's method of fourth order, in a scan over samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
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

    def advance(state: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        left, right = ends
        for number in range(steps):
            begin, middle, end = (
                left if between == "held" else left + (right - left) * (part / steps)
                for part in (number, number + 0.5, number + 1.0)
            )
            first = field(state, begin)
            second = field(state + (0.5 * step) * first, middle)
            third = field(state + (0.5 * step) * second, middle)
            fourth = field(state + step * third, end)
            slope = first + 2.0 * (second + third) + fourth
            state = state + (step / 6.0) * slope
        return state, state

    inputs = jnp.swapaxes(u, 0, 1)
    _, after = jax.lax.scan(advance, start, (inputs[:-1], inputs[1:]))
    return jnp.concatenate([start[:, None], jnp.swapaxes(after, 0, 1)], axis=1)
