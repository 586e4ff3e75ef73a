"""Rows of 649 features in six groups, and the sizes of the model that codes them.

The groups are as large as those of the handwritten numerals of `mfeat`; codes are 32 × 128,
16 × 256 and 8 × 512. No module of ours is loaded here: the peer's interpreter reads it too.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

SIZES = {"fou": 76, "fac": 216, "kar": 64, "pix": 240, "zer": 47, "mor": 6}
BATCH, BATCHES = 1024, 4
HIDDEN, EMBEDDING = 128, 64
CODE_SIZES, BITS = (32, 16, 8), (7, 8, 9)
DECODER, PARTIAL = 256, 128
COMMITMENT, INFORMATIVENESS, TOPOGRAPHIC = 0.25, 0.1, 0.02
RATE = 3e-3


def groups() -> dict[str, list[int]]:
    """Columns by group."""
    found, start = {}, 0
    for name, size in SIZES.items():
        found[name] = list(range(start, start + size))
        start += size
    return found


def rows(count: int, seed: int) -> np.ndarray:
    """Rows of 40 hidden numbers, mixed, with noise; ``[count, 649]`` float32."""
    mixing = np.random.default_rng(0).normal(size=(40, sum(SIZES.values())))
    random = np.random.default_rng(seed)
    hidden = random.normal(size=(count, 40))
    noise = random.normal(size=(count, mixing.shape[1]))
    return (hidden @ mixing / 40**0.5 + 0.5 * noise).astype(np.float32)


def write(folder: Path) -> Path:
    """A file with parts train and valid, as our data layer reads it."""
    path = folder / "features.hdf5"
    with h5py.File(path, "w") as file:
        for seed, (part, count) in enumerate(
            {"train": BATCH * BATCHES, "valid": 16}.items()
        ):
            file[f"{part}/values"] = rows(count, seed + 1)
    return path
