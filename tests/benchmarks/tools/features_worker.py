"""Trains epochs of our categorical VQ-VAE on request."""

from __future__ import annotations

from typing import Any

from models import categorical_vqvae
from models.data.catalog import prepare
from tests.benchmarks.tools import compiled_epochs
from tests.benchmarks.tools.features import (
    BATCH,
    BITS,
    CODE_SIZES,
    EMBEDDING,
    HIDDEN,
    RATE,
    groups,
)
from tests.benchmarks.tools.serve import serve

CONFIG = {
    "reader.hidden_size": HIDDEN,
    "reader.size": EMBEDDING,
    "reader.skip": False,
    "levels.count": len(BITS),
    "levels.hierarchy": "parallel",
    "levels.code_size": list(CODE_SIZES),
    "levels.bits": list(BITS),
    "levels.normalize": True,
    "levels.dropout": 0.1,
    "quantizer.decay": 0.99,
    "quantizer.revive_below": 0.0,
    "quantizer.start": "uniform",
    "writer.skip": False,
    "data.batch_size": BATCH,
    "optimizer.learning_rate": RATE,
    "optimizer.schedule": "constant",
}


def prepare_model(data: str) -> dict[str, Any]:
    """Build the learner and compile its epoch; see `compiled_epochs.prepare`."""
    request = {"path": data, "groups": groups()}
    return compiled_epochs.prepare(
        categorical_vqvae.create, CONFIG, lambda: prepare(request).to_json()
    )


if __name__ == "__main__":
    serve({"prepare": prepare_model, "epoch": compiled_epochs.epoch})
