"""Outputs of a model beside the targets of a scored batch, for those who want to see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.data.kinds import kind
from models.data.reference import Reference
from models.training.excerpts import Comparison
from models.training.protocol import Signals


def signals_of(
    batch: Mapping[str, np.ndarray], row: int, *, reference: Reference
) -> tuple[Signals, ...]:
    """What every role of the data holds in a row of a batch.

    Args:
        batch: Arrays ``[B, …]`` by role, and masks of what was seen.
        row: Which row.
        reference: The data.

    Returns:
        Only roles whose rows have a time or are a list of numbers, which takes its place.
    """
    flat = kind(reference.kind).CUT == "rows"
    found = []
    for role in (r for r in reference.roles if r in batch):
        values = np.asarray(batch[role][row])
        if f"seen.{role}" in batch:
            values = np.where(batch[f"seen.{role}"][row], values, np.nan)
        if flat:
            values = values[..., None]
        if values.ndim != 2:
            continue
        names, units = reference.roles[role], reference.units.get(role, ())
        channels = values.shape[1]
        found.append(
            Signals(
                role=role,
                values=values,
                names=names if len(names) == channels else (role,) * channels,
                units=units if len(units) == channels else ("",) * channels,
                rate=None if flat else reference.sampling_rate,
            )
        )
    return tuple(found)


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
