"""Windows of 745 hours of 7 signals with gaps, and the sizes of the model that codes them.

No module of ours is loaded here: the peer's interpreter reads it too.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

LENGTH, SIGNALS = 745, 7
BATCH, BATCHES = 64, 4
CHANNELS, LATENTS = 16, 32
DROPOUT, RATE = 0.1, 3e-3
SEEN = 0.95

# Kernels, strides, and what the channels are divided by: local, hourly, daily, multi-day.
ENCODER = (
    ((3, 5, 5), (2, 2, 2), (2, 1, 1)),
    ((15, 31), (4, 4), (2, 1)),
    ((63, 127), (8, 8), (2, 1)),
    ((255,), (16,), (1,)),
)
DECODER = (
    ((5,) * 6, (2,) * 6, (1, 2, 2, 4, 4, 4)),
    ((15,) * 3, (4,) * 3, (1, 2, 4)),
    ((31,) * 2, (8,) * 2, (1, 2)),
    ((63,) * 2, (16, 8), (2, 4)),
)


def windows(count: int, seed: int) -> np.ndarray:
    """Days and slower waves with noise; ``[count, 745, 7]`` float32, NaN in the gaps."""
    random = np.random.default_rng(seed)
    hours = np.arange(LENGTH)[None, :, None]
    phase = random.uniform(0, 2 * np.pi, (2, count, 1, SIGNALS))
    period = random.uniform(48, 400, (count, 1, SIGNALS))
    values = np.sin(2 * np.pi * hours / 24 + phase[0])
    values = values + 2 * np.sin(2 * np.pi * hours / period + phase[1])
    values = values + 0.3 * random.normal(size=values.shape)
    return np.where(random.random(values.shape) < SEEN, values, np.nan).astype("f4")


def write(folder: Path) -> Path:
    """A file with parts train and valid, as our data layer reads it."""
    path = folder / "windows.hdf5"
    with h5py.File(path, "w") as file:
        for seed, (part, count) in enumerate(
            {"train": BATCH * BATCHES, "valid": 16}.items()
        ):
            file[f"{part}/values"] = windows(count, seed + 1)
    return path
