"""Trains lanes on request; says how much of a GPU's memory it may use."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import jax

from models.training.lanes import fit_lanes
from tests.benchmarks.tools.ours import HORIZON, learner
from tests.benchmarks.tools.serve import serve
from tests.benchmarks.tools.shapes import Shape


def lanes(shape: dict[str, Any], data: str, lanes: int, rounds: int) -> list[float]:
    """Windows a second of all lanes together, by epoch; the first epoch is left out."""
    chosen = Shape(**shape)
    learners = [
        learner(chosen, data, seed=lane, rate=1e-3 * (1 + lane / lanes))
        for lane in range(lanes)
    ]
    out = []
    epochs = fit_lanes(learners, HORIZON)
    for number in range(rounds + 1):
        begin = time.perf_counter()
        next(epochs)
        if number:
            out.append(lanes * chosen.windows / (time.perf_counter() - begin))
    return out


def memory() -> dict[str, int]:
    """Bytes this process may use on the GPU, and bytes the GPU has."""
    (device,) = jax.local_devices()
    asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    text = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    limit = device.memory_stats()["bytes_limit"]
    return {"limit": limit, "device": int(text.split()[0]) * 2**20}


if __name__ == "__main__":
    serve({"lanes": lanes, "memory": memory})
