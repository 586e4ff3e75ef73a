"""A table of 7 columns, hour by hour, and the sizes of the network that foretells it.

No module of ours is loaded here: the peer's interpreter reads it too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

ROWS, COLUMNS = 3000, 7
LOOK_BACK, HORIZON = 96, 96
BATCH, BATCHES = 32, 40
SIZE, HEADS, BLOCKS, HIDDEN = 128, 8, 2, 128
DROPOUT, RATE = 0.1, 1e-3


def table() -> np.ndarray:
    """Days, slower waves and noise, ``[rows, columns]``."""
    random = np.random.default_rng(0)
    hours = np.arange(ROWS)[:, None]
    phase = random.uniform(0, 2 * np.pi, (2, COLUMNS))
    values = np.sin(2 * np.pi * hours / 24 + phase[0])
    values = values + np.sin(2 * np.pi * hours / 400 + phase[1])
    return values + 0.3 * random.normal(size=values.shape)


def write(folder: Path) -> Path:
    """The table as CSV."""
    path = folder / "table.csv"
    names = ",".join(f"c{i}" for i in range(COLUMNS))
    np.savetxt(path, table(), delimiter=",", header=names, comments="", fmt="%.6f")
    return path
