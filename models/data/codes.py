"""The file of a model's codes, in the layout of `vae_latents.h5`, which others read already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from models.data.files import new_file

NAMES = {"mean": "mu", "log_variance": "logvar", "tokens": "tokens"}
"""Of the file's arrays, by what a learner calls them."""


def write(
    path: Path,
    codes: Mapping[str, Mapping[str, np.ndarray]],
    attributes: Mapping[str, Any],
) -> dict[str, tuple[int, ...]]:
    """Write codes; their file is there in full or not at all.

    ``mu`` and ``logvar`` ``[N, L]``, or ``tokens`` ``[N, …]``, one row a window or row of data.
    ``ids`` ``[N]`` says of which record, with ``:ROW``, from 0, where that has several;
    ``patient_index`` is the same array, and the attribute ``latent_dim`` is L.

    Args:
        path: A file that is not there yet.
        codes: Arrays by name (`NAMES`) by record, as a learner's `codes` gives them.
        attributes: Further facts of the file.

    Returns:
        The shape of each array.

    Raises:
        DataError: The file is there already or cannot be written.
    """
    names = dict.fromkeys(name for found in codes.values() for name in found)
    arrays = {
        NAMES[name]: np.concatenate([found[name] for found in codes.values()])
        for name in names
    }
    ids: list[str] = []
    for record, found in codes.items():
        rows = len(next(iter(found.values())))
        ids += [record] if rows == 1 else [f"{record}:{row}" for row in range(rows)]
    with new_file(path) as aside, h5py.File(aside, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        file["ids"] = np.array([i.encode() for i in ids])
        file["patient_index"] = file["ids"]  # a hard link
        if "mu" in arrays:
            file.attrs["latent_dim"] = arrays["mu"].shape[1]
        for key, value in attributes.items():
            file.attrs[key] = value
    return {name: values.shape for name, values in arrays.items()}
