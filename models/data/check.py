"""Every sample of a part is looked at once, before a study spends hours on it."""

from __future__ import annotations

import numpy as np

from models.data.dataset import CHUNK, Part
from models.data.records import Record
from models.errors import DataError


def check_part(part: Part) -> None:
    """Read a part in full and refuse what no model could be fitted to.

    Opening the part has already shown that its files exist, are HDF5, hold every signal and
    have signals of equal lengths.

    Raises:
        DataError: A value is not finite: file, signal and index are named.
    """
    for record in part.records:
        for name in (*part.reference.inputs, *part.reference.outputs):
            _check_signal(record, name)


def _check_signal(record: Record, name: str) -> None:
    for start in range(0, record.length, CHUNK):
        values = record.read_signal(name, start, min(start + CHUNK, record.length))
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            sample, column = bad[0].tolist()
            where = f"sample {start + sample}"
            where += f", column {column}" if values.shape[1] > 1 else ""
            raise DataError(
                f"signal `{name}` in {record.path} is not finite: "
                f"{values[sample, column]} at {where}",
                hint="fill or cut out missing values before training",
            )
