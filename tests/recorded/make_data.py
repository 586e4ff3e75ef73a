"""The data of the recorded run: two train files, one valid, two test files, one seed."""

from pathlib import Path

import h5py
import numpy as np

rng = np.random.default_rng(7)
for part, lengths in {"train": (900, 600), "valid": (400,), "test": (300, 300)}.items():
    folder = Path("data", part)
    folder.mkdir(parents=True, exist_ok=True)
    for i, n in enumerate(lengths):
        u = rng.normal(size=n)
        y = np.zeros(n)
        for t in range(2, n):
            y[t] = (
                0.9 * y[t - 1] - 0.3 * y[t - 2] + 0.4 * u[t - 1] + 0.05 * u[t - 1] ** 2
            )
        with h5py.File(folder / f"{part}_{i}.hdf5", "w") as f:
            f["u0"], f["y0"] = u, y + 0.02 * rng.normal(size=n)
            f.attrs["fs"] = 100.0
