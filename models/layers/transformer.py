"""A block of a transformer: attention and a hidden layer, each added and then normalized.

Source: Vaswani et al. 2017, "Attention is all you need" (normalization behind the sum);
`torch.nn.TransformerEncoderLayer` with ``norm_first=False`` and exact GELU is the same map.
"""

from __future__ import annotations

import jax
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from models.layers.attention import Attention
from models.layers.dropout import entry_dropout, split_key
from models.layers.layer_normalization import LayerNorm
from models.layers.linear import Linear
from models.layers.traced import Traced


class TransformerBlock(nnx.Module):
    """``x ← norm(x + drop(attention(x)))``, ``x ← norm(x + drop(W₂ drop(gelu(W₁ x))))``.

    Args:
        size: Numbers D of a token.
        heads: Of the attention; they divide `size`.
        hidden_size: Width of the hidden layer.
        dropout_name: Configuration key that the dropout rate follows.

    Raises:
        ConfigError: The heads do not divide the size.
    """

    def __init__(
        self, *, size: int, heads: int, hidden_size: int, dropout_name: str
    ) -> None:
        self.rate = Traced(0.0, name=dropout_name)
        self.attention = Attention(size=size, heads=heads)
        self.norm = LayerNorm(size)
        self.widen = Linear(inputs=size, outputs=hidden_size)
        self.narrow = Linear(inputs=hidden_size, outputs=size)
        self.last_norm = LayerNorm(size)

    def __call__(
        self,
        tokens: Float[Array, "batch token number"],
        others: Float[Array, "batch other number"] | None = None,
        *,
        mask: Bool[Array, "*any query key"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch token number"]:
        """The tokens behind the block, ``[B, N, D]``.

        Args:
            tokens: ``[B, N, D]``.
            others: What they read from, ``[B, K, D]``; by default from one another.
            mask: True where a token may read, ``[N, K]`` or ``[B, N, K]``; see `Attention`.
            key: Switches dropout on, of single numbers.
        """
        reading, hidden, last = split_key(key, 3)
        rate = self.rate[...]
        read = self.attention(tokens, others, mask=mask)
        tokens = self.norm(tokens + entry_dropout(read, rate, reading))
        wide = jax.nn.gelu(self.widen(tokens), approximate=False)
        narrow = self.narrow(entry_dropout(wide, rate, hidden))
        return self.last_norm(tokens + entry_dropout(narrow, rate, last))
