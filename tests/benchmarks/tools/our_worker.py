"""Trains epochs with the project's own families and engine on request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from models.training.protocol import Epoch
from tests.benchmarks.tools.ours import HORIZON, learner
from tests.benchmarks.tools.serve import serve
from tests.benchmarks.tools.shapes import Shape

_epochs: dict[str, Iterator[Epoch]] = {}


def prepare(shape: dict[str, Any], data: str) -> dict[str, Any]:
    """Build a learner; its size and the part of a batch it trains on at a time."""
    made = learner(Shape(**shape), data)
    _epochs["ours"] = made.fit_iter(HORIZON)
    return {
        "parameters": made.parameters,
        "micro_batch": made.problem.micro_batch,
    }


def epoch() -> float:
    """Train (and validate) one epoch; its seconds, compiling included."""
    begin = time.perf_counter()
    next(_epochs["ours"])
    return time.perf_counter() - begin


if __name__ == "__main__":
    serve({"prepare": prepare, "epoch": epoch})
