"""Outputs of a model beside the targets of a scored batch, for those who want to see them."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.data.kinds import kind
from models.data.reference import Reference
from models.training.excerpts import Comparison


def compared(
    role: str,
    *,
    measured: Any,
    predicted: Any,
    masks: tuple[Any, Any, Any],
    reference: Reference,
    std: np.ndarray | None,
) -> Comparison | None:
    """Rows of one role as an excerpt shows them.

    Args:
        role: The role.
        measured: Its targets ``[B, …, C]``, in physical units.
        predicted: What a model gave.
        masks: Which entries were seen, given and scored; each broadcasts to the targets,
            None for none.
        reference: The data.
        std: What 1 of an error is ``[C]``, where errors are in standard deviations.

    Returns:
        None where a row has more axes than time and channels.
    """
    measured, predicted = np.asarray(measured), np.asarray(predicted)
    shape = measured.shape
    flat = kind(reference.kind).CUT == "rows" and measured.ndim == 2
    if measured.ndim + flat != 3:
        return None
    seen, known, scored = (
        np.broadcast_to(np.zeros(1, bool) if mask is None else mask, shape)
        for mask in masks
    )
    arrays = {
        "measured": np.where(seen, measured, np.nan),
        "predicted": predicted,
        "known": known & seen,
        "scored": scored & seen,
    }
    names, units = reference.roles[role], reference.units.get(role, ())
    common = units[0] if len(set(units)) == 1 else ""
    scale = np.ones(1) if std is None else np.asarray(std)
    if len(names) != shape[-1]:  # samples name an array, not its channels
        names = tuple(f"{role} {i}" for i in range(shape[-1]))
    if len(units) != shape[-1]:
        units = (common,) * shape[-1]
    if flat:  # the numbers of a row take the place of time
        arrays = {name: array[:, :, None] for name, array in arrays.items()}
        scale = np.broadcast_to(scale, shape[1:])[:, None]
        names, units = (role,), (common,)
    return Comparison(
        **arrays,
        scale=scale,
        pooled=std is not None,
        unit=common if std is None else "sd",
        names=tuple(names),
        units=tuple(units),
        rate=None if flat else reference.sampling_rate,
    )
