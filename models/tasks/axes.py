"""The axes that arrays of a prediction lack: that of the batch, and that of channels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.errors import UserError


def with_axes(
    arrays: Mapping[str, np.ndarray],
    *,
    shapes: Mapping[str, tuple[int, ...]],
    time: bool,
) -> tuple[dict[str, np.ndarray], int]:
    """The arrays as ``[B, …]``, and how many axes each of them lacked.

    Args:
        arrays: By role: ``[B, T, …]``, ``[T, …]``, or every one a single signal ``[T]``;
            without ``T`` where rows have no time.
        shapes: Shape of one time step or one row, by role; the last axis is channels.
        time: Whether rows have an axis of time.

    Raises:
        UserError: An array has another shape, or only some lack the axis of the batch.
    """
    signals = time and all(a.ndim == 1 and shapes[r] == (1,) for r, a in arrays.items())
    if signals:
        arrays = {role: array[:, None] for role, array in arrays.items()}
    lacks = {r: _lacks_batch(r, a, shapes[r], time=time) for r, a in arrays.items()}
    if len(set(lacks.values())) > 1:
        raise UserError(
            "either all arrays have a batch axis or none, got shapes "
            + ", ".join(f"`{role}` {array.shape}" for role, array in arrays.items())
        )
    alone = any(lacks.values())
    return {r: a[None] if alone else a for r, a in arrays.items()}, alone + signals


def _lacks_batch(
    role: str, array: np.ndarray, shape: tuple[int, ...], *, time: bool
) -> bool:
    """Whether an array is one row; its trailing axes must be the role's."""
    rank = array.ndim - len(shape) - time
    if rank not in (0, 1) or array.shape[array.ndim - len(shape) :] != shape:
        axes = ("time", *map(str, shape)) if time else tuple(map(str, shape))
        padded = (
            "pad what is smaller with NaN; what is larger than all rows of the "
            "training data needs data padded to its size, and new training"
        )
        raise UserError(
            f"`{role}` must be [{', '.join(axes)}] or [batch, {', '.join(axes)}], "
            f"got {array.shape}",
            hint=None if time or len(shape) < 2 else padded,
        )
    return rank == 0
