"""A transformer over tokens: from every token of some keys a vector of its own width.

A token is embedded as the sum of what it holds (a linear map of each key's own, whose bias is
the key's label), its group (the first coordinate of its event: a site), its position among the
others of the group, whether it is to be found or known, the time, and Fourier features of its
functional inputs; a token that has none gets a learned vector instead.

Sources: Vaswani et al. 2017, "Attention is all you need"; Tancik et al. 2020, "Fourier features
let networks learn high frequency functions in low dimensional domains", for the inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from models.config import Config, static, traced
from models.errors import TokenError
from models.layers.attention import require_heads
from models.layers.dropout import split_key
from models.layers.initialization import parameter
from models.layers.linear import Linear
from models.layers.time_features import time_features
from models.layers.tokens import MISSING, SliceInfo, Tokens, TokenView
from models.layers.traced import Traced
from models.layers.transformer import TransformerBlock


@dataclass(frozen=True, kw_only=True)
class Network(Config):
    """The transformer.

    Attributes:
        size: Numbers of a token.
        blocks: Blocks of attention and a hidden layer.
        heads: Of the attention; they divide `size`.
        ratio: Width of a hidden layer over `size`.
        frequencies: Waves that tell it the time; 0 for the time alone.
        mask: ``dense``: every token reads every other; ``independence``: only those that are
            not independent of it, and itself.
        inputs: Fourier features of functional inputs, each a cosine and a sine; 0 for the
            standardized inputs alone.
        input_scale: Deviation of the features' frequencies, in periods a standard deviation
            of the inputs.
        dropout: Rate inside the blocks.
    """

    size: int = static(64, low=1)
    blocks: int = static(3, low=1)
    heads: int = static(4, low=1)
    ratio: int = static(2, low=1)
    frequencies: int = static(8, low=0)
    mask: str = static("dense", choices=("dense", "independence"))
    inputs: int = static(8, low=0)
    input_scale: float = traced(0.3, low=0.0)
    dropout: float = traced(0.0, low=0.0, high=0.9)

    def unused(self) -> frozenset[str]:
        """The scale of features that there are not."""
        return frozenset() if self.inputs else frozenset({"input_scale"})

    def validate(self) -> None:
        """Refuse heads that do not divide a token's numbers."""
        require_heads(
            size=self.size, heads=self.heads, names=("model.size", "model.heads")
        )


class InputFeatures(nnx.Module):
    """``W [f, cos 2π s Bf, sin 2π s Bf]`` with fixed random B; a learned vector for no f.

    Args:
        inputs: Numbers F of a token's functional inputs.
        features: Rows of B.
        size: Numbers of a token.
        name: Configuration key of the scale s.
    """

    def __init__(self, *, inputs: int, features: int, size: int, name: str) -> None:
        drawn = np.random.default_rng(0).normal(size=(inputs, features))
        self.waves = tuple(map(tuple, (2 * math.pi * drawn).tolist()))
        self.scale = Traced(0.3, name=name) if features else None
        self.map = Linear(inputs=inputs + 2 * features, outputs=size)
        self.missing = parameter((size,), fan_in=size)

    def __call__(
        self, inputs: Float[Array, "*batch token input"]
    ) -> Float[Array, "*batch token number"]:
        """The embedding of every token's inputs."""
        there = inputs[..., :1] > MISSING / 2
        known = jnp.where(inputs > MISSING / 2, inputs, 0.0)
        found = known
        if self.scale is not None:
            angle = known @ (jnp.asarray(self.waves, known.dtype) * self.scale[...])
            found = jnp.concatenate([known, jnp.cos(angle), jnp.sin(angle)], axis=-1)
        missing = self.missing[...].reshape(*(1,) * (inputs.ndim - 1), -1)
        return jnp.where(there, self.map(found), missing)


class TokenNetwork(nnx.Module):
    """See the module.

    Args:
        config: The sizes.
        slices: Every key that there can be, in the shapes that there can be at most.
        targets: Keys that may be asked for.
        inputs: Numbers of functional inputs; 0 for none.
        name: The dotted key of `config`.
    """

    def __init__(
        self,
        *,
        config: Network,
        slices: Mapping[str, SliceInfo],
        targets: Iterable[str],
        inputs: int,
        name: str = "model",
    ) -> None:
        size = config.size
        self.frequencies, self.keys = config.frequencies, tuple(slices)
        self.dense, self.targets = config.mask == "dense", tuple(targets)
        self.values = nnx.List(
            Linear(inputs=info.width, outputs=size) for info in slices.values()
        )
        self.asked = parameter((size,), fan_in=size)
        self.when = Linear(inputs=1 + 2 * config.frequencies, outputs=size)
        self.groups, self.positions = (
            parameter((most, size), fan_in=size) if most > 1 else None
            for most in (
                max(int(part.max(initial=0)) + 1 for part in parts)
                for parts in zip(*map(_places, slices.values()), strict=True)
            )
        )
        self.inputs = (
            InputFeatures(
                inputs=inputs,
                features=config.inputs,
                size=size,
                name=f"{name}.input_scale",
            )
            if inputs
            else None
        )
        self.blocks = nnx.List(
            TransformerBlock(
                size=size,
                heads=config.heads,
                hidden_size=config.ratio * size,
                dropout_name=f"{name}.dropout",
            )
            for _ in range(config.blocks)
        )
        self.heads = nnx.List(
            Linear(inputs=size, outputs=slices[key].width) for key in self.targets
        )

    def __call__(
        self,
        tokens: Tokens | TokenView,
        *,
        targets: Iterable[str],
        time: Float[Array, " batch"],
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch token value"]:
        """A vector for every token of the target keys, side by side in the order asked for.

        Args:
            tokens: With one sample axis.
            targets: The keys whose tokens are asked for.
            time: Of every sample.
            key: Switches dropout on.

        Raises:
            TokenError: A key is unknown to the network, or has more tokens than it knows.
        """
        targets = tuple(targets)
        hidden = self._embedded(tokens, targets)
        hidden = hidden + self.when(time_features(time, self.frequencies)[:, None])
        mask = self._mask(tokens)
        keys = split_key(key, len(self.blocks))
        for block, own in zip(self.blocks, keys, strict=True):
            hidden = block(hidden, mask=mask, key=own)
        width = tokens.data.shape[-1]
        found = []
        for name in targets:
            head = self.heads[_index(name, self.targets)]
            values = head(hidden[:, tokens.slices[name].place])
            gap = ((0, 0), (0, 0), (0, width - values.shape[-1]))
            found.append(jnp.pad(values, gap))
        return jnp.concatenate(found, axis=1)

    def _embedded(self, tokens: Tokens | TokenView, targets: tuple[str, ...]) -> Array:
        """Every token ``[batch, token, size]`` before the first block; without the time."""
        pieces = []
        for name, info in tokens.slices.items():
            values = tokens.data[:, info.place, : info.width]
            piece = self.values[_index(name, self.keys)](values)
            for table, index in zip(
                (self.groups, self.positions), _places(info), strict=True
            ):
                if table is not None:
                    piece = piece + _rows(table[...], index, name)[None]
            if name in targets:
                piece = piece + self.asked[...][None, None]
            pieces.append(piece)
        hidden = jnp.concatenate(pieces, axis=1)
        if self.inputs is None:
            return hidden
        given = tokens.functional_inputs
        assert given is not None, "a network with inputs is given some"
        return hidden + self.inputs(given)

    def _mask(
        self, tokens: Tokens | TokenView
    ) -> Bool[Array, "#batch token token"] | None:
        """Where a token may read; always itself."""
        there = tokens.padding_mask
        if self.dense:
            return None if there is None else there[:, None]
        linked = tokens.self_attention_mask
        linked = (linked | jnp.eye(len(linked), dtype=bool))[None]
        return linked if there is None else linked & there[:, None]


def _places(info: SliceInfo) -> tuple[np.ndarray, np.ndarray]:
    """The group of every token of a key, and its position within the group."""
    each = math.prod(info.event_shape[1:])
    flat = np.arange(info.count)
    return flat // max(each, 1), flat % max(each, 1)


def _rows(table: Array, index: np.ndarray, key: str) -> Array:
    if index.max(initial=0) >= len(table):
        raise TokenError(
            f"{key!r} has {int(index.max()) + 1} sites or positions but the network was "
            f"made for {len(table)}",
            hint="make it for the largest, and pad what is smaller",
        )
    return table[index]


def _index(key: str, known: tuple[str, ...]) -> int:
    if key not in known:
        raise TokenError(
            f"Key {key!r} not found. Available keys: {list(known)}",
            hint="ask for keys that the network was made for",
        )
    return known.index(key)
