"""Nearest codes, and codes from points, for several codebooks side by side.

Points are ``[N, G, D]``: N of them for each of G codebooks ``[G, K, D]``.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

Points = Float[Array, "point group number"]
Codes = Float[Array, "group code number"]
Tokens = Int[Array, "point group"]
Sizes = tuple[int, ...] | None

ROUNDS = 10


def nearest(points: Points, codes: Codes, sizes: Sizes = None) -> Tokens:
    """The number of the code nearest to every point; of equally near ones the first.

    Args:
        points: The points.
        codes: The codes.
        sizes: Codes that each codebook really has, the first ones; None for all.
    """
    # |p|² is the same for all codes of a point.
    squares = jnp.sum(jnp.square(codes), axis=-1)
    if sizes is not None:
        squares = jnp.where(there(sizes, codes.shape[1]), squares, jnp.inf)
    apart = squares[None] - 2.0 * jnp.einsum("ngd,gkd->ngk", points, codes)
    return jnp.argmin(apart, axis=-1).astype(jnp.int32)


def there(sizes: tuple[int, ...], count: int) -> Bool[Array, "group code"]:
    """Which of `count` codes the codebooks really have.

    Args:
        sizes: Codes of every codebook.
        count: Codes of the largest.
    """
    return jnp.arange(count)[None] < jnp.asarray(sizes)[:, None]


def look_up(tokens: Tokens, codes: Codes) -> Points:
    """The codes that tokens stand for."""
    found = jnp.take_along_axis(codes, tokens.T[..., None], axis=1)
    return jnp.swapaxes(found, 0, 1)


def assigned(
    tokens: Tokens, points: Points, count: int
) -> tuple[Float[Array, "group code"], Codes]:
    """How many points every code has, and their sum.

    Args:
        tokens: The code of every point.
        points: The points.
        count: Codes K of a codebook.
    """
    chosen = jax.nn.one_hot(tokens, count, dtype=points.dtype)
    return jnp.sum(chosen, axis=0), jnp.einsum("ngk,ngd->gkd", chosen, points)


def drawn(key: Key[Array, ""], points: Points, count: int) -> Codes:
    """Some of the points for every codebook, different ones as long as there are enough."""
    total, groups = points.shape[:2]
    if total >= count:
        numbers = jax.random.uniform(key, (groups, total))
        places = jax.lax.top_k(numbers, count)[1]
    else:
        places = jax.random.randint(key, (groups, count), 0, total)
    return jnp.take_along_axis(jnp.swapaxes(points, 0, 1), places[..., None], axis=1)


def k_means(
    points: Points, codes: Codes, *, rounds: int = ROUNDS, sizes: Sizes = None
) -> Codes:
    """Lloyd's iterations; a code that no point is nearest to stays where it is.

    Args:
        points: The points.
        codes: Where the codes begin.
        rounds: How often they move.
        sizes: As for `nearest`.

    Source: Lloyd 1982, "Least squares quantization in PCM".
    """

    def move(codes: Codes, _: None) -> tuple[Codes, None]:
        counts, sums = assigned(nearest(points, codes, sizes), points, codes.shape[1])
        means = sums / jnp.maximum(counts, 1.0)[..., None]
        return jnp.where((counts > 0)[..., None], means, codes), None

    moved, _ = jax.lax.scan(move, codes, None, length=rounds)
    return moved
