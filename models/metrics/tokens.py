"""What tokens of rows tell: how many codes are used, how evenly, and what tokens share.

Outputs hold ``usage``: ``counts`` ``[Q, K]``, how many rows of the batch chose each code of each of
Q codebooks, and ``pairs`` ``[L, G, G, K, K]``, how many chose two codes of two categories together,
level by level. Codebooks may have fewer than K codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from models.losses.elementwise import only

Table = Float[Array, "codebook code"]


def token_counts(
    tokens: Int[Array, "batch group level"], codes: int
) -> dict[str, Array]:
    """``usage`` of a batch.

    Args:
        tokens: Of its rows.
        codes: Of the largest codebook.
    """
    rows, groups, levels = tokens.shape
    flat = tokens.reshape(rows, -1) + codes * jnp.arange(groups * levels)[None]
    counts = jnp.zeros(groups * levels * codes).at[flat.reshape(-1)].add(1.0)
    first = tokens.transpose(2, 0, 1)
    which = jnp.arange(groups)[:, None] * groups + jnp.arange(groups)[None]
    place = (which[None, None] * codes + first[:, :, :, None]) * codes
    place = place + first[:, :, None]
    level = jnp.arange(levels)[:, None, None, None] * (groups * codes) ** 2
    pairs = jnp.zeros(levels * (groups * codes) ** 2)
    pairs = pairs.at[(place + level).reshape(-1)].add(1.0)
    return {
        "counts": counts.reshape(groups * levels, codes),
        "pairs": pairs.reshape(levels, groups, groups, codes, codes),
    }


class Counted:
    """A number told by how often every code was chosen, over all that is shown.

    Args:
        name: What it is reported as.
        function: ``[Q, K]`` counts → the number.
    """

    def __init__(self, *, name: str, function: Callable[[Table], Array]) -> None:
        self.name, self.function = name, function

    def init(self, outputs: Mapping[str, Any], batch: Mapping[str, Array]) -> Table:
        """The empty accumulator."""
        return jnp.zeros_like(outputs["usage"]["counts"])

    def update(
        self, state: Table, outputs: Mapping[str, Any], batch: Mapping[str, Array]
    ) -> Table:
        """Add the rows of one batch."""
        return state + outputs["usage"]["counts"]

    def finish(self, state: Table) -> Float[Array, ""]:
        """The number."""
        return self.function(state)


class SharedInformation:
    """Normalized mutual information of categories' tokens of one level, over all that is shown.

    ``I(a, b) / √(H(a) H(b))``, 0 where a category has one code only; the mean over levels. Few
    rows make it too large: by about ``(K - 1)² / (2 N)`` nats.

    Args:
        name: What it is reported as.
        reduce: The matrix ``[G, G]`` → the number.

    Source: Strehl and Ghosh 2002, "Cluster ensembles", equation 2.
    """

    def __init__(
        self, *, name: str, reduce: Callable[[Float[Array, "group other"]], Array]
    ) -> None:
        self.name, self.reduce = name, reduce

    def init(self, outputs: Mapping[str, Any], batch: Mapping[str, Array]) -> Array:
        """The empty accumulator."""
        return jnp.zeros_like(outputs["usage"]["pairs"])

    def update(
        self, state: Array, outputs: Mapping[str, Any], batch: Mapping[str, Array]
    ) -> Array:
        """Add the rows of one batch."""
        return state + outputs["usage"]["pairs"]

    def finish(self, state: Array) -> Float[Array, ""]:
        """The number."""
        return self.reduce(jnp.mean(shared_information(state), axis=0))


class Explained:
    """R² of some columns against predicting the train mean, pooled over them.

    Args:
        name: What it is reported as.
        columns: Which.
        signal: Name in outputs and batch, ``[B, D]``.
        mask: Name in the batch, of what is scored.
        mean: Of train, per column.
        std: Likewise.
    """

    def __init__(
        self,
        *,
        name: str,
        columns: tuple[int, ...],
        signal: str,
        mask: str,
        mean: np.ndarray,
        std: np.ndarray,
    ) -> None:
        self.name, self.columns = name, np.array(columns)
        self.signal, self.mask, self.mean, self.std = signal, mask, mean, std

    def init(self, outputs: Mapping[str, Any], batch: Mapping[str, Array]) -> Array:
        """The empty accumulator: squares that are left, and all of them."""
        return jnp.zeros((2,), batch[self.signal].dtype)

    def update(
        self, state: Array, outputs: Mapping[str, Any], batch: Mapping[str, Array]
    ) -> Array:
        """Add the rows of one batch."""
        found, wanted = (
            values[self.signal][:, self.columns] for values in (outputs, batch)
        )
        mask = jnp.broadcast_to(batch[self.mask], batch[self.signal].shape)
        found, wanted = only(mask[:, self.columns], found, wanted)
        mean, std = (
            jnp.asarray(of[self.columns], wanted.dtype)[None]
            for of in (self.mean, self.std)
        )
        apart = jnp.where(mask[:, self.columns], (wanted - mean) / std, 0.0)
        left = jnp.square((found - wanted) / std)
        return state + jnp.stack([jnp.sum(left), jnp.sum(jnp.square(apart))])

    def finish(self, state: Array) -> Float[Array, ""]:
        """R²; NaN where nothing varies."""
        return 1.0 - state[0] / state[1]


def entropies(counts: Table) -> Float[Array, " codebook"]:
    """Nats of every codebook's use."""
    total = jnp.sum(counts, axis=-1, keepdims=True)
    return _nats(counts / jnp.maximum(total, 1.0), (-1,))


def shared_information(
    pairs: Float[Array, "level group other code second"],
) -> Float[Array, "level group other"]:
    """Normalized mutual information of every two categories, from their contingency tables."""
    total = jnp.maximum(jnp.sum(pairs, axis=(-1, -2), keepdims=True), 1.0)
    joint = pairs / total
    first, second = (_nats(jnp.sum(joint, axis=axis), (-1,)) for axis in (-1, -2))
    mutual = first + second - _nats(joint, (-1, -2))
    scale = first * second
    several = scale > 1e-12
    return jnp.where(several, mutual / jnp.sqrt(jnp.where(several, scale, 1.0)), 0.0)


def _nats(shares: Array, axes: tuple[int, ...]) -> Array:
    """The entropy of shares that add up to 1 over some axes."""
    logs = jnp.log(jnp.where(shares > 0, shares, 1.0))
    return -jnp.sum(shares * logs, axis=axes)


def usage_metrics(
    *, groups: tuple[str, ...], counts: tuple[int, ...]
) -> tuple[Counted | SharedInformation, ...]:
    """Everything that is told of the tokens of some rows.

    ``train_rows`` N; ``use``, the mean share of codes that were chosen; ``dead`` codes of all
    codebooks; ``perplexity``, its mean; ``perplexity_share``, the least over codebooks of
    perplexity / K, also by category; ``bits``, the sum of the codebooks' entropies; ``nmi``, the
    mean over pairs of categories, and by category with the others.

    Args:
        groups: Names of the categories.
        counts: Codes of every codebook, category by category.
    """
    codes = np.array(counts, float)
    levels = len(counts) // len(groups)

    def shares(table: Table) -> Float[Array, " codebook"]:
        return jnp.exp(entropies(table)) / jnp.asarray(codes, table.dtype)

    def used(table: Table) -> Float[Array, " codebook"]:
        chosen = jnp.sum(table > 0, axis=-1, dtype=jnp.int32)
        return chosen.astype(table.dtype)

    def by_group(group: int) -> Counted:
        own = slice(group * levels, (group + 1) * levels)
        return Counted(
            name=f"perplexity_share.{groups[group]}",
            function=lambda table: jnp.min(shares(table)[own]),
        )

    def together(group: int) -> SharedInformation:
        others = np.arange(len(groups)) != group
        return SharedInformation(
            name=f"nmi.{groups[group]}",
            reduce=lambda found: jnp.mean(found[group][others]),
        )

    found: list[Counted | SharedInformation] = [
        Counted(name="train_rows", function=lambda t: jnp.sum(t[0])),
        Counted(
            name="use",
            function=lambda t: jnp.mean(used(t) / jnp.asarray(codes, t.dtype)),
        ),
        Counted(name="dead", function=lambda t: float(codes.sum()) - jnp.sum(used(t))),
        Counted(name="perplexity", function=lambda t: jnp.mean(jnp.exp(entropies(t)))),
        Counted(name="perplexity_share", function=lambda t: jnp.min(shares(t))),
        Counted(name="bits", function=lambda t: jnp.sum(entropies(t)) / np.log(2.0)),
        *(by_group(group) for group in range(len(groups))),
    ]
    if len(groups) > 1:
        upper = np.triu_indices(len(groups), 1)
        mean = SharedInformation(name="nmi", reduce=lambda f: jnp.mean(f[upper]))
        found += [mean, *(together(group) for group in range(len(groups)))]
    return tuple(found)
