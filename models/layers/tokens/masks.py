"""Who may read whom, by what a model says of independence; and which tokens there are.

A mask ``M[i, j]`` is true where token i, a query, may attend to token j, a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from models.errors import TokenError, near_matches
from models.layers.tokens.slices import SliceInfo, Slices, require_keys, total

Link = tuple[str, str, tuple[int, int] | None]


@dataclass(frozen=True)
class Independence:
    """What does not depend on what.

    Attributes:
        local: Keys whose tokens read nothing of their own key, themselves included.
        cross: Pairs (a, b): tokens of a read nothing of b. The other direction is a pair of
            its own.
        cross_local: Triples (a, b, axes): in both directions only tokens whose coordinate
            along axis ``axes[0]`` of a equals that along ``axes[1]`` of b read each other;
            None for tokens of the same number, of as many.
    """

    local: tuple[str, ...] = ()
    cross: tuple[tuple[str, str], ...] = ()
    cross_local: tuple[Link, ...] = ()

    @classmethod
    def of(cls, rules: Independence | Mapping[str, Any] | None) -> Self:
        """From a mapping of the same names; None is no rule.

        Raises:
            TokenError: There is another name, or a rule is of another form.
        """
        names = ("local", "cross", "cross_local")
        if isinstance(rules, Independence):
            rules = {name: getattr(rules, name) for name in names}
        for name in rules or {}:
            if name not in names:
                raise TokenError(
                    f"Independence has no rule {name!r}", hint=near_matches(name, names)
                )
        try:
            given = dict(rules or {})
            if isinstance(given.get("local"), str):
                raise TypeError("a text is no list of keys")
            return cls(
                local=tuple(given.get("local", ())),
                cross=tuple((a, b) for a, b in given.get("cross", ())),
                cross_local=tuple(
                    (a, b, None if axes is None else _pair(*axes))
                    for a, b, axes in given.get("cross_local", ())
                ),
            )
        except (TypeError, ValueError) as error:
            raise TokenError(
                f"Rules of independence have another form than {rules}",
                hint='"local": [key], "cross": [(a, b)], "cross_local": [(a, b, (0, 0))] or '
                "(a, b, None)",
            ) from error

    def require(self, keys: Any) -> None:
        """Refuse rules about keys that there are not.

        Raises:
            TokenError: There is one.
        """
        pairs = (*self.cross, *(link[:2] for link in self.cross_local))
        require_keys((*self.local, *(k for pair in pairs for k in pair)), keys)


Rules = Independence | Mapping[str, Any] | None


def _pair(first: Any, second: Any) -> tuple[int, int]:
    return int(first), int(second)


def build_self_attention_mask(
    slices: Slices, independence: Rules
) -> Bool[Array, "token token"]:
    """Every token reads every other, but for `cross`, then `local`, then `cross_local`.

    A token that is left with nothing to read reads nothing: its row is false.

    Args:
        slices: Where each key's tokens lie.
        independence: The rules; those of keys that are not there do not count.

    Raises:
        TokenError: Linked axes have different lengths.
    """
    rules = Independence.of(independence)
    mask = np.ones((total(slices), total(slices)), bool)
    for a, b in rules.cross:
        if a in slices and b in slices:
            mask[slices[a].place, slices[b].place] = False
    for key in rules.local:
        if key in slices:
            mask[slices[key].place, slices[key].place] = False
    for a, b, axes in rules.cross_local:
        if a in slices and b in slices:
            linked = _linked((a, slices[a]), (b, slices[b]), axes)
            linked = linked | linked.T if a == b else linked  # both directions in one
            mask[slices[a].place, slices[b].place] = linked
            mask[slices[b].place, slices[a].place] = linked.T
    return jnp.asarray(mask)


def build_cross_attention_mask(
    query: Slices, key: Slices, independence: Rules
) -> Bool[Array, "query key"]:
    """Queries of some keys read tokens of others: `cross` and `cross_local` as stated.

    A rule counts where its first key is among the queries and its second among those that are
    read; `local` does not count.

    Args:
        query: The queries' slices, from 0.
        key: Likewise of what they read.
        independence: The rules.

    Raises:
        TokenError: Linked axes have different lengths.
    """
    rules = Independence.of(independence)
    mask = np.ones((total(query), total(key)), bool)
    for a, b in rules.cross:
        if a in query and b in key:
            mask[query[a].place, key[b].place] = False
    for a, b, axes in rules.cross_local:
        if a in query and b in key:
            linked = _linked((a, query[a]), (b, key[b]), axes)
            mask[query[a].place, key[b].place] = linked
    return jnp.asarray(mask)


def build_padding_mask(
    slices: Slices,
    event_shapes: Mapping[str, Any],
    *,
    samples: tuple[int, ...] | None = None,
) -> Bool[Array, "*sample token"]:
    """Which tokens there are: all of whose coordinates are below the actual lengths.

    Args:
        slices: Where each key's tokens lie, in the padded shape.
        event_shapes: Key to its actual lengths ``[*sample, axes of the event]``; a key that
            is not named is whole. They may be traced.
        samples: Lengths of the sample axes; those of `event_shapes` by default.

    Raises:
        TokenError: A key is unknown or has another number of axes or samples, or its lengths,
            where they are known, are negative or exceed the padded shape.
    """
    require_keys(event_shapes, slices)
    of = {key: jnp.shape(sizes)[:-1] for key, sizes in event_shapes.items()}
    try:
        every = np.broadcast_shapes(samples or (), *of.values())
    except ValueError:
        every = None
    if every is None or samples not in (None, every):
        raise TokenError(
            f"Lengths are told for samples {of}"
            + ("" if samples is None else f", but there are {samples}"),
            hint="tell the lengths of every sample, or without sample axes those of all",
        )
    samples = every
    pieces = []
    for key, info in slices.items():
        there = jnp.ones((*samples, info.count), bool)
        if key in event_shapes:
            sizes = _checked_lengths(key, info, event_shapes[key])
            inside = _coordinates(info).reshape(
                *(1,) * (sizes.ndim - 1), info.count, -1
            )
            fits = jnp.all(inside < sizes[..., None, :], axis=-1)
            there = jnp.broadcast_to(fits, there.shape)
        pieces.append(there)
    return jnp.concatenate(pieces, axis=-1)


def _checked_lengths(key: str, info: SliceInfo, lengths: Any) -> Array:
    sizes = jnp.asarray(lengths)
    if not jnp.issubdtype(sizes.dtype, jnp.integer):
        raise TokenError(
            f"Lengths of {key!r} must be whole numbers, got {sizes.dtype}",
            hint="count the tokens along each axis",
        )
    sizes = sizes.astype(jnp.int32)
    if sizes.ndim < 1 or sizes.shape[-1] != len(info.event_shape):
        raise TokenError(
            f"Lengths of {key!r} have shape {tuple(sizes.shape)} but its tokens have the axes "
            f"{info.event_shape}",
            hint="tell one length for every axis of the event, last",
        )
    if not isinstance(lengths, jax.core.Tracer):
        known = np.asarray(sizes).reshape(-1, sizes.shape[-1])
        if (known < 0).any():
            raise TokenError(
                f"{key!r} has {int(known.min())} tokens along an axis, fewer than none",
                hint="tell 0 where there are none",
            )
        largest = known.max(axis=0, initial=0)
        if (largest > info.event_shape).any():
            raise TokenError(
                f"{key!r} has up to {tuple(largest.tolist())} tokens along its axes, but is "
                f"padded to {info.event_shape}",
                hint="pad to the largest there is",
            )
    return sizes


def _linked(
    first: tuple[str, SliceInfo],
    second: tuple[str, SliceInfo],
    axes: tuple[int, int] | None,
) -> np.ndarray:
    """Which tokens of two keys belong together."""
    (a, one), (b, two) = first, second
    if axes is None:
        if one.count != two.count:
            raise TokenError(
                f"Cannot apply cross_local independence: {a!r} has {one.count} tokens but "
                f"{b!r} has {two.count}",
                hint="name the axes that are linked: (a, b, (0, 0))",
            )
        return np.eye(one.count, dtype=bool)
    for (key, info), axis in zip((first, second), axes, strict=True):
        if not 0 <= axis < len(info.event_shape):
            raise TokenError(
                f"Cannot apply cross_local independence: {key!r} has no dimension {axis}, "
                f"its tokens have the axes {info.event_shape}",
                hint="axes count from 0, without those of samples and values",
            )
    p, q = axes
    sizes = one.event_shape[p], two.event_shape[q]
    if sizes[0] != sizes[1]:
        raise TokenError(
            f"Cannot apply cross_local independence: dimension {p} of {a!r} has size "
            f"{sizes[0]} but dimension {q} of {b!r} has size {sizes[1]}",
            hint="link axes of equal length",
        )
    return _coordinates(one)[:, None, p] == _coordinates(two)[None, :, q]


def _coordinates(info: SliceInfo) -> np.ndarray:
    """Coordinates ``[token, axis]`` of every token in its event."""
    grid = np.indices(info.event_shape, dtype=np.int32)
    return grid.reshape(len(info.event_shape), info.count).T
