"""Files of simulated records."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from models.data.files import sync_folder


def write_record(
    path: Path, signals: Mapping[str, np.ndarray], notes: Mapping[str, Any]
) -> None:
    """Contiguous arrays, so that every worker can map them; equal bytes for equal data.

    Args:
        path: A new file, whose folder is made where there is none.
        signals: By name; numbers are written in double precision, truths as they are.
        notes: Attributes of the file.

    Raises:
        OSError: The disk is full or cannot be written, or the file is there.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, signal in signals.items():
            kept = np.asarray(signal)
            kept = kept if kept.dtype == bool else kept.astype(np.float64)
            file.create_dataset(name, data=kept)
        for name, value in notes.items():
            file.attrs[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
