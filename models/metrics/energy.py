"""The energy score of draws from a distribution, a strictly proper scoring rule."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.losses.elementwise import require_same_shape


def energy_score(
    draws: Float[Array, "row draw parameter"], truth: Float[Array, "row parameter"]
) -> Float[Array, " row"]:
    """``mean |X - θ| - ½ mean |X - X'|`` of every row, over distinct pairs of draws.

    Raises:
        ValueError: The rows or parameters differ.

    Source: Gneiting and Raftery 2007, "Strictly proper scoring rules, prediction, and
    estimation", equation 22.
    """
    require_same_shape(draws[:, 0], truth)
    count = draws.shape[1]
    near = jnp.mean(_length(draws - truth[:, None]), axis=1)
    apart = jnp.sum(_length(draws[:, :, None] - draws[:, None]), axis=(1, 2))
    return near - 0.5 * apart / (count * (count - 1))


def _length(vectors: Float[Array, "*shape parameter"]) -> Float[Array, "*shape"]:
    return jnp.sqrt(jnp.sum(jnp.square(vectors), axis=-1))
