"""Rows that end early, by a mask of what the training loss counts; shapes stay as they are.

A mask costs what whole rows cost. Batches that are really shorter are
`models.training.lengths.Lengths`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.losses.combine import COUNTED
from models.losses.times import random_lengths, require_some, up_to
from models.transforms.batch import Batch, Transform, present


def truncate_schedule(*, signal: str = "y", shortest: int, cut: str) -> Transform:
    """Leave the end of every row out of the loss, as much of it as a schedule says.

    Args:
        signal: Whose errors are no longer counted; ``[B, T, C]``.
        shortest: Samples that always count, at the start of every row.
        cut: Name of a schedule or traced value: the share of the rest that is left out,
            from 0 (nothing) to 1 (all of it); see `models.transforms.schedules`.

    Returns:
        A `Transform` to use as an augmentation.

    Raises:
        ConfigError: Nothing is sure to count.
    """
    require_some(shortest)

    def function(
        key: Array, batch: Batch, step: Array, *, cut: Float[Array, ""]
    ) -> Batch:
        del key, step
        rows, time = present(batch, signal).shape[:2]
        left_out = jnp.floor(jnp.clip(cut, 0.0, 1.0) * max(time - shortest, 0))
        lengths = jnp.broadcast_to(time - left_out.astype(jnp.int32), (rows,))
        return _counted(batch, signal, lengths)

    return Transform(function=function, values={"cut": cut})


def end_at_random(*, signal: str = "y", shortest: int) -> Transform:
    """Leave the end of every row out of the loss, each from a place of its own on.

    Args:
        signal: Whose errors are no longer counted; ``[B, T, C]``.
        shortest: The commonest and smallest length (`models.losses.times.random_lengths`).

    Returns:
        A `Transform` to use as an augmentation.

    Raises:
        ConfigError: Nothing is sure to count.
    """
    require_some(shortest)

    def function(key: Array, batch: Batch, step: Array) -> Batch:
        del step
        rows, time = present(batch, signal).shape[:2]
        lengths = random_lengths(key, rows, shortest=min(shortest, time), longest=time)
        return _counted(batch, signal, lengths)

    return Transform(function=function)


def _counted(batch: Batch, signal: str, lengths: Array) -> Batch:
    """The batch with a mask of the samples before each row's length."""
    name = COUNTED + signal
    mask = up_to(lengths, batch[signal].shape[1])
    return batch | {name: mask & batch[name] if name in batch else mask}
