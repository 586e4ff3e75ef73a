"""From the codes of all categories back to a row, and from each code alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from models.config import Config, static, traced
from models.layers.dropout import entry_dropout
from models.layers.grouped import GroupedLinear
from models.layers.linear import Linear
from models.layers.traced import Traced

Codes = Sequence[Float[Array, "batch group number"]]
Rows = Float[Array, "batch column"]


@dataclass(frozen=True, kw_only=True)
class Writer(Config):
    """What writes rows.

    Attributes:
        hidden_size: Of the shared decoder's hidden layer.
        skip: Whether a linear map goes past it.
        dropout: Of the hidden layer.
        partial: Whether every code is also asked for the whole row by itself.
        partial_size: Hidden numbers of each such decoder.
    """

    hidden_size: int = static(256, low=1)
    skip: bool = static(True)
    dropout: float = traced(0.1, low=0.0, high=0.95)
    partial: bool = static(True)
    partial_size: int = static(128, low=1)

    def unused(self) -> frozenset[str]:
        """The size of partial decoders, where there are none."""
        return frozenset() if self.partial else frozenset({"partial_size"})


class SharedWriter(nnx.Module):
    """All codes beside one another: linear, ReLU, dropout, linear, and a linear map past them.

    Args:
        config: The writer.
        inputs: Numbers of all codes together.
        outputs: Columns of a row.
    """

    def __init__(self, *, config: Writer, inputs: int, outputs: int) -> None:
        self.inner = Linear(inputs=inputs, outputs=config.hidden_size)
        self.outer = Linear(inputs=config.hidden_size, outputs=outputs)
        self.past = (
            Linear(inputs=inputs, outputs=outputs, bias=False) if config.skip else None
        )
        self.dropout = Traced(0.0, name="writer.dropout")

    def __call__(self, codes: Codes, *, key: Key[Array, ""] | None = None) -> Rows:
        """Rows ``[B, D]`` in standard deviations, from codes ``[B, G, d]`` by piece."""
        beside = jnp.concatenate(codes, axis=-1)
        inputs = beside.reshape(1, len(beside), -1)
        hidden = entry_dropout(jax.nn.relu(self.inner(inputs)), self.dropout[...], key)
        found = self.outer(hidden)
        if self.past is not None:
            found = found + self.past(inputs)
        return found[0]


class PartialWriters(nnx.Module):
    """Of every code by itself the whole row: linear, ReLU, linear.

    Args:
        config: The writer.
        groups: Categories.
        code_sizes: Numbers of a code, by piece.
        outputs: Columns of a row.
    """

    def __init__(
        self,
        *,
        config: Writer,
        groups: int,
        code_sizes: tuple[int, ...],
        outputs: int,
    ) -> None:
        inputs = tuple(size for size in code_sizes for _ in range(groups))
        hidden = (config.partial_size,) * len(inputs)
        self.inner = GroupedLinear(inputs=inputs, outputs=config.partial_size)
        self.outer = GroupedLinear(inputs=hidden, outputs=outputs)

    def __call__(self, codes: Codes) -> Float[Array, "code batch column"]:
        """Rows in standard deviations, by piece and category ``[P·G, B, D]``."""
        width = max(piece.shape[-1] for piece in codes)
        filled = [
            jnp.pad(piece, ((0, 0), (0, 0), (0, width - piece.shape[-1])))
            for piece in codes
        ]
        inputs = jnp.concatenate([jnp.swapaxes(f, 0, 1) for f in filled])
        return self.outer(jax.nn.relu(self.inner(inputs)))
