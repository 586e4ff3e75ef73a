"""Trains epochs of our inverted transformer on request."""

from __future__ import annotations

from typing import Any

from models import forecaster
from models.data.catalog import prepare
from tests.benchmarks.tools import compiled_epochs
from tests.benchmarks.tools.serve import serve
from tests.benchmarks.tools.tables import (
    BATCH,
    BATCHES,
    BLOCKS,
    DROPOUT,
    HEADS,
    HIDDEN,
    HORIZON,
    LOOK_BACK,
    RATE,
    SIZE,
)

CONFIG = {
    "model.d_model": SIZE,
    "model.heads": HEADS,
    "model.blocks": BLOCKS,
    "model.hidden_size": HIDDEN,
    "model.dropout": DROPOUT,
    "data.window": LOOK_BACK + HORIZON,
    "data.batch_size": BATCH,
    "data.batches": BATCHES,
    "optimizer.learning_rate": RATE,
    "optimizer.schedule": "constant",
}


def prepare_model(data: str) -> dict[str, Any]:
    """Build the learner and compile its epoch; see `compiled_epochs.prepare`."""
    return compiled_epochs.prepare(
        forecaster.create,
        CONFIG,
        lambda: prepare({"path": data}).to_json(),
        task={"name": "forecast", "horizon": HORIZON},
    )


if __name__ == "__main__":
    serve({"prepare": prepare_model, "epoch": compiled_epochs.epoch})
