"""Flows: noise carried to draws by a velocity, and the density of where they end.

Source: Chen et al. 2018, "Neural ordinary differential equations", section 4; Grathwohl et
al. 2019, "FFJORD", for the estimate of the divergence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from models.config import Config, static

_MOST_STEPS = 4096  # of an adaptive solver

Velocity: TypeAlias = Callable[[Any, Any, Any], Any]
"""``(point [*S], time [], context of the point) -> velocity [*S]``, of a single point."""


@dataclass(frozen=True, kw_only=True)
class Solver(Config):
    """How the path of a draw is followed.

    Attributes:
        kind: ``fixed``: `steps` equal steps; ``adaptive``: as many as each draw by itself
            needs for the tolerance; one that takes more than 4,096 ends as NaN. Both are
            Tsitouras' method of fifth order.
        steps: Of ``fixed``; six velocities each.
        tolerance: Relative and absolute, of ``adaptive``, in units of the real line.
    """

    kind: str = static("fixed", choices=("fixed", "adaptive"))
    steps: int = static(8, low=1)
    tolerance: float = static(1e-5, low=1e-8, high=0.1)

    def unused(self) -> frozenset[str]:
        """The field of the other kind."""
        return frozenset({"tolerance" if self.kind == "fixed" else "steps"})


def transport(
    velocity: Velocity,
    start: Float[Array, "point ..."],
    context: Any,
    *,
    solver: Solver,
) -> Float[Array, "point ..."]:
    """Where points end that are carried from time 0 to 1.

    Args:
        velocity: Of one point.
        start: The points at time 0.
        context: A tree with the first axis of `start`: what belongs to each point.
        solver: How they are followed.
    """

    def one(start: Array, context: Any) -> Array:
        return _solve(
            lambda t, point, context: velocity(point, t, context),
            start,
            context,
            solver,
            backward=False,
        )

    return jax.vmap(one)(start, context)


def transported_draws(
    velocity: Velocity,
    start: Float[Array, "row draw ..."],
    context: Any,
    *,
    solver: Solver,
) -> Float[Array, "row draw ..."]:
    """`transport` of several points a row, which share the row's context.

    Args:
        velocity: Of one point.
        start: The points at time 0.
        context: A tree with the rows of `start`.
        solver: How they are followed.
    """
    rows, draws = start.shape[:2]
    carried = transport(
        velocity,
        start.reshape(rows * draws, *start.shape[2:]),
        jax.tree.map(lambda a: jnp.repeat(a, draws, axis=0), context),
        solver=solver,
    )
    return carried.reshape(start.shape)


def log_density(
    velocity: Velocity,
    end: Float[Array, "point ..."],
    context: Any,
    *,
    solver: Solver,
    key: Key[Array, ""] | None = None,
    probes: int = 10,
) -> Float[Array, " point"]:
    """Log density of points at time 1, where standard normal noise is carried there.

    Args:
        velocity: Of one point.
        end: The points at time 1.
        context: As in `transport`.
        solver: How they are followed back.
        key: Estimates the divergence by probes of random signs, drawn for each point by
            itself; None computes it exactly, which takes as many products as a point has
            numbers.
        probes: How many of them.
    """
    size = math.prod(end.shape[1:])

    def one(end: Array, context: Any, key: Any) -> Array:
        signs = None
        if key is not None:
            shape = (probes, *end.shape)
            signs = jax.random.rademacher(key, shape, end.dtype)

        def field(t: Array, state: tuple[Array, Array], context: Any) -> Any:
            def at(point: Array) -> Array:
                return velocity(point, t, context)

            return at(state[0]), _divergence(at, state[0], signs)

        begin, change = _solve(
            field, (end, jnp.zeros((), end.dtype)), context, solver, backward=True
        )
        normal = -0.5 * (jnp.sum(jnp.square(begin)) + size * math.log(2 * math.pi))
        return normal + change

    keys = None if key is None else jax.random.split(key, len(end))
    return jax.vmap(one, in_axes=(0, 0, None if key is None else 0))(end, context, keys)


def _divergence(
    field: Callable[[Array], Array], point: Array, signs: Array | None
) -> Array:
    """The trace of a field's Jacobian: exact, or the mean of ``e·Je`` over signs e."""
    _, push = jax.linearize(field, point)
    if signs is not None:
        return jnp.mean(jax.vmap(lambda e: jnp.sum(e * push(e)))(signs))
    every = jnp.eye(point.size, dtype=point.dtype).reshape(-1, *point.shape)
    return jnp.sum(jax.vmap(lambda e: jnp.sum(e * push(e)))(every))


def _solve(
    field: Callable[[Array, Any, Any], Any],
    start: Any,
    context: Any,
    solver: Solver,
    *,
    backward: bool,
) -> Any:
    """The state at the other end of (0, 1)."""
    t0, t1 = (1.0, 0.0) if backward else (0.0, 1.0)
    controller: Any = diffrax.ConstantStepSize()
    first: float | None = (t1 - t0) / solver.steps
    if solver.kind == "adaptive":
        controller = diffrax.PIDController(rtol=solver.tolerance, atol=solver.tolerance)
        first = None
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Tsit5(),
            t0=t0,
            t1=t1,
            dt0=first,
            y0=start,
            args=context,
            stepsize_controller=controller,
            max_steps=_MOST_STEPS,
            adjoint=diffrax.ForwardMode(),
            throw=False,
        )
    arrived = found.result == diffrax.RESULTS.successful
    return jax.tree.map(lambda a: jnp.where(arrived, a[-1], jnp.nan), found.ys)
