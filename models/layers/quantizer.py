"""From latent vectors to tokens: each vector is replaced by one of a few codes.

What varies is where codes come from, how near is measured, where codes begin and how a
gradient passes the choice; the configuration refuses what would act on nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from models.config import Config, static, traced
from models.errors import ConfigError
from models.layers.codebooks import (
    Average,
    AveragedCodebook,
    Codebook,
    LearnedCodebook,
    LinearCodebook,
)
from models.layers.finite_scalar import levels_of, scalar_codes, scalar_quantized
from models.layers.k_means import (
    Codes,
    Points,
    Sizes,
    drawn,
    k_means,
    look_up,
    nearest,
)
from models.layers.through import rotated, straight_through
from models.losses import Term

Kind = Literal["ema", "learned", "simvq", "fsq"]

CODEBOOKS: tuple[Kind, ...] = ("ema", "learned", "simvq")
_ACTS_WITH: Mapping[str, tuple[Kind, ...]] = {
    "code_size": CODEBOOKS,
    "stages": CODEBOOKS,
    "gradient": CODEBOOKS,
    "distance": CODEBOOKS,
    "start": CODEBOOKS,
    "commitment": CODEBOOKS,
    "decay": ("ema",),
    "revive_below": ("ema",),
}
_USAGE_DECAY = 0.99


@dataclass(frozen=True, kw_only=True)
class Quantization(Config):
    """How latents become tokens.

    Attributes:
        kind: Codes are averages of their latents (``ema``), parameters (``learned``), a
            trained linear map of fixed vectors (``simvq``), or the points of a fixed grid
            (``fsq``).
        bits: Of one token: a codebook has ``2**bits`` codes (a grid has at most as many).
        code_size: Numbers of a code; a grid's follow from its bits.
        stages: Codebooks one after the other, each for what the ones before left over; a
            token of each.
        gradient: Of the latents through the choice: as if there were none, or turned with it
            (see `models.layers.through`).
        distance: What is near: ``cosine`` puts latents and codes on the unit sphere.
        start: Codes begin anywhere between -1 and 1, at latents of the first batch, or at
            means of them.
        decay: Of the averages of ``ema``, a batch.
        commitment: Weight of the term that draws latents to their codes.
        revive_below: Fraction of the fair share of latents below which a code of ``ema`` begins
            anew; 0 never does.
    """

    kind: Kind = static("ema")
    bits: int = static(6, low=1, high=12)
    code_size: int = static(8, low=1)
    stages: int = static(1, low=1)
    gradient: Literal["straight_through", "rotation"] = static("straight_through")
    distance: Literal["euclidean", "cosine"] = static("euclidean")
    start: Literal["uniform", "data", "k_means"] = static("k_means")
    decay: float = traced(0.95, low=0.0, high=0.9999)
    commitment: float = traced(0.25, low=0.0)
    revive_below: float = traced(0.05, low=0.0, high=0.9)

    def validate(self) -> None:
        """Refuse what acts on nothing, and what cannot be meant."""
        for item in dataclasses.fields(self):
            acts = _ACTS_WITH.get(item.name, (self.kind,))
            if self.kind not in acts and getattr(self, item.name) != item.default:
                raise ConfigError(
                    f"`{item.name}` acts with codes of kind {', '.join(acts)}, got "
                    f"{getattr(self, item.name)!r} with `{self.kind}`",
                    hint=f"leave `{item.name}` out, or choose another kind",
                )
        if self.distance == "cosine" and self.stages > 1:
            raise ConfigError(
                "what one stage leaves over has a length, which `cosine` ignores, got "
                f"`stages` {self.stages}",
                hint='set `stages` to 1, or `distance` to "euclidean"',
            )
        if self.gradient == "rotation" and self.code_size < 2:
            raise ConfigError(
                f"a code of one number cannot be rotated, got `code_size` {self.code_size}",
                hint='raise `code_size`, or set `gradient` to "straight_through"',
            )

    @property
    def levels(self) -> tuple[int, ...]:
        """Of the grid of ``fsq``."""
        return levels_of(self.bits)

    @property
    def codes(self) -> int:
        """Codes of one codebook."""
        return math.prod(self.levels) if self.kind == "fsq" else 2**self.bits

    @property
    def size(self) -> int:
        """Numbers of a latent vector."""
        return len(self.levels) if self.kind == "fsq" else self.code_size

    @property
    def carried(self) -> float:
        """Bits that one vector is reduced to."""
        return self.stages * math.log2(self.codes)

    @property
    def begins_from_data(self) -> bool:
        """Whether codes begin at latents of the first batch."""
        return self.kind != "fsq" and self.start != "uniform"

    def check_start(self, latents: int) -> None:
        """Refuse codebooks that are larger than a first batch that they begin from.

        Args:
            latents: Of a batch, for each codebook.

        Raises:
            ConfigError: There are fewer latents than codes.
        """
        if self.begins_from_data and latents < self.codes:
            raise ConfigError(
                f"codes begin at latents of the first batch, of which there are {latents}, "
                f"got `bits` {self.bits}, which is {self.codes} codes",
                hint="lower `bits`, raise `data.batch_size`, or let codes begin `uniform`",
            )

    def terms(self, name: str = "quantizer") -> dict[str, Term]:
        """The loss terms of a model whose outputs hold ``code``: `Quantized.losses`.

        Args:
            name: Of this part of the family's configuration.
        """
        found = {}
        if self.kind in CODEBOOKS:
            found["commitment"] = Term(
                function=_mean_of("commitment"), weight=f"{name}.commitment"
            )
        if self.kind in ("learned", "simvq"):
            found["codebook"] = Term(function=_mean_of("codebook"))
        return found


def _mean_of(loss: str) -> Any:
    def term(outputs: Any, batch: Any, hyper: Any) -> Float[Array, ""]:
        return jnp.mean(outputs["code"][loss])

    return term


class Quantized(NamedTuple):
    """What a quantizer makes of latents ``[N, G, D]``.

    Attributes:
        codes: ``[N, G, D]``, with the gradient of the latents.
        tokens: ``[N, G, S]``, one a stage.
        commitment: Mean squared distance of latents from their codes, ``[N, G]``, with a
            gradient for the latents alone.
        codebook: The same with a gradient for the codes alone.
    """

    codes: Points
    tokens: Int[Array, "point group stage"]
    commitment: Float[Array, "point group"]
    codebook: Float[Array, "point group"]

    @property
    def losses(self) -> dict[str, Array]:
        """What `Quantization.terms` average, by name."""
        return {"commitment": self.commitment, "codebook": self.codebook}


class Quantizer(nnx.Module):
    """Replaces vectors by codes, for G kinds of vectors side by side.

    Args:
        config: How.
        groups: Kinds of vectors G, each with codes of its own.
        key: Randomness of codes that begin anywhere.
        name: Of this part of the family's configuration.
        sizes: By stage, how many of the codes each of the G codebooks has; None for all.
    """

    def __init__(
        self,
        *,
        config: Quantization,
        groups: int,
        key: Key[Array, ""],
        name: str = "quantizer",
        sizes: tuple[tuple[int, ...], ...] | None = None,
    ) -> None:
        self.config = config
        self.sizes = sizes or (None,) * config.stages
        self.usage = Average(config.stages, groups, config.codes)
        self.books: nnx.List[Any] = nnx.List([])
        if config.kind == "fsq":
            return
        shape = (config.stages, groups, config.codes, config.size)
        start = jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
        for vectors, stage in zip(start, self.sizes, strict=True):
            self.books.append(_codebook(config.kind, vectors, name, stage))

    def __call__(
        self, latents: Points, *, key: Key[Array, ""] | None = None
    ) -> Quantized:
        """The codes of latents ``[N, G, D]``; a key lets codebooks follow the latents."""
        if self.config.kind == "fsq":
            codes, tokens = scalar_quantized(latents, self.config.levels)
            found = Quantized(codes, tokens[..., None], *[jnp.zeros(tokens.shape)] * 2)
        else:
            found = self._nearest(self._placed(latents), key)
        if key is not None:
            self._count(found.tokens)
        return found

    def begin(self, latents: Points, key: Key[Array, ""]) -> None:
        """Put the codes where the latents of a first batch lie, as the configuration says."""
        rest = self._placed(latents)
        for stage, book in enumerate(self.books):
            codes = drawn(jax.random.fold_in(key, stage), rest, self.config.codes)
            if self.config.start == "k_means":
                codes = k_means(rest, codes, sizes=self.sizes[stage])
            book.begin(codes)
            codes = self._vectors(book)
            rest = rest - look_up(nearest(rest, codes, self.sizes[stage]), codes)

    def decode(self, tokens: Int[Array, "point group stage"]) -> Points:
        """The codes that tokens ``[N, G, S]`` stand for."""
        if self.config.kind == "fsq":
            return scalar_codes(tokens[..., 0], self.config.levels)
        pieces = [
            look_up(tokens[..., stage], self._vectors(book))
            for stage, book in enumerate(self.books)
        ]
        return sum(pieces[1:], pieces[0])

    def vectors(self) -> list[Codes]:
        """The codes ``[G, K, D]`` of every stage; of a grid all its points."""
        if self.config.kind != "fsq":
            return [self._vectors(book) for book in self.books]
        grid = scalar_codes(jnp.arange(self.config.codes), self.config.levels)
        groups = self.usage.sum[...].shape[1]
        return [jnp.broadcast_to(grid[None], (groups, *grid.shape))]

    def shares(self) -> Float[Array, "stage group code"]:
        """How often each code was chosen in the last 100 or so training batches."""
        counts = self.usage.value()
        total = jnp.sum(counts, axis=-1, keepdims=True)
        return counts / jnp.maximum(total, 1e-20)

    def usual(self) -> Float[Array, "group number"]:
        """The mean code, by how often each was chosen."""
        shares = self.shares()
        if self.config.kind == "fsq":
            grid = scalar_codes(jnp.arange(self.config.codes), self.config.levels)
            return shares[0] @ grid
        pieces = [
            jnp.einsum("gk,gkd->gd", shares[stage], self._vectors(book))
            for stage, book in enumerate(self.books)
        ]
        return sum(pieces[1:], pieces[0])

    def _nearest(self, latents: Points, key: Key[Array, ""] | None) -> Quantized:
        """Stage by stage the nearest code of what is left."""
        rest, total = latents, jnp.zeros_like(latents)
        tokens, commitment, codebook = [], [], []
        for stage, book in enumerate(self.books):
            vectors = self._vectors(book)
            chosen = nearest(rest, vectors, self.sizes[stage])
            codes = look_up(chosen, vectors)
            fixed = jax.lax.stop_gradient(codes)
            commitment.append(_apart(rest, fixed))
            codebook.append(_apart(jax.lax.stop_gradient(rest), codes))
            if key is not None:
                here = jax.random.fold_in(key, stage)
                book.follow(jax.lax.stop_gradient(rest), chosen, here)
            tokens.append(chosen)
            rest, total = rest - fixed, total + fixed
        through = rotated if self.config.gradient == "rotation" else straight_through
        return Quantized(
            through(latents, total),
            jnp.stack(tokens, -1),
            sum(commitment),
            sum(codebook),
        )

    def _vectors(self, book: Codebook) -> Codes:
        return self._placed(book.vectors())

    def _placed(self, vectors: Array) -> Array:
        """On the unit sphere, where distances are those of directions."""
        if self.config.distance == "euclidean" or self.config.kind == "fsq":
            return vectors
        squares = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
        return vectors * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))

    def _count(self, tokens: Int[Array, "point group stage"]) -> None:
        chosen = jax.nn.one_hot(tokens, self.config.codes)
        self.usage.add(jnp.sum(chosen, axis=0).swapaxes(0, 1), _USAGE_DECAY)


def perplexities(
    shares: Float[Array, "stage group code"],
) -> Float[Array, "stage group"]:
    """``exp(entropy)``: how many codes equally often chosen would tell as much."""
    logs = jnp.log(jnp.where(shares > 0, shares, jnp.ones_like(shares)))
    return jnp.exp(-jnp.sum(shares * logs, axis=-1))


def _codebook(kind: Kind, vectors: Codes, name: str, sizes: Sizes) -> Codebook:
    if kind == "ema":
        return AveragedCodebook(vectors, name=name, sizes=sizes)
    return LearnedCodebook(vectors) if kind == "learned" else LinearCodebook(vectors)


def _apart(first: Points, second: Points) -> Float[Array, "point group"]:
    return jnp.mean(jnp.square(first - second), axis=-1)
