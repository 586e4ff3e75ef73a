"""The Jacobian of residuals by forward derivatives, for any model."""

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
