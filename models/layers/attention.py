"""Attention: tokens read from other tokens, as far as a mask lets them.

Source: Vaswani et al. 2017, "Attention is all you need", section 3.2.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from models.errors import ConfigError
from models.layers.initialization import parameter
from models.layers.linear import Linear


def require_heads(*, size: int, heads: int, names: tuple[str, str]) -> None:
    """Refuse heads that do not divide the numbers of a token among them.

    Args:
        size: Numbers of a token.
        heads: Heads.
        names: What a configuration calls the two.

    Raises:
        ConfigError: They do not.
    """
    if size % heads:
        fits = [h for h in range(1, size + 1) if size % h == 0]
        near = sorted(fits, key=lambda h: (abs(h - heads), h))[:2]
        raise ConfigError(
            f"`{names[0]}` must be a multiple of `{names[1]}`, got {size} and {heads}",
            hint=f"set `{names[1]}` to {' or '.join(map(str, sorted(near)))}, for one, or "
            f"`{names[0]}` to {heads * max(1, round(size / heads))}",
        )


def attend(
    queries: Float[Array, "batch query head number"],
    keys: Float[Array, "batch key head number"],
    values: Float[Array, "batch key head number"],
    mask: Bool[Array, "#batch query key"] | None = None,
) -> Float[Array, "batch query head number"]:
    """The values, weighted by ``softmax(q·k / √D)`` over the keys that a query may see.

    Args:
        queries: ``[B, Q, H, D]``.
        keys: ``[B, K, H, D]``.
        values: Likewise.
        mask: True where a query may see a key, ``[B, Q, K]`` or ``[1, Q, K]``; None for
            everywhere. A query that may see none is given zeros, and no NaN reaches any
            gradient.
    """
    scores = jnp.einsum("bqhd,bkhd->bhqk", queries, keys)
    scores = scores / math.sqrt(queries.shape[-1])
    if mask is None:
        weights = jax.nn.softmax(scores, axis=-1)
        return jnp.einsum("bhqk,bkhd->bqhd", weights, values)
    allowed = jnp.broadcast_to(mask[:, None], scores.shape)
    lowest = jnp.full_like(scores, jnp.finfo(scores.dtype).min)
    largest = jnp.max(jnp.where(allowed, scores, lowest), axis=-1, keepdims=True)
    away = jnp.where(allowed, scores - jax.lax.stop_gradient(largest), 0.0)
    weights = jnp.where(allowed, jnp.exp(away), 0.0)
    # At least 1 where a key is seen at all: the largest score's own.
    total = jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), 0.5)
    return jnp.einsum("bhqk,bkhd->bqhd", weights / total, values)


class Attention(nnx.Module):
    """Several heads of attention, each over its own linear maps of the tokens.

    Args:
        size: Numbers of a token.
        heads: Heads; they divide `size`.

    Raises:
        ConfigError: They do not.
    """

    def __init__(self, *, size: int, heads: int) -> None:
        require_heads(size=size, heads=heads, names=("size", "heads"))
        self.heads = heads
        self.weight = parameter((size, 3 * size), fan_in=size)
        self.bias = parameter((3 * size,), fan_in=size)
        self.out = Linear(inputs=size, outputs=size)

    def __call__(
        self,
        tokens: Float[Array, "batch token number"],
        others: Float[Array, "batch other number"] | None = None,
        *,
        mask: Bool[Array, "*any query key"] | None = None,
    ) -> Float[Array, "batch token number"]:
        """What every token reads.

        Args:
            tokens: ``[B, Q, D]``.
            others: What they read from, ``[B, K, D]``; by default from one another.
            mask: True where a token may read, ``[Q, K]`` or ``[B, Q, K]``. One that may read
                nothing gets the bias of the last linear map.
        """
        size = tokens.shape[-1]
        if others is None:
            queries, keys, values = jnp.split(self._mapped(tokens, 0, 3), 3, axis=-1)
        else:
            queries = self._mapped(tokens, 0, 1)
            keys, values = jnp.split(self._mapped(others, 1, 3), 2, axis=-1)
        if mask is not None and mask.ndim == 2:
            mask = mask[None]
        read = attend(*map(self._by_head, (queries, keys, values)), mask)
        return self.out(read.reshape(*tokens.shape[:2], size))

    def _mapped(self, tokens: Array, first: int, last: int) -> Array:
        """Some of the three maps: queries, keys, values."""
        size = tokens.shape[-1]
        part = slice(first * size, last * size)
        return tokens @ self.weight[...][:, part] + self.bias[...][None, None, part]

    def _by_head(self, mapped: Array) -> Array:
        return mapped.reshape(*mapped.shape[:2], self.heads, -1)
