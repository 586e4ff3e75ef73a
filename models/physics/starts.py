"""Where a solution begins: the steady state of an input, or what fits the first outputs.

Both are found by iterations that no derivative passes through; their result carries the
derivative that the implicit function theorem gives at the point where they end, so that
coefficients learn through it at the cost of one step.

Source: Bolte, Pauwels and Vaiter, "One-step differentiation of iterative algorithms", 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Bool, Float

Field = Callable[[Any, Array, Array], Array]
"""``(parameters, state [S], input [U]) -> [S]`` per second, of one sample."""
Outputs = Callable[[Any, Array], Array]
"""``(parameters, start [B, S]) -> y [B, T, Y]``: the solution from a start."""

STEADY = 24
"""Steps of the search for a steady state; each is four times as long as the one before."""


def steady_state(
    field: Field,
    parameters: Any,
    u: Float[Array, "batch input"],
    guess: Float[Array, "batch state"],
    *,
    rate: float,
    limits: tuple[Float[Array, " state"], Float[Array, " state"]],
) -> Float[Array, "batch state"]:
    """Where the equation stands still under a constant input.

    Implicit Euler steps that grow until they are Newton's (pseudo-transient continuation);
    a plant that integrates its input, which has no steady state, stays finite.

    Args:
        field: The right-hand side.
        parameters: What it is differentiated by.
        u: The inputs.
        guess: Where to begin.
        rate: Samples per second; the first step is one sample long.
        limits: Smallest and largest value of every state.
    """
    low, high = (jnp.broadcast_to(end[None], guess.shape) for end in limits)
    identity = jnp.eye(guess.shape[-1], dtype=guess.dtype)
    frozen = jax.tree.map(stop_gradient, parameters)

    def one(parameters: Any, x: Array, level: Array) -> Array:
        return field(parameters, x, level)

    slopes = jax.vmap(jax.jacfwd(one, argnums=1), (None, 0, 0))
    values = jax.vmap(one, (None, 0, 0))

    def advance(
        carry: tuple[Array, Array], length: Array
    ) -> tuple[tuple[Array, Array], None]:
        x, _ = carry
        factor = jnp.linalg.inv(identity[None] / length - slopes(frozen, x, u))
        moved = jnp.clip(x + _times(factor, values(frozen, x, u)), low, high)
        return (jnp.where(jnp.isfinite(moved), moved, x), factor), None

    lengths = 4.0 ** jnp.minimum(jnp.arange(STEADY), 12).astype(guess.dtype) / rate
    nothing = jnp.zeros((*guess.shape, guess.shape[-1]), guess.dtype)
    (x, factor), _ = jax.lax.scan(advance, (stop_gradient(guess), nothing), lengths)
    factor = jnp.where(jnp.isfinite(factor), factor, jnp.zeros_like(factor))
    left = values(parameters, x, u)
    return x + _times(factor, left - stop_gradient(left))


class Fit(NamedTuple):
    """A start under search.

    Attributes:
        start: The best so far, ``[B, S]``.
        residuals: At it, ``[B, R]``.
        slopes: Of the residuals by the start, ``[B, R, S]``.
        cost: The sum of their squares, ``[B]``; infinite before the first.
        damping: Of the next step, ``[B]``.
    """

    start: Array
    residuals: Array
    slopes: Array
    cost: Array
    damping: Array

    def factor(self, damping: Array) -> Array:
        """``(JᵀJ + λ diag)⁻¹ Jᵀ``, ``[B, S, R]``; directions that show nothing stand still."""
        square = jnp.einsum("brs,brt->bst", self.slopes, self.slopes)
        size = jnp.diagonal(square, axis1=-2, axis2=-1)
        floor = jnp.finfo(size.dtype).tiny * 1e6
        scale = jnp.sqrt(jnp.maximum(size, floor))  # equal columns: units do not matter
        even = square / (scale[:, :, None] * scale[:, None, :])
        identity = jnp.eye(size.shape[-1], dtype=size.dtype)[None]
        inner = jnp.linalg.inv(even + (damping[:, None, None] + 1e-6) * identity)
        return _times(
            inner / scale[:, :, None], self.slopes / scale[:, None, :], "bst,brt->bsr"
        )


def fitted_start(
    outputs: Outputs,
    parameters: Any,
    guesses: tuple[Float[Array, "batch state"], ...],
    *,
    y: Float[Array, "batch time output"],
    given: Bool[Array, "batch time 1"],
    std: Float[Array, " output"],
    limits: tuple[Float[Array, " state"], Float[Array, " state"]],
    steps: int,
) -> Float[Array, "batch state"]:
    """The start whose solution lies nearest to the given outputs.

    Levenberg and Marquardt's method on the state alone, each row with a damping of its own.
    A direction that the given outputs say nothing of stays where the guess has it. Of
    several guesses each row keeps the one that ends nearest.

    Args:
        outputs: The solution from a start.
        parameters: What it is differentiated by.
        guesses: Where to begin.
        y: Measured outputs; what is not given may hold anything finite.
        given: Which of them count.
        std: Their standard deviations.
        limits: Smallest and largest value of every state.
        steps: Iterations.
    """
    guess = jnp.concatenate(guesses)
    low, high = (jnp.broadcast_to(end[None], guess.shape) for end in limits)
    frozen = jax.tree.map(stop_gradient, parameters)
    rows = len(y)

    def residuals(parameters: Any, start: Array) -> Array:
        error = (outputs(parameters, start) - y) / std[None, None]
        return jnp.where(given, error, jnp.zeros_like(error)).reshape(rows, -1)

    def all_residuals(start: Array) -> Array:
        each = start.reshape(len(guesses), rows, -1)
        found = jax.vmap(lambda one: residuals(frozen, one))(each)
        return found.reshape(len(start), -1)

    directions = jnp.eye(guess.shape[-1], dtype=guess.dtype)
    directions = jnp.broadcast_to(directions[:, None], (len(directions), *guess.shape))

    def advance(best: Fit, _: None) -> tuple[Fit, None]:
        change = _times(best.factor(best.damping), best.residuals, "bsr,br->bs")
        place = jnp.clip(best.start - change, low, high)
        values, push = jax.linearize(all_residuals, place)
        slopes = jnp.moveaxis(jax.vmap(push)(directions), 0, -1)
        cost = jnp.sum(jnp.square(values), axis=-1)
        better = cost < best.cost  # never where it is NaN
        found = Fit(place, values, slopes, cost, best.damping * 0.1)

        def choose(new: Array, old: Array) -> Array:
            return jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        worse = best._replace(damping=best.damping * 10.0)
        return Fit(*map(choose, found, worse)), None

    numbers = y.shape[1] * y.shape[2]
    empty = partial(jnp.zeros, dtype=guess.dtype)
    nothing = Fit(
        start=stop_gradient(guess),
        residuals=empty((len(guess), numbers)),
        slopes=empty((len(guess), numbers, guess.shape[-1])),
        cost=empty((len(guess),)) + jnp.inf,
        damping=empty((len(guess),)) + 1e-2,
    )
    found, _ = jax.lax.scan(advance, nothing, None, length=steps + 1)
    winner = jnp.argmin(found.cost.reshape(len(guesses), rows), axis=0)
    chosen = winner * rows + jnp.arange(rows)
    best = Fit(*(part[chosen] for part in found))
    factor = best.factor(jnp.zeros_like(best.damping))
    factor = jnp.where(jnp.isfinite(factor), factor, jnp.zeros_like(factor))
    left = residuals(parameters, best.start)
    return best.start - _times(factor, left - stop_gradient(left), "bsr,br->bs")


def _times(first: Array, second: Array, axes: str = "bij,bj->bi") -> Array:
    return jnp.einsum(axes, first, second)
