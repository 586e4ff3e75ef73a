"""Where the tokens of a key lie in a sequence, and what shape its array had."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.errors import TokenError


@dataclass(frozen=True)
class SliceInfo:
    """One key's place.

    Attributes:
        offset: Its first token.
        event_shape: Axes whose elements are the tokens.
        batch_shape: Axes of a token's vector of values.
    """

    offset: int
    event_shape: tuple[int, ...]
    batch_shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many tokens there are."""
        return math.prod(self.event_shape)

    @property
    def width(self) -> int:
        """Numbers of each."""
        return math.prod(self.batch_shape)

    @property
    def place(self) -> slice:
        """The tokens along their axis."""
        return slice(self.offset, self.offset + self.count)


Slices = Mapping[str, SliceInfo]


def require_keys(keys: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """The keys, all of which are known.

    Raises:
        TokenError: One is not, or they are a single text, whose letters nobody means.
    """
    if isinstance(keys, str):
        raise TokenError(
            f"Keys are a list of names, got the text {keys!r}",
            hint=f"ask for [{keys!r}]",
        )
    names, there = tuple(keys), list(known)
    for key in names:
        if key not in there:
            raise TokenError(
                f"Key {key!r} not found. Available keys: {there}",
                hint="ask for some of these",
            )
    return names


def different_keys(keys: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """As `require_keys`, of keys whose tokens lie side by side: each comes once.

    Raises:
        TokenError: One is unknown, or comes twice.
    """
    names = require_keys(keys, known)
    for key in names:
        if names.count(key) > 1:
            raise TokenError(
                f"Key {key!r} is asked for {names.count(key)} times in {list(names)}",
                hint="name every key once",
            )
    return names


def total(slices: Slices) -> int:
    """Tokens of all keys."""
    return sum(info.count for info in slices.values())


def rebased(slices: Slices, keys: Iterable[str]) -> dict[str, SliceInfo]:
    """The slices of some keys, side by side from 0 on.

    Raises:
        TokenError: A key is unknown, or comes twice.
    """
    found, offset = {}, 0
    for key in different_keys(keys, slices):
        found[key] = replace(slices[key], offset=offset)
        offset += found[key].count
    return found


def require_total(slices: Slices, flat: Any) -> None:
    """Refuse a flat array ``[…, token, value]`` of another number of tokens, or narrower ones.

    Raises:
        TokenError: It has.
    """
    shape = tuple(np.shape(flat))
    if len(shape) < 2:
        raise TokenError(
            f"A flat array has axes of tokens and values, got the shape {shape}",
            hint="give it as [*sample, token, value]",
        )
    if (wanted := total(slices)) != shape[-2]:
        raise TokenError(
            f"Slice metadata specifies {wanted} tokens but flat array has "
            f"{shape[-2]} tokens",
            hint="decode an array with the tokens, or the view of them, that it came from",
        )
    for key, info in slices.items():
        if info.width > shape[-1]:
            raise TokenError(
                f"Tokens of {key!r} hold {info.width} values but those of the flat array "
                f"{shape[-1]}",
                hint="values are padded to the widest key: see `flatten_pytree`",
            )


def static_shape(array: Any) -> tuple[int, ...]:
    """The shape of an array, or of a list of numbers, every length known while tracing.

    Raises:
        TokenError: One is not.
    """
    shape = tuple(array.shape if hasattr(array, "shape") else np.shape(array))
    if not all(isinstance(length, int) for length in shape):
        raise TokenError(
            "Dynamic shape detected in JIT context. Ensure all shapes are statically known.",
            hint=f"got {shape}; pad to the largest and tell the lengths by `event_shapes`",
        )
    return shape
