"""From a row to a vector for each category of its columns: a front, if any, and an extractor."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from models.config import Config, static, traced
from models.errors import ConfigError
from models.layers.batch_normalization import BatchNormalization
from models.layers.dropout import entry_dropout, split_key
from models.layers.grouped import (
    ACTIVATIONS,
    Activation,
    Grouped,
    GroupedLayerNorm,
    GroupedLinear,
)
from models.layers.traced import Traced

Columns = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Front(Config):
    """A trained network of each category in front of all else.

    Attributes:
        hidden_sizes: Of its hidden layers, each linear, normalized, activated, dropped.
        output_size: Numbers it gives; 0 leaves the front out.
        activation: Of its hidden layers.
        batch_norm: Whether hidden and last layers are normalized over the batch.
        dropout: Of its hidden layers.
    """

    hidden_sizes: tuple[int, ...] = static((128,), low=1)
    output_size: int = static(0, low=0)
    activation: Activation = static("relu")
    batch_norm: bool = static(True)
    dropout: float = traced(0.0, low=0.0, high=0.95)

    def validate(self) -> None:
        """Refuse settings of a front that is not there."""
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if not self.output_size and value != item.default:
                raise ConfigError(
                    f"`front.{item.name}` acts with a front, got {value!r} and "
                    "`front.output_size` 0",
                    hint="set `front.output_size`, or leave it out",
                )

    def unused(self) -> frozenset[str]:
        """Everything but the size, where there is no front."""
        others = {"hidden_sizes", "activation", "batch_norm", "dropout"}
        return frozenset() if self.output_size else frozenset(others)


@dataclass(frozen=True, kw_only=True)
class Reader(Config):
    """What makes a vector of each category: linear, ReLU, dropout, linear, layer norm.

    Attributes:
        hidden_size: Of its hidden layer.
        size: Numbers of a category's vector.
        skip: Whether a linear map goes past the hidden layer.
        dropout: Of the hidden layer.
    """

    hidden_size: int = static(128, low=1)
    size: int = static(64, low=2)
    skip: bool = static(True)
    dropout: float = traced(0.1, low=0.0, high=0.95)


class CategoryReader(nnx.Module):
    """All categories at once.

    Args:
        front: Of the family's configuration.
        reader: Likewise.
        columns: Of every category.
        masked: Whether rows have gaps, so that the reader is told where.
    """

    def __init__(
        self, *, front: Front, reader: Reader, columns: Columns, masked: bool
    ) -> None:
        self.columns, self.masked = columns, masked
        sizes = tuple((1 + masked) * len(own) for own in columns)
        self.front = _Front(front, sizes) if front.output_size else None
        if front.output_size:
            sizes = (front.output_size,) * len(columns)
        groups, hidden = len(columns), (reader.hidden_size,) * len(columns)
        self.inner = GroupedLinear(inputs=sizes, outputs=reader.hidden_size)
        self.outer = GroupedLinear(inputs=hidden, outputs=reader.size)
        self.past = (
            GroupedLinear(inputs=sizes, outputs=reader.size, bias=False)
            if reader.skip
            else None
        )
        self.norm = GroupedLayerNorm(groups=groups, size=reader.size)
        self.dropout = Traced(0.0, name="reader.dropout")

    def __call__(
        self,
        values: Float[Array, "batch column"],
        mask: Array,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Grouped:
        """Vectors ``[G, B, E]``.

        Args:
            values: In standard deviations, 0 where nothing is given.
            mask: ``[B, D]``, which entries are given.
            key: Of a training step; None in evaluation.
        """
        first, second = split_key(key, 2)
        inputs = self._gathered(values)
        if self.masked:
            inputs = jnp.concatenate(
                [inputs, self._gathered(mask.astype(values.dtype))], axis=-1
            )
        if self.front is not None:
            inputs = self.front(inputs, key=first)
        hidden = ACTIVATIONS["relu"](self.inner(inputs))
        found = self.outer(entry_dropout(hidden, self.dropout[...], second))
        if self.past is not None:
            found = found + self.past(inputs)
        return self.norm(found)

    def _gathered(self, values: Float[Array, "batch column"]) -> Grouped:
        """The columns of every category, filled with zeros to the width of the widest."""
        place, there = _places(self.columns)
        picked = values.T[place] * jnp.asarray(there, values.dtype)[..., None]
        return jnp.swapaxes(picked, 1, 2)


class _Front(nnx.Module):
    """Linear, batch norm, activation, dropout; the last layer linear and batch norm."""

    def __init__(self, config: Front, inputs: tuple[int, ...]) -> None:
        self.activation = config.activation
        self.layers: nnx.List[GroupedLinear] = nnx.List([])
        self.norms: nnx.List[BatchNormalization] = nnx.List([])
        groups = len(inputs)
        for size in (*config.hidden_sizes, config.output_size):
            self.layers.append(GroupedLinear(inputs=inputs, outputs=size))
            if config.batch_norm:
                self.norms.append(BatchNormalization(groups, size, over=(1,)))
            inputs = (size,) * groups
        self.dropout = Traced(0.0, name="front.dropout")

    def __call__(self, values: Grouped, *, key: Key[Array, ""] | None) -> Grouped:
        keys, last = split_key(key, len(self.layers)), len(self.layers) - 1
        for place, layer in enumerate(self.layers):
            values = layer(values)
            if self.norms:
                values = self.norms[place](values, training=key is not None)
            if place < last:
                values = ACTIVATIONS[self.activation](values)
                values = entry_dropout(values, self.dropout[...], keys[place])
        return values


def _places(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of columns ``[G, F]``, and which of them are there."""
    width = max(map(len, columns))
    place = np.zeros((len(columns), width), np.int32)
    there = np.zeros((len(columns), width), bool)
    for group, own in enumerate(columns):
        place[group, : len(own)], there[group, : len(own)] = own, True
    return place, there
