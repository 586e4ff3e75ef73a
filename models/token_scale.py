"""What the estimator over tokens takes, and the units in which its network sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from models.errors import TokenError
from models.layers.tokens import MISSING, Tokens

Moments: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Means and deviations of the columns of a table; a deviation of 0 is 1."""


@dataclass(frozen=True)
class TokenScale:
    """What tokens are standardized by: moments over samples and the tokens of a key.

    Attributes:
        values: Of each key's values.
        inputs: Of functional inputs, over the tokens that have some; None for no inputs.
    """

    values: Mapping[str, Moments]
    inputs: Moments | None

    @classmethod
    def of(cls, tokens: Tokens, rows: int) -> TokenScale:
        """The moments of the first rows.

        Args:
            tokens: With one sample axis.
            rows: How many of its samples.
        """
        there, found = _tokens_there(tokens)[:rows], {}
        for key, info in tokens.slices.items():
            values = np.asarray(tokens.data[:rows, info.place, : info.width])
            found[key] = _moments(values[there[:, info.place]])
        given = tokens.functional_inputs
        if given is None:
            return cls(found, None)
        inputs = np.asarray(given[:rows])[there]
        return cls(found, _moments(np.where(inputs > MISSING / 2, inputs, np.nan)))

    def tables(self, tokens: Tokens) -> tuple[Array, Array]:
        """Mean and deviation of every number ``[token, value]``; 0 and 1 of padding.

        Raises:
            TokenError: A key holds more or fewer values than those fitted to.
        """
        shape = tokens.data.shape[-2:]
        mean, std = np.zeros(shape), np.ones(shape)
        for key, info in tokens.slices.items():
            wanted = len(self.values[key][0])
            if info.width != wanted:
                raise TokenError(
                    f"Tokens of {key!r} hold {info.width} values but those fitted to "
                    f"{wanted}",
                    hint="give tokens of the same structure; only their number may differ",
                )
            place = (info.place, slice(info.width))
            mean[place], std[place] = self.values[key]
        dtype = tokens.data.dtype
        return jnp.asarray(mean, dtype), jnp.asarray(std, dtype)

    def standardized(self, tokens: Tokens) -> Tokens:
        """The tokens in deviations; zeros where none is.

        Raises:
            TokenError: Their values or inputs are more or fewer than those fitted to.
        """
        mean, std = self.tables(tokens)
        values = (tokens.data - mean[None]) / std[None]
        if tokens.padding_mask is not None:
            values = jnp.where(tokens.padding_mask[..., None], values, 0.0)
        given = tokens.functional_inputs
        counts = [
            0 if given is None else given.shape[-1],
            0 if self.inputs is None else len(self.inputs[0]),
        ]
        if counts[0] != counts[1]:
            raise TokenError(
                f"Tokens have {counts[0]} functional inputs but those fitted to {counts[1]}",
                hint="make them by `from_pytree` with the same `functional_inputs`",
            )
        if given is not None and self.inputs is not None:
            mean, std = (jnp.asarray(a, given.dtype) for a in self.inputs)
            known = (given - mean[None, None]) / std[None, None]
            given = jnp.where(given > MISSING / 2, known, MISSING)
        return tokens.replaced(data=values, functional_inputs=given)


def _moments(rows: np.ndarray) -> Moments:
    """Of a table ``[row, column]`` in which NaN stands for nothing."""
    seen = np.isfinite(rows)
    count = np.maximum(seen.sum(axis=0), 1)
    mean = np.where(seen, rows, 0).sum(axis=0, dtype=np.float64) / count
    away = np.where(seen, rows - mean, 0.0)
    std = np.sqrt((away**2).sum(axis=0) / count)
    return mean, np.where(std > 0, std, 1.0)


def _tokens_there(tokens: Tokens) -> Bool[np.ndarray, "sample token"]:
    if tokens.padding_mask is None:
        return np.ones(tokens.data.shape[:2], bool)
    return np.asarray(tokens.padding_mask)


def require_rows(tokens: Any) -> None:
    """Refuse what are no tokens of one sample axis.

    Args:
        tokens: Whatever was given.

    Raises:
        TokenError: They are something else.
    """
    if not isinstance(tokens, Tokens) or tokens.data.ndim != 3:
        got = (
            f"data of shape {tokens.data.shape}"
            if isinstance(tokens, Tokens)
            else type(tokens).__name__
        )
        raise TokenError(
            f"An estimator takes Tokens with one sample axis, got {got}",
            hint="make them by `Tokens.from_pytree(…, sample_ndims=1)`",
        )


def require_finite(tokens: Tokens, keys: Iterable[str]) -> None:
    """Refuse tokens that are there and hold NaN or infinity, or whose inputs do.

    Args:
        tokens: With one sample axis.
        keys: Those that matter.

    Raises:
        TokenError: There are such.
    """
    there = _tokens_there(tokens)
    for key in keys:
        place = tokens.slices[key].place
        values = [tokens.data, tokens.functional_inputs]
        bad = sum(
            ~np.isfinite(np.asarray(a[:, place])).all(axis=-1) & there[:, place]
            for a in values
            if a is not None
        )
        if rows := int(np.any(bad, axis=-1).sum()):
            raise TokenError(
                f"{key!r} has NaN or infinity in {rows} of {len(there)} samples",
                hint="leave these samples out, or tell by `event_shapes` which tokens there "
                "are",
            )
