"""Levels of codes: each category's vector as one token a level.

``parallel`` levels project the same vector independently, into codes of their own size; of
``residual`` levels each codes what those before left over.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from models.config import Config, static, traced
from models.errors import ConfigError
from models.layers.dropout import entry_dropout, split_key
from models.layers.grouped import (
    Grouped,
    GroupedLayerNorm,
    GroupedLinear,
)
from models.layers.quantizer import Quantization, Quantizer
from models.layers.traced import Traced

Sizes = tuple[tuple[int, ...], ...]
"""Bits by level and category."""
Counts = tuple[tuple[int, ...], ...]
"""Codes by stage and category."""


@dataclass(frozen=True, kw_only=True)
class Levels(Config):
    """How many tokens a category has, and how much each can tell.

    Attributes:
        count: Levels.
        hierarchy: Whether levels project one vector side by side, or code what is left.
        code_size: Numbers of a code, of all levels or of each.
        bits: Of a token, of all levels or of each; a codebook has ``2**bits`` codes.
        budget: Bits of a whole row instead, dealt out to the categories by how much of them
            few numbers could tell (`dealt_bits`); None where `bits` says it.
        most_bits: Of a token that a budget is dealt out to.
        normalize: Whether projected vectors are layer-normalized.
        dropout: Of projected vectors, before that.
    """

    count: int = static(1, low=1)
    hierarchy: Literal["parallel", "residual"] = static("residual")
    code_size: int | tuple[int, ...] = static(8, low=1)
    bits: int | tuple[int, ...] = static(4, low=1, high=12)
    budget: int | None = static(None, low=1)
    most_bits: int = static(12, low=1, high=12)
    normalize: bool = static(False)
    dropout: float = traced(0.0, low=0.0, high=0.95)

    def validate(self) -> None:
        """Refuse lists of another length, and what cannot be meant."""
        for name in ("code_size", "bits"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != self.count:
                raise ConfigError(
                    f"`levels.{name}` has a number for each of {self.count} levels, got "
                    f"{list(value)}",
                    hint="give one number for all levels, or one for each",
                )
        if self.hierarchy == "residual" and len(set(self.code_sizes)) > 1:
            raise ConfigError(
                "what one level leaves over has the size of its codes, got "
                f"`levels.code_size` {list(self.code_sizes)} of residual levels",
                hint='give one size, or set `levels.hierarchy` to "parallel"',
            )
        if self.budget is not None and self.bits != 4:
            raise ConfigError(
                f"bits are dealt out of a budget, got `levels.bits` {self.bits!r} and "
                f"`levels.budget` {self.budget}",
                hint="leave one of them out",
            )
        if self.count == 1 and self.hierarchy != "residual":
            raise ConfigError(
                f"`levels.hierarchy` acts with several levels, got {self.hierarchy!r} and "
                "`levels.count` 1",
                hint="leave it out, or raise `levels.count`",
            )

        if self.normalize and min(self.code_sizes) < 3:
            raise ConfigError(
                "of two numbers that are normalized together only a sign is left, got "
                f"`levels.code_size` {min(self.code_sizes)} with `levels.normalize`",
                hint="give codes 3 numbers at least, or set `levels.normalize` to false",
            )

        if self.budget is None and self.most_bits != 12:
            raise ConfigError(
                f"`levels.most_bits` acts with a budget, got {self.most_bits} without",
                hint="set `levels.budget`, or leave it out",
            )

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """Numbers of a code by level."""
        own = self.code_size
        return own if isinstance(own, tuple) else (own,) * self.count

    def sizes(self, spectra: Sequence[Sequence[float]]) -> Sizes:
        """Bits by level and category.

        Args:
            spectra: Of every category (`models.data.grouping.Grouping`).

        Raises:
            ConfigError: The budget gives no bit to some token, or more than a token may have.
        """
        if self.budget is None:
            each = (
                self.bits if isinstance(self.bits, tuple) else (self.bits,) * self.count
            )
            return tuple((bits,) * len(spectra) for bits in each)
        dealt = dealt_bits(
            spectra, budget=self.budget, levels=self.count, most=self.most_bits
        )
        return tuple(
            tuple(own // self.count + (level < own % self.count) for own in dealt)
            for level in range(self.count)
        )

    def pieces(
        self, quantization: Quantization, sizes: Sizes
    ) -> list[tuple[Quantization, Counts | None]]:
        """By piece how it quantizes, and how many codes each category has, stage by stage.

        Args:
            quantization: What all pieces have in common.
            sizes: Bits by level and category.

        Raises:
            ConfigError: Such codes have no such stages, or a grid would differ by category.
        """
        grid = quantization.kind == "fsq"
        if grid and self.normalize:
            raise ConfigError(
                "a grid squashes every number by itself, got `levels.normalize` with "
                "`quantizer.kind` fsq",
                hint="set `levels.normalize` to false",
            )
        if grid and self.budget is not None:
            raise ConfigError(
                "grids are alike for all categories, got `levels.budget` "
                f"{self.budget} with `quantizer.kind` fsq",
                hint="set `levels.bits` instead",
            )
        residual = self.hierarchy == "residual"
        stages = [sizes] if residual else [(level,) for level in sizes]
        found = []
        for own, size in zip(stages, self.code_sizes, strict=False):
            how = dataclasses.replace(
                quantization,
                bits=max(map(max, own)),
                stages=len(own),
                **({} if grid else {"code_size": size}),
            )
            counts = tuple(tuple(2**bits for bits in stage) for stage in own)
            found.append((how, None if grid else counts))
        return found


def dealt_bits(
    spectra: Sequence[Sequence[float]], *, budget: int, levels: int, most: int = 12
) -> tuple[int, ...]:
    """Bits of every category: each next one goes where it takes away most.

    A Gaussian of these variances that b bits tell of keeps a mean square of at most θ in every
    direction, with ``b = Σ ½ log₂(λ/θ)`` over those above θ; another bit takes away
    ``2 ln 2 · θ``. So it goes to the category with the largest θ. That categories tell of one
    another is left to training.

    Args:
        spectra: Of every category, variances of its directions.
        budget: Bits.
        levels: Tokens of a category, each of which gets a bit at least.
        most: Bits that a token may have.

    Raises:
        ConfigError: There are fewer bits than tokens, or more than they may have.

    Source: Cover and Thomas 2006, "Elements of information theory", theorem 10.3.3 (reverse
    water-filling).
    """
    tokens = levels * len(spectra)
    if not tokens <= budget <= most * tokens:
        raise ConfigError(
            f"{tokens} tokens of 1 to {most} bits carry {tokens} to {most * tokens} bits, got "
            f"`levels.budget` {budget}",
            hint="change `levels.budget` or `levels.count`, or group columns otherwise",
        )
    bits = [levels] * len(spectra)
    for _ in range(budget - tokens):
        marks = [
            _water(spectrum, own) if own < most * levels else -math.inf
            for spectrum, own in zip(spectra, bits, strict=True)
        ]
        bits[max(range(len(bits)), key=lambda group: marks[group])] += 1
    return tuple(bits)


def _water(spectrum: Sequence[float], bits: int) -> float:
    """θ of the reverse water-filling of some variances at some bits."""
    logs: list[float] = []
    for variance in sorted((v for v in spectrum if v > 0), reverse=True):
        logs.append(math.log2(variance))
        mark = (sum(logs) - 2 * bits) / len(logs)
        if mark > logs[-1]:  # this direction lies under water
            logs.pop()
            break
    if not logs:
        return -math.inf
    return 2.0 ** float((sum(logs) - 2 * bits) / len(logs))


def codes_of(
    pieces: Sequence[tuple[Quantization, Counts | None]], groups: int
) -> tuple[int, ...]:
    """Codes of every codebook, category by category, level by level.

    Args:
        pieces: As `Levels.pieces` gives them.
        groups: Categories.
    """
    by_level = [
        stage
        for how, counts in pieces
        for stage in counts or ((how.codes,) * groups,) * how.stages
    ]
    return tuple(level[group] for group in range(groups) for level in by_level)


class Leveled(NamedTuple):
    """What levels make of the categories' vectors.

    Attributes:
        latents: By piece (a level, or all residual ones together) ``[B, G, D]``.
        codes: Likewise, with the gradient of the latents.
        tokens: ``[B, G, L]``.
        losses: ``commitment`` and ``codebook`` ``[B, G]``, means over the pieces.
    """

    latents: list[Float[Array, "batch group number"]]
    codes: list[Float[Array, "batch group number"]]
    tokens: Int[Array, "batch group level"]
    losses: dict[str, Float[Array, "batch group"]]


class LeveledQuantizer(nnx.Module):
    """A projector and a codebook for every category and level.

    Args:
        config: The levels.
        quantization: How vectors are quantized.
        sizes: Bits by level and category.
        inputs: Numbers of a category's vector.
        key: Randomness of the codes.
    """

    def __init__(
        self,
        *,
        config: Levels,
        quantization: Quantization,
        sizes: Sizes,
        inputs: int,
        key: Key[Array, ""],
    ) -> None:
        self.groups = groups = len(sizes[0])
        self.project: nnx.List[GroupedLinear] = nnx.List([])
        self.norms: nnx.List[GroupedLayerNorm] = nnx.List([])
        self.quantizers: nnx.List[Quantizer] = nnx.List([])
        self.dropout = Traced(0.0, name="levels.dropout")
        pieces = config.pieces(quantization, sizes)
        self.counts = codes_of(pieces, groups)
        for (how, counts), own in zip(pieces, split_key(key, len(pieces)), strict=True):
            assert own is not None, "there is a key"
            self.project.append(
                GroupedLinear(inputs=(inputs,) * groups, outputs=how.size)
            )
            if config.normalize:
                self.norms.append(GroupedLayerNorm(groups=groups, size=how.size))
            self.quantizers.append(
                Quantizer(config=how, groups=groups, key=own, sizes=counts)
            )

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """Numbers of a code by piece."""
        return tuple(quantizer.config.size for quantizer in self.quantizers)

    def __call__(
        self,
        vectors: Grouped,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Leveled:
        """Codes and tokens of vectors ``[G, B, E]``; a key lets codes follow."""
        dropping, following = split_key(key, 2)
        latents = self._projected(vectors, dropping)
        keys = split_key(following, len(latents))
        found = [
            quantizer(own, key=k)
            for quantizer, own, k in zip(self.quantizers, latents, keys, strict=True)
        ]
        pieces = len(found)
        return Leveled(
            latents=latents,
            codes=[one.codes for one in found],
            tokens=jnp.concatenate([one.tokens for one in found], axis=-1),
            losses={
                name: sum(one.losses[name] for one in found) / pieces
                for name in ("commitment", "codebook")
            },
        )

    def begin(self, vectors: Grouped, key: Key[Array, ""]) -> None:
        """Let the codes begin where a first batch's vectors lie."""
        latents = self._projected(vectors, None)
        keys = split_key(key, len(latents))
        for quantizer, own, k in zip(self.quantizers, latents, keys, strict=True):
            assert k is not None, "there is a key"
            quantizer.begin(own, k)

    def decode(
        self, tokens: Int[Array, "batch group level"]
    ) -> list[Float[Array, "batch group number"]]:
        """The codes by piece that tokens stand for."""
        if len(self.quantizers) == 1:
            return [self.quantizers[0].decode(tokens)]
        return [
            quantizer.decode(tokens[..., level : level + 1])
            for level, quantizer in enumerate(self.quantizers)
        ]

    def books(self) -> list[tuple[Float[Array, "group code number"], tuple[int, ...]]]:
        """The codes of every level, and how many of them each category has."""
        vectors = [v for quantizer in self.quantizers for v in quantizer.vectors()]
        levels = len(vectors)
        return [(codes, self.counts[i::levels]) for i, codes in enumerate(vectors)]

    def _projected(
        self, vectors: Grouped, key: Key[Array, ""] | None
    ) -> list[Float[Array, "batch group number"]]:
        keys = split_key(key, len(self.project))
        found = []
        for place, linear in enumerate(self.project):
            values = entry_dropout(linear(vectors), self.dropout[...], keys[place])
            if self.norms:
                values = self.norms[place](values)
            found.append(jnp.swapaxes(values, 0, 1))
        return found
