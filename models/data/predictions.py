"""Signals of one file for a model that is there already: inputs read, outputs written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from models.data.files import part_files
from models.data.records import Record, array_names, attributes
from models.data.reference import Reference
from models.errors import DataError


def read_inputs(path: Path, *, data: Mapping[str, Any]) -> np.ndarray:
    """The input signals of a file, as a dataset names them.

    Args:
        path: An HDF5 file.
        data: The JSON form of the dataset's reference.

    Returns:
        ``[T, n_u]``, in physical units.

    Raises:
        DataError: The file is missing or damaged, lacks a signal, or has other channels.
    """
    reference = Reference.from_json(data)
    return _read(path, reference.inputs, _widths(reference, reference.inputs))


def read_outputs(path: Path, *, data: Mapping[str, Any]) -> np.ndarray | None:
    """The measured outputs of a file ``[T, n_y]``; None where it has none of them.

    Raises:
        DataError: The file is missing or damaged, or has only some of the outputs.
    """
    reference = Reference.from_json(data)
    if not set(reference.outputs) & set(array_names(path)):
        return None
    return _read(path, reference.outputs, _widths(reference, reference.outputs))


def write_outputs(
    path: Path, y: np.ndarray, *, data: Mapping[str, Any], like: Path
) -> None:
    """Write predicted outputs in the layout of the dataset's files, all or nothing.

    Args:
        path: A new file.
        y: ``[T, n_y]``, in physical units.
        data: The JSON form of the dataset's reference.
        like: The file whose attributes (sampling rate) are taken over.

    Raises:
        DataError: The file is there already or cannot be written.
    """
    reference = Reference.from_json(data)
    if path.exists() or path.is_symlink():
        raise DataError(f"{path} is there already", hint="remove it or choose another")
    widths = _widths(reference, reference.outputs)
    pieces = np.split(y, np.cumsum(widths)[:-1], axis=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=path.parent, prefix=".predict-", ignore_cleanup_errors=True
        ) as aside:
            made = Path(aside) / path.name
            with h5py.File(made, "w") as file:
                for name, value in attributes(like).items():
                    file.attrs[name] = value
                for name, piece in zip(reference.outputs, pieces, strict=True):
                    file[name] = piece[:, 0] if piece.shape[1] == 1 else piece
            os.replace(made, path)
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}",
            hint="choose another place with `--out FILE`",
        ) from error


def _read(path: Path, names: tuple[str, ...], widths: list[int]) -> np.ndarray:
    record = Record(path, inputs=names, outputs=())
    if record.channels["u"] != sum(widths):
        raise DataError(
            f"{path} has {record.channels['u']} channels in {', '.join(names)}, but the "
            f"model was trained on {sum(widths)}"
        )
    return np.asarray(record.read("u", 0, record.length), float)


def _widths(reference: Reference, names: tuple[str, ...]) -> list[int]:
    """Channels of each signal, after the first file of the train part."""
    first = part_files(Path(reference.path), "train")[0]
    return [Record(first, inputs=(n,), outputs=()).channels["u"] for n in names]
