"""Where the tokens of a key lie in a sequence, and what shape its array had."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

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
        TokenError: One is not.
    """
    names, there = tuple(keys), list(known)
    for key in names:
        if key not in there:
            raise TokenError(
                f"Key {key!r} not found. Available keys: {there}",
                hint="ask for some of these",
            )
    return names


def total(slices: Slices) -> int:
    """Tokens of all keys."""
    return sum(info.count for info in slices.values())


def rebased(slices: Slices, keys: Iterable[str]) -> dict[str, SliceInfo]:
    """The slices of some keys, side by side from 0 on.

    Raises:
        TokenError: A key is unknown.
    """
    found, offset = {}, 0
    for key in require_keys(keys, slices):
        found[key] = replace(slices[key], offset=offset)
        offset += found[key].count
    return found


def require_total(slices: Slices, flat: Any) -> None:
    """Refuse a flat array ``[…, token, value]`` of another number of tokens.

    Raises:
        TokenError: It has.
    """
    if (wanted := total(slices)) != flat.shape[-2]:
        raise TokenError(
            f"Slice metadata specifies {wanted} tokens but flat array has "
            f"{flat.shape[-2]} tokens",
            hint="decode an array with the tokens, or the view of them, that it came from",
        )


def static_shape(array: Any) -> tuple[int, ...]:
    """An array's shape, of which every length is known while tracing.

    Raises:
        TokenError: One is not.
    """
    shape = tuple(array.shape)
    if not all(isinstance(length, int) for length in shape):
        raise TokenError(
            "Dynamic shape detected in JIT context. Ensure all shapes are statically known.",
            hint=f"got {shape}; pad to the largest and tell the lengths by `event_shapes`",
        )
    return shape
