"""``python -m models.data.simulators.inertial NAME OPTIONS FOLDER``: write one dataset."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from models.data.files import sync_folder
from models.data.options import Turns
from models.data.simulators.inertial.body import Sensor, record, write

RATE = 50.0
"""Samples per second."""


def main(name: str, options: str, folder: str) -> None:
    """Simulate into an existing folder, flushed to the disk.

    Args:
        name: ``simulated_imu``, the only one of its kind.
        options: The fields of `Turns` as JSON.
        folder: Where to write ``{train,valid,test}/PART_NUMBER.hdf5``.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    assert name == "simulated_imu", name
    asked = Turns(**json.loads(options))
    sensor = Sensor().louder(asked.noise, bias=asked.bias)
    for number, part in enumerate((*(("train",) * asked.records), "valid", "test")):
        signals = record(
            # Parts are numbered from the end, so that more train records change no other.
            np.random.default_rng([asked.seed, asked.records + 1 - number]),
            samples=asked.samples,
            rate=RATE,
            sensor=sensor,
        )
        index = number if part == "train" else 0
        write(Path(folder, part, f"{part}_{index}.hdf5"), signals, rate=RATE)
    sync_folder(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
