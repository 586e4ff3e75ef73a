"""The normal equations of a linearised least-squares problem, summed chunk by chunk.

Residuals and Jacobian are of the model's precision, sums and the solution are of double
precision: the condition number of the equations is the square of the Jacobian's.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Normal(NamedTuple):
    """Sums over chunks, in float64.

    Attributes:
        matrix: JᵀJ.
        gradient: Jᵀr, half the gradient of the sum of squares.
        squares: rᵀr.
        count: Residuals that are scored.
    """

    matrix: Float[Array, "parameters parameters"]
    gradient: Float[Array, " parameters"]
    squares: Float[Array, ""]
    count: Float[Array, ""]


def nothing(parameters: int) -> Normal:
    """The sums over no chunk."""
    with jax.enable_x64(True):
        wide = jnp.float64
        return Normal(
            jnp.zeros((parameters, parameters), wide),
            jnp.zeros((parameters,), wide),
            jnp.zeros((), wide),
            jnp.zeros((), wide),
        )


def added(
    sums: Normal,
    residuals: Float[Array, " samples"],
    jacobian: Float[Array, "samples parameters"],
    count: Float[Array, ""],
) -> Normal:
    """The sums with another chunk in them.

    Args:
        sums: Of the chunks before.
        residuals: Zero where nothing is scored.
        jacobian: Its rows are zero there, too.
        count: How many are scored.
    """
    chunk = Normal(
        jax.lax.dot_general(jacobian, jacobian, (((0,), (0,)), ((), ()))),
        jax.lax.dot_general(jacobian, residuals, (((0,), (0,)), ((), ()))),
        jnp.sum(jnp.square(residuals)),
        count,
    )
    with jax.enable_x64(True):
        return jax.tree.map(lambda s, c: s + c.astype(jnp.float64), sums, chunk)


def step(
    sums: Normal, damping: Float[Array, ""], floor: Float[Array, ""]
) -> Float[Array, " parameters"]:
    """The damped step, to be subtracted: ``(JᵀJ + λ D)⁻¹ Jᵀr``.

    D holds the diagonal of JᵀJ, at least `floor` times its largest entry. Not finite where
    the equations have no solution.

    Source: Marquardt 1963, equations 24 to 28 (scaling by the columns' lengths).
    """
    with jax.enable_x64(True):
        diagonal = jnp.diagonal(sums.matrix)
        least = jnp.max(diagonal) * floor.astype(jnp.float64)
        tiny = jnp.asarray(jnp.finfo(jnp.float64).tiny)
        scale = jnp.sqrt(jnp.maximum(jnp.maximum(diagonal, least), tiny))
        scaled = sums.matrix / (scale[:, None] * scale[None, :])
        damped = scaled + damping.astype(jnp.float64) * jnp.eye(len(scale))
        factor = jax.scipy.linalg.cho_factor(damped, lower=True)
        return jax.scipy.linalg.cho_solve(factor, sums.gradient / scale) / scale
