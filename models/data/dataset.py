"""The one door to prepared data of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.data.kinds import kind
from models.data.kinds.base import Dataset
from models.data.reference import Reference
from models.errors import DataError

__all__ = ["Dataset", "open_dataset"]


def open_dataset(reference: Reference | Mapping[str, Any]) -> Dataset:
    """Open prepared data; its files are read when they are needed.

    Args:
        reference: The reference, or its JSON form.

    Raises:
        DataError: It is no reference, or its folder or file is gone.
    """
    if not isinstance(reference, Reference):
        if not isinstance(reference, Mapping):
            raise DataError(
                f"a data reference is needed, got {type(reference).__name__}",
                hint="make one with `models.data.catalog.prepare(NAME)`",
            )
        reference = Reference.from_json(reference)
    if not Path(reference.path).exists():
        raise DataError(
            f"dataset `{reference.name}` is gone: there is no {reference.path}",
            hint="prepare the data again",
        )
    return kind(reference.kind).open(reference)
