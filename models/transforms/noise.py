"""Noise and bias added in training, in physical units, scaled by traced values.

Every row of a batch draws its own; the key is an argument, so that no two steps and no two
trials that train side by side draw the same. Values that were missing stay to be filled in by
the task, whatever was added to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from models.errors import ConfigError
from models.transforms.batch import Batch, Transform, present

Signal: TypeAlias = Float[Array, "batch time channel"]


def add_noise(
    *,
    signal: str,
    scale: str,
    unit: Float[Array, " channel"],
    probability: str | None = None,
) -> Transform:
    """Add white Gaussian noise of one level to a signal of every batch.

    Args:
        signal: Name in the batch, such as ``"u"``; ``[B, T, C]``.
        scale: Name of the traced value that sets the noise level.
        unit: Per channel, the physical size of level 1 (the channel's standard deviation).
        probability: Name of the traced value that says how many rows get noise; all where
            it is None.

    Returns:
        A `Transform` to use as an augmentation.
    """

    def added(key: Array, values: Signal, size: Float[Array, " channel"]) -> Signal:
        noise = jax.random.normal(key, values.shape, values.dtype)
        return noise * size[None, None]

    return _adding(added, signal, scale=scale, unit=unit, probability=probability)


def add_varying_noise(
    *,
    signal: str,
    scale: str,
    unit: Float[Array, " channel"],
    groups: Sequence[int] = (),
    probability: str | None = None,
) -> Transform:
    """Add noise whose level differs from row to row: σ = |N(0, scale)| units.

    Args:
        signal: Name in the batch; ``[B, T, C]``.
        scale: Name of the traced value that sets how far levels spread.
        unit: Per channel, the physical size of level 1.
        groups: A number for every channel: those with equal numbers share one level, as the
            axes of one sensor do. By default all do.
        probability: Name of the traced value that says how many rows get noise.

    Returns:
        A `Transform` to use as an augmentation.

    Raises:
        ConfigError: There are not as many groups as channels.
    """
    owner = _owners(groups, len(unit), signal)

    def added(key: Array, values: Signal, size: Float[Array, " channel"]) -> Signal:
        levels = jax.random.normal(
            jax.random.fold_in(key, 1), (len(values), max(owner) + 1), values.dtype
        )
        sizes = jnp.abs(levels)[:, np.asarray(owner)] * jnp.broadcast_to(
            size[None], (len(values), len(owner))
        )
        return jax.random.normal(key, values.shape, values.dtype) * sizes[:, None]

    return _adding(added, signal, scale=scale, unit=unit, probability=probability)


def add_bias(
    *,
    signal: str,
    scale: str,
    unit: Float[Array, " channel"],
    probability: str | None = None,
) -> Transform:
    """Add an offset that is constant over a row, its own in every channel.

    Args:
        signal: Name in the batch; ``[B, T, C]``.
        scale: Name of the traced value: standard deviation of the offsets, in units.
        unit: Per channel, the physical size of 1.
        probability: Name of the traced value that says how many rows get an offset.

    Returns:
        A `Transform` to use as an augmentation.
    """

    def added(key: Array, values: Signal, size: Float[Array, " channel"]) -> Signal:
        rows, _, channels = values.shape
        drawn = jax.random.normal(key, (rows, 1, channels), values.dtype)
        return jnp.broadcast_to(drawn * size[None, None], values.shape)

    return _adding(added, signal, scale=scale, unit=unit, probability=probability)


def _adding(
    added: Callable[[Array, Signal, Float[Array, " channel"]], Signal],
    signal: str,
    *,
    scale: str,
    unit: Float[Array, " channel"],
    probability: str | None,
) -> Transform:
    """Add to a signal what ``added(key, values, size of 1)`` draws for it, in some rows."""

    def function(
        key: Array,
        batch: Batch,
        step: Array,
        *,
        scale: Float[Array, ""],
        probability: Float[Array, ""] | None = None,
    ) -> Batch:
        del step
        before = present(batch, signal)
        if len(unit) != before.shape[-1]:
            raise ConfigError(
                f"`{signal}` has {before.shape[-1]} channels, and a unit is given for each, "
                f"got {np.asarray(unit).tolist()}",
            )
        drawn = added(key, before, (scale * unit).astype(before.dtype))
        return batch | {signal: before + _sometimes(key, drawn, probability)}

    values = {"scale": scale}
    if probability is not None:
        values["probability"] = probability
    return Transform(function=function, values=values)


def _sometimes(
    key: Key[Array, ""],
    added: Float[Array, "batch time channel"],
    probability: Float[Array, ""] | None,
) -> Float[Array, "batch time channel"]:
    """What is added, in some rows only."""
    if probability is None:
        return added
    drawn = jax.random.uniform(jax.random.fold_in(key, 2), (len(added), 1, 1))
    chosen: Bool[Array, "batch 1 1"] = drawn < probability
    return jnp.where(chosen, added, jnp.zeros_like(added))


def _owners(groups: Sequence[int], channels: int, signal: str) -> tuple[int, ...]:
    """For every channel the number of its level, counted from 0."""
    if not groups:
        return (0,) * channels
    if len(groups) != channels:
        raise ConfigError(
            f"`{signal}` has {channels} channels, and a group is named for each, got "
            f"{list(groups)}",
            hint=f"give {channels} numbers, equal ones for channels of one group",
        )
    order = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    return tuple(order[group] for group in groups)
