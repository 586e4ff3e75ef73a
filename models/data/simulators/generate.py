"""Writes one simulated dataset: three parts with realisations of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.data.files import sync_folder
from models.data.options import Options
from models.data.simulators.systems import SYSTEMS
from models.data.simulators.writing import write_record

_SHARES = {"train": 1.0, "valid": 0.25, "test": 0.5}
INITIAL = 50
"""Samples at the start of each record that the scores leave out (``init_sz``)."""


def generate(name: str, options: Options, folder: Path) -> None:
    """Simulate and write ``folder/{train,valid,test}/PART_0.hdf5``, flushed to the disk.

    Args:
        name: A key of `SYSTEMS`.
        options: How to run it.
        folder: An existing folder that nobody reads yet.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    system = SYSTEMS[name]
    scale = None
    for number, (part, share) in enumerate(_SHARES.items()):
        excitation, noise = (
            np.random.default_rng([options.seed, number, purpose]) for purpose in (0, 1)
        )
        samples = round(options.samples * share)
        u = system.excite(excitation, samples, options.excitation)
        # Every part as long as train while it is solved: one compilation serves all.
        whole = np.pad(u, (0, options.samples - samples), mode="edge")
        answer = system.respond(whole)[:samples]
        y, states = answer[:, 0], answer[:, 1:]
        scale = float(np.std(y)) if scale is None else scale
        y = y + options.noise * scale * noise.standard_normal(samples)
        signals = {"u0": u, "y0": y}
        if options.truth:
            signals |= {f"x{i}": state for i, state in enumerate(states.T)}
        notes = {
            "fs": system.rate,
            "init_sz": INITIAL,
            "u_unit": system.input_unit,
            "y_unit": system.output_unit,
        }
        write_record(folder / part / f"{part}_0.hdf5", signals, notes)
    sync_folder(folder)
