"""One simulated dataset in the layout that both our families and TSFast read."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from models.data.catalog import prepare
from models.data.dataset import open_dataset

_SAMPLES = 20_000
_RATE = 51_200.0  # Hz, of the simulated circuit


def simulated(folder: Path, *, valid: int, window: int) -> Path:
    """A Wiener–Hammerstein circuit, standardised, with a validation part of whole windows.

    Every validation file is one window long, so that scoring full sequences (ours) and
    scoring windows (TSFast) is the same work on the same numbers.

    Args:
        folder: Where ``train`` and ``valid`` are made.
        valid: Validation files.
        window: Samples in each.
    """
    reference = prepare({"name": "simulated_wiener_hammerstein", "samples": _SAMPLES})
    dataset = open_dataset(reference)
    train = _record(dataset.part("train").load(0))
    mean, std = train.mean(0), train.std(0)
    rest = (_record(dataset.part("valid").load(0)) - mean) / std
    assert valid * window <= len(rest), "the simulated record is too short"
    parts = rest[: valid * window].reshape(valid, window, 2)
    return write(folder, train=(train - mean) / std, valid=parts)


def write(folder: Path, *, train: np.ndarray, valid: np.ndarray) -> Path:
    """Write records of one input and one output.

    Args:
        folder: Where ``train`` and ``valid`` are made.
        train: ``[T, 2]``, input and output.
        valid: ``[N, T, 2]``, a file each.
    """
    _write(folder / "train" / "train.hdf5", train)
    for i, part in enumerate(valid):
        _write(folder / "valid" / f"valid-{i:03}.hdf5", part)
    return folder


def _record(signals: dict[str, np.ndarray]) -> np.ndarray:
    """``[T, 2]``: input and output."""
    return np.concatenate([signals["u"], signals["y"]], axis=1).astype(np.float64)


def _write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["fs"] = _RATE
        for name, column in zip(("u0", "y0"), values.T, strict=True):
            file[name] = column.astype(np.float32)
