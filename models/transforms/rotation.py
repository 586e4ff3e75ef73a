"""Turning a body's sensors in training, so that how they were mounted is not learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from models.errors import ConfigError
from models.layers.quaternion import conjugate, multiply, random_unit, rotate
from models.transforms.batch import Batch, Transform, present

Groups = Mapping[str, Sequence[Sequence[int]]]


def quaternion_augmentation(groups: Groups) -> Transform:
    """Turn the axes of the body by one random rotation a row, the same in all its signals.

    Groups of three channels are vectors in the body's axes (rates of turn, specific force,
    magnetic field) and become ``r v r⁻¹``. Groups of four are orientations ``[w, x, y, z]``
    from the body's to the world's axes and become ``q r⁻¹``: what a vector is in the world,
    ``q v q⁻¹``, stays as it was. Channels of no group stay.

    Of a vector that was not seen in full nothing is known once it is turned: the mask
    ``seen.SIGNAL``, where there is one, is then false for all of its group.

    Args:
        groups: Signal to its groups of channels, such as
            ``{"u": [(0, 1, 2), (3, 4, 5)], "y": [(0, 1, 2, 3)]}``.

    Returns:
        A `Transform` to use as an augmentation.

    Raises:
        ConfigError: There is no group, one has neither three nor four channels, or a channel
            is in two. When a batch is first seen: a signal or channel is not there.
    """
    if not any(groups.values()):
        raise ConfigError(
            f"a rotation turns groups of channels, got {dict(groups)!r}",
            hint='{"u": [(0, 1, 2)]} turns the first three inputs',
        )
    for signal, own in groups.items():
        flat = [channel for group in own for channel in group]
        wrong = [list(g) for g in own if len(g) not in (3, 4)]
        if wrong:
            raise ConfigError(
                "a group that is turned is a vector of 3 channels or a quaternion of 4, "
                f"got {wrong} of `{signal}`"
            )
        if len(set(flat)) < len(flat) or min(flat, default=0) < 0:
            raise ConfigError(
                f"a channel is turned once, and numbered from 0, got {flat} of `{signal}`"
            )

    def function(key: Array, batch: Batch, step: Array) -> Batch:
        del step
        first = present(batch, next(iter(groups)))
        turns = random_unit(key, (len(first),)).astype(first.dtype)
        turned = {
            signal: _turned(signal, present(batch, signal), own, turns)
            for signal, own in groups.items()
        }
        masks = {
            name: _seen_whole(batch[name], own)
            for signal, own in groups.items()
            for name in [f"seen.{signal}"]
            if name in batch
        }
        return batch | turned | masks

    return Transform(function=function)


def _turned(
    signal: str, values: Array, groups: Sequence[Sequence[int]], turns: Array
) -> Array:
    for group in groups:
        if max(group) >= values.shape[-1]:
            raise ConfigError(
                f"`{signal}` has {values.shape[-1]} channels, and a group of it is "
                f"{list(group)}",
                hint="number channels from 0",
            )
        own = values[..., np.asarray(group)]
        images = _images(turns, len(group))[:, None]
        # Not a product of matrices, which takes three times as long at this size.
        now = sum(own[..., j : j + 1] * images[..., j, :] for j in range(len(group)))
        values = values.at[..., np.asarray(group)].set(now)
    return values


def _seen_whole(seen: Array, groups: Sequence[Sequence[int]]) -> Array:
    """The mask of a signal of which groups are seen in full, or not at all."""
    for group in groups:
        place = np.asarray(group)
        whole = jnp.all(seen[..., place], axis=-1, keepdims=True)
        seen = seen.at[..., place].set(whole)
    return seen


def _images(turns: Array, width: int) -> Array:
    """What each turn makes of every unit vector, or unit quaternion: ``[B, width, width]``.

    Both maps are linear, so that a row's samples share one matrix.
    """
    rows = len(turns)
    unit = jnp.broadcast_to(jnp.eye(width, dtype=turns.dtype), (rows, width, width))
    turn = jnp.broadcast_to(turns[:, None], (rows, width, 4))
    return rotate(turn, unit) if width == 3 else multiply(unit, conjugate(turn))
