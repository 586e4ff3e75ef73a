"""The Jacobian of residuals by forward derivatives, and what of it tells anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

COLUMNS = 64
"""Columns that are computed at a time: their intermediate values exist together."""


def columns(
    function: Callable[[Array], tuple[Float[Array, " samples"], Any]],
    vector: Float[Array, " parameters"],
) -> tuple[Float[Array, " samples"], Float[Array, "samples parameters"], Any]:
    """Residuals, their Jacobian, and what the function gives beside them.

    Args:
        function: Parameters → residuals, and anything else.
        vector: The parameters.
    """
    values, push, beside = jax.linearize(function, vector, has_aux=True)
    count = len(vector)
    blocks = -(-count // COLUMNS)
    size = min(COLUMNS, count)
    numbers = jnp.arange(blocks * size, dtype=jnp.int32).reshape(blocks, size)

    def block(numbers: Array) -> Array:
        basis = jax.nn.one_hot(numbers, count, dtype=vector.dtype)
        return jax.vmap(push)(basis)

    found = jax.lax.map(block, numbers)
    return values, found.reshape(blocks * size, -1)[:count].T, beside


def told(
    jacobian: Float[Array, "batch samples parameters"],
) -> Float[Array, "rows parameters"]:
    """The Jacobian with zero rows for windows that tell nothing.

    Where a derivative is beyond one over the type's resolution, rounding a parameter of
    order one changes a residual by more than its own order: a recursion that runs away in
    a window makes it a function of rounding. Its derivatives would outweigh all others, and
    every step be refused from then on.

    Args:
        jacobian: Of residuals in standard deviations, by window.
    """
    limit = 1.0 / jnp.finfo(jacobian.dtype).eps
    largest = jnp.max(jnp.abs(jacobian), axis=(1, 2))
    kept = jnp.where((largest <= limit)[:, None, None], jacobian, 0.0)
    return kept.reshape(-1, jacobian.shape[-1])
