"""Validation of prediction windows beside that of one whole record of as many samples."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models import crnn, rnn, tcn
from models.data.catalog import prepare
from models.training.protocol import Context
from tests.benchmarks.tools import data, output

WINDOW, KNOWN = 150, 50
_FAMILIES = {
    "GRU 32×1": (rnn, {"model.layers": 1, "model.hidden_size": 32}),
    "GRU 32×2": (rnn, {"model.layers": 2, "model.hidden_size": 32}),
    "TCN 32 depth 6 kernel 3": (tcn, {"model.depth": 6}),
    "CRNN 16×3, GRU 32": (crnn, {}),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each family in alternated evaluations and print the ratios."""
    parser = argparse.ArgumentParser(prog="validation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--windows", type=int, default=80)
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        places = _write(Path(folder), options.windows)
        for name, (family, config) in _FAMILIES.items():
            whole, cut = (
                _learner(family, config, place, task) for place, task in places
            )
            rows.append([name, *_compared(whole, cut, options.rounds)])
    heads = ["evaluation of valid, ms", "whole record", "windows", "windows / whole"]
    samples = options.windows * WINDOW
    output.show(f"{samples} samples: one record, and windows of {WINDOW}", heads, rows)


def _write(folder: Path, windows: int) -> list[tuple[Path, dict[str, Any]]]:
    """The same samples as one record for simulation, and in windows for prediction."""
    random = np.random.default_rng(0)
    train, valid = (
        random.normal(size=(2000, 2)),
        random.normal(size=(windows * WINDOW, 2)),
    )
    pieces = valid.reshape(windows, WINDOW, 2)
    prediction = {"name": "prediction", "known": KNOWN, "horizon": WINDOW - KNOWN}
    return [
        (
            data.write(folder / "whole", train=train, valid=valid[None]),
            {"name": "simulation"},
        ),
        (data.write(folder / "cut", train=train, valid=pieces), prediction),
    ]


def _learner(
    family: Any, config: dict[str, Any], place: Path, task: dict[str, Any]
) -> Any:
    reference = prepare({"path": str(place)}).to_json()
    context = Context(task=task, data=reference, epochs=1)
    small = {
        "data.window": 120,
        "data.batches": 1,
        "data.batch_size": 8,
        "loss.n_skip": 0,
    }
    learner = family.create({**small, **config}, context)
    learner.fit()
    learner.evaluate("valid")  # compiles
    return learner


def _compared(whole: Any, cut: Any, rounds: int) -> list[str]:
    seconds: dict[int, list[float]] = {id(whole): [], id(cut): []}
    for number in range(rounds):
        for learner in (whole, cut) if number % 2 else (cut, whole):
            begin = time.perf_counter()
            learner.evaluate("valid")
            seconds[id(learner)].append(time.perf_counter() - begin)
    first, second = (statistics.median(seconds[id(x)]) for x in (whole, cut))
    return [f"{first * 1e3:.2f}", f"{second * 1e3:.2f}", f"{second / first:.2f}"]


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
