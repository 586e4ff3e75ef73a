"""What codes of a row should be like, beyond that the row can be written from them."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

TINY = 1e-12


def orthogonality(
    codes: Float[Array, "group code number"], counts: tuple[int, ...]
) -> Float[Array, ""]:
    """Mean squared cosine of two different codes of a codebook, over the codebooks.

    0 for codes at right angles, 1 for codes on one line; codebooks of a single code have none.

    Args:
        codes: Of several codebooks side by side.
        counts: Codes that each really has, the first ones.

    Source: Shin et al. 2021, "Translation-equivariant image quantizer", equation 5, over pairs
    of different codes.
    """
    squares = jnp.sum(jnp.square(codes), axis=-1, keepdims=True)
    unit = codes * jax.lax.rsqrt(jnp.maximum(squares, TINY))
    there = np.arange(codes.shape[1])[None] < np.array(counts)[:, None]
    pairs = there[:, :, None] & there[:, None] & ~np.eye(codes.shape[1], dtype=bool)
    cosines = jnp.square(jnp.einsum("gkd,gld->gkl", unit, unit))
    each = jnp.sum(jnp.where(pairs, cosines, 0.0), axis=(1, 2))
    number = jnp.asarray(np.maximum(pairs.sum(axis=(1, 2)), 1), each.dtype)
    several = sum(count > 1 for count in counts)
    return jnp.sum(each / number) / max(several, 1)


def topographic(
    rows: Float[Array, "batch column"],
    latents: Sequence[Float[Array, "batch group number"]],
    codes: Sequence[Float[Array, "batch group number"]],
    *,
    most: int = 64,
) -> Float[Array, ""]:
    """How badly distances between rows survive: 0 where latents and codes keep their order.

    ``0.3 (1 - r(rows, latents)) + 0.7 (1 - r(latents, codes))`` with Pearson's r over all pairs of
    two different rows; distances of latents and codes are means over the codebooks.

    Args:
        rows: In standard deviations.
        latents: By piece.
        codes: Likewise.
        most: Rows that are looked at, the first ones of a batch; of fewer than 3 it is 0.

    Source: the loss of the categorical VQ-VAE that this family follows, over pairs counted once.
    """
    number = min(most, len(rows))
    if number < 3:
        return jnp.zeros((), rows.dtype)
    apart = _distances(rows[:number, None])[:, 0]
    before = _mean_distances(latents, number)
    after = _mean_distances(codes, number)
    return 0.3 * (1 - correlation(apart, before)) + 0.7 * (
        1 - correlation(before, after)
    )


def correlation(
    first: Float[Array, " pair"], second: Float[Array, " pair"]
) -> Float[Array, ""]:
    """Pearson's r; 0 where one of them does not vary."""
    one, other = first - jnp.mean(first), second - jnp.mean(second)
    scale = jnp.sum(jnp.square(one)) * jnp.sum(jnp.square(other))
    return jnp.sum(one * other) * jax.lax.rsqrt(jnp.maximum(scale, TINY))


def _mean_distances(
    pieces: Sequence[Float[Array, "batch group number"]], number: int
) -> Float[Array, " pair"]:
    total = sum(jnp.sum(_distances(piece[:number]), axis=1) for piece in pieces)
    return total / sum(piece.shape[1] for piece in pieces)


def _distances(points: Float[Array, "row group number"]) -> Float[Array, "pair group"]:
    """Euclidean distances of every two rows; a gradient of 0 where they are the same."""
    first, second = np.triu_indices(points.shape[0], 1)
    squares = jnp.sum(jnp.square(points[first] - points[second]), axis=-1)
    apart = squares > TINY
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1.0)), 0.0)
