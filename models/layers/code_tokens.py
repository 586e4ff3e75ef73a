"""The features of a window or a row as a few tokens, side by side."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from models.layers.quantizer import Quantization, Quantizer, perplexities


class Tokens(nnx.Module):
    """Features ``[B, V·D]`` as V tokens, each of a codebook of its own.

    Args:
        config: How vectors are quantized.
        vectors: V.
        key: Randomness of the codes.
    """

    def __init__(
        self, *, config: Quantization, vectors: int, key: Key[Array, ""]
    ) -> None:
        self.shape = (vectors, config.size)
        self.quantizer = Quantizer(config=config, groups=vectors, key=key)

    @property
    def size(self) -> int:
        """Numbers V·D of a code."""
        return math.prod(self.shape)

    def __call__(
        self,
        features: Float[Array, "batch feature"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch feature"], dict[str, Any]]:
        """The codes, and outputs: losses and tokens; a key lets codes follow."""
        found = self.quantizer(self._vectors(features), key=key)
        outputs = {"code": found.losses, "tokens": found.tokens}
        return found.codes.reshape(features.shape), outputs

    def begin(
        self, features: Float[Array, "batch feature"], key: Key[Array, ""]
    ) -> None:
        """Let the codes begin where a first batch's vectors lie."""
        self.quantizer.begin(self._vectors(features), key)

    def usual(self, rows: int) -> Float[Array, "row feature"]:
        """The mean code over the last training batches, for every row."""
        usual = self.quantizer.usual().reshape(1, -1)
        return jnp.broadcast_to(usual, (rows, usual.shape[1]))

    def usage(self, rows: int) -> dict[str, Float[Array, "row codebook"]]:
        """Perplexity and dead codes of every codebook, the same for every row."""
        shares = self.quantizer.shares()
        shares = shares.reshape(-1, shares.shape[-1])
        dead = jnp.sum(shares == 0, axis=-1, dtype=jnp.int32).astype(shares.dtype)
        found = {"perplexity": perplexities(shares), "dead": dead}
        return {n: jnp.broadcast_to(v[None], (rows, len(v))) for n, v in found.items()}

    def _vectors(
        self, features: Float[Array, "batch feature"]
    ) -> Float[Array, "batch vector number"]:
        return features.reshape(-1, *self.shape)
