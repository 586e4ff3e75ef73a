"""Named arrays as one sequence of tokens, and back."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from models.errors import TokenError
from models.layers.tokens.slices import (
    SliceInfo,
    Slices,
    rebased,
    require_keys,
    require_total,
    static_shape,
)

_REAL = (jnp.floating, jnp.integer, jnp.bool_)
MISSING = -1e8
"""Stands for the functional inputs of a token that has none."""
WIDE = 2.0
"""Widest over narrowest vector of values above which padding is warned of."""


def flatten_pytree(
    data: Mapping[str, Any],
    *,
    sample_ndims: int = 1,
    batch_ndims: int | Mapping[str, int] = 1,
    warn_above: float = WIDE,
) -> tuple[Float[Array, "*sample token value"], dict[str, SliceInfo]]:
    """Arrays side by side as tokens, in the mapping's order.

    Args:
        data: Key to ``[*sample, *event, *batch]``; samples are those of all.
        sample_ndims: Leading axes that are samples.
        batch_ndims: Trailing axes that are a token's values: of all keys, or by key (1 for
            those not named).
        warn_above: Warn where the widest vector of values is so many times the narrowest.

    Returns:
        The tokens, values padded with zeros on the right, and each key's slice.

    Raises:
        TokenError: There is nothing, an array has too few axes or holds no real numbers,
            samples differ, or `batch_ndims` names another key.
    """
    if not isinstance(data, Mapping) or not data:
        raise TokenError(
            f"Tokens are made of a mapping of keys to arrays, got {_told(data)}",
            hint='name one, at least: {"theta": [n, …, 1]}',
        )
    if not isinstance(batch_ndims, int):
        require_keys(batch_ndims, data)
    slices, offset, samples = {}, 0, None
    for key, array in data.items():
        shape = static_shape(array)
        trailing = (
            batch_ndims if isinstance(batch_ndims, int) else batch_ndims.get(key, 1)
        )
        inner = len(shape) - trailing
        if inner < sample_ndims or min(trailing, sample_ndims) < 0:
            raise TokenError(
                f"{key!r} of shape {shape} has no room for {sample_ndims} sample and "
                f"{trailing} batch dimensions",
                hint="add an axis of length 1, or lower `batch_ndims` of this key",
            )
        samples = shape[:sample_ndims] if samples is None else samples
        if shape[:sample_ndims] != samples:
            raise TokenError(
                f"All keys have the same samples {samples}, but {key!r} has "
                f"{shape[:sample_ndims]}",
                hint="draw as many of each",
            )
        slices[key] = SliceInfo(offset, shape[sample_ndims:inner], shape[inner:])
        offset += slices[key].count
    widths = [info.width for info in slices.values()]
    ratio = max(widths) / max(min(widths), 1)
    if ratio > warn_above:
        warnings.warn(
            f"Batch size padding ratio is {ratio:.1f}x, consider restructuring data",
            stacklevel=2,
        )
    pieces = [
        _padded(numbers(data[k], k), info, sample_ndims, max(widths))
        for k, info in slices.items()
    ]
    return jnp.concatenate(pieces, axis=-2), slices


def decode_pytree(
    flat: Float[Array, "*sample token value"],
    slices: Slices,
    keys: Iterable[str] | None = None,
) -> dict[str, Array]:
    """The arrays behind tokens, the inverse of `flatten_pytree`.

    Args:
        flat: ``[*sample, token, value]`` of all the keys.
        slices: As `flatten_pytree` gave them.
        keys: Only these of them.

    Raises:
        TokenError: The number of tokens is another, they are too narrow, or a key is unknown.
    """
    require_total(slices, flat)
    flat, found = jnp.asarray(flat), {}
    for key in require_keys(slices if keys is None else keys, slices):
        info = slices[key]
        piece = flat[..., info.place, : info.width]
        found[key] = piece.reshape(
            *flat.shape[:-2], *info.event_shape, *info.batch_shape
        )
    return found


def decode_some(
    flat: Float[Array, "*sample token value"], slices: Slices, keys: Iterable[str]
) -> dict[str, Array]:
    """As `decode_pytree`, of an array that holds the tokens of these keys and no others.

    Raises:
        TokenError: The number of tokens is another, or a key is unknown.
    """
    return decode_pytree(flat, rebased(slices, keys))


def update_flat_array(
    flat: Float[Array, "*sample token value"], slices: Slices, values: Mapping[str, Any]
) -> Float[Array, "*sample token value"]:
    """Tokens with the arrays of some keys replaced.

    Args:
        flat: All tokens.
        slices: Each key's.
        values: Key to ``[*sample, *event, *batch]``.

    Raises:
        TokenError: A key is unknown, or an array has another shape than before.
    """
    require_total(slices, flat)
    samples = flat.shape[:-2]
    for key in require_keys(values, slices):
        info, array = slices[key], numbers(values[key], key)
        wanted = (*samples, *info.event_shape, *info.batch_shape)
        if static_shape(array) != wanted:
            raise TokenError(
                f"New values of {key!r} have shape {tuple(array.shape)} but its tokens hold "
                f"{wanted}",
                hint="make new tokens by `from_pytree` where the structure changes",
            )
        piece = _padded(array, info, len(samples), flat.shape[-1])
        flat = flat.at[..., info.place, :].set(piece.astype(flat.dtype))
    return flat


def flatten_functional_inputs(
    inputs: Mapping[str, Any], slices: Slices, *, samples: tuple[int, ...]
) -> Float[Array, "*sample token input"] | None:
    """What is known of each token besides its values; `MISSING` where there is nothing.

    Args:
        inputs: Key to ``[*sample, *event, F]``; F may differ.
        slices: Every key's.
        samples: Lengths of the sample axes.

    Returns:
        None where no key has any.

    Raises:
        TokenError: A key is unknown, its samples are others, or its event is another than
            that of its tokens.
    """
    require_keys(inputs, slices)
    if not inputs:
        return None
    arrays = {key: numbers(array, key) for key, array in inputs.items()}
    for key, array in arrays.items():
        _require_beside(key, static_shape(array), slices[key], samples)
    width = max(array.shape[-1] for array in arrays.values())
    pieces = []
    for key, info in slices.items():
        if key not in arrays:
            pieces.append(jnp.full((*samples, info.count, width), MISSING))
            continue
        array = arrays[key]
        flat = array.reshape(*samples, info.count, array.shape[-1])
        gap = [(0, 0)] * (flat.ndim - 1) + [(0, width - flat.shape[-1])]
        pieces.append(jnp.pad(flat, gap, constant_values=MISSING))
    return jnp.concatenate(pieces, axis=-2)


def numbers(array: Any, key: str) -> Array:
    """A key's array in the type of all tokens, JAX's default of real numbers.

    Args:
        array: Real numbers, whole numbers or truths; whole ones beyond 2²⁴ are rounded in
            single precision.
        key: For the message.

    Raises:
        TokenError: It holds something else.
    """
    if not hasattr(array, "dtype"):
        array = np.asarray(array)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in _REAL):
        raise TokenError(
            f"{key!r} must hold real numbers, got {array.dtype}",
            hint="take complex numbers apart into two values; number what are names",
        )
    return jnp.asarray(array, jnp.zeros(()).dtype)


def _told(data: Any) -> str:
    return f"{dict(data)}" if isinstance(data, Mapping) else type(data).__name__


def _require_beside(
    key: str, shape: tuple[int, ...], info: SliceInfo, samples: tuple[int, ...]
) -> None:
    """Refuse functional inputs that do not lie beside their tokens."""
    event = shape[len(samples) : -1]
    if event != info.event_shape or len(shape) <= len(samples):
        raise TokenError(
            f"Functional input {key!r} has shape {event} but expected to match token "
            f"shape {info.event_shape}",
            hint="give one vector of inputs for every token, behind the same samples",
        )
    if shape[: len(samples)] != samples:
        raise TokenError(
            f"Functional input {key!r} has samples {shape[: len(samples)]} but its tokens "
            f"{samples}",
            hint="give inputs of every sample, of the same ones too",
        )


def _padded(
    values: Array, info: SliceInfo, sample_ndims: int, width: int
) -> Float[Array, "*sample token width"]:
    """One key's array as tokens."""
    samples = values.shape[:sample_ndims]
    flat = values.reshape(*samples, info.count, math.prod(info.batch_shape))
    return jnp.pad(flat, [(0, 0)] * (flat.ndim - 1) + [(0, width - info.width)])
