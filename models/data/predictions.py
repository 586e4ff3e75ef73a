"""The arrays of one file for a model that is there already, in the layout of its data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.data.kinds import kind
from models.data.reference import Reference


def read(
    path: Path,
    *,
    data: Mapping[str, Any],
    roles: Collection[str],
    optional: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Arrays by role; see `models.data.kinds.base.Kind.read`.

    Args:
        path: A file in the layout of the data's kind.
        data: The JSON form of the dataset's reference.
        roles: The roles to read.
        optional: Those of them that the file may lack.

    Raises:
        DataError: The file does not fit what the model was trained on.
    """
    reference = Reference.from_json(data)
    return kind(reference.kind).read(
        path, reference=reference, roles=roles, optional=optional
    )


def write(
    path: Path, arrays: Mapping[str, np.ndarray], *, data: Mapping[str, Any], like: Path
) -> None:
    """Write predicted arrays; see `models.data.kinds.base.Kind.write`.

    Args:
        path: A new file.
        arrays: Role to array, in physical units.
        data: The JSON form of the dataset's reference.
        like: The file the arrays were predicted from.

    Raises:
        DataError: The file is there already or cannot be written.
    """
    reference = Reference.from_json(data)
    kind(reference.kind).write(path, arrays, reference=reference, like=like)
