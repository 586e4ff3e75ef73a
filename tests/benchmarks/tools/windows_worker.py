"""Trains epochs of our VAE of whole windows on request."""

from __future__ import annotations

from typing import Any

from models import vae
from models.data.catalog import prepare
from tests.benchmarks.tools import compiled_epochs
from tests.benchmarks.tools.serve import serve
from tests.benchmarks.tools.windows import (
    BATCH,
    BATCHES,
    CHANNELS,
    DROPOUT,
    LATENTS,
    LENGTH,
    RATE,
)

CONFIG = {
    "coder.kind": "multiscale",
    "coder.pool": "flatten",
    "coder.channels": CHANNELS,
    "coder.dropout": DROPOUT,
    "latent.size": LATENTS,
    "data.window": LENGTH,
    "data.batch_size": BATCH,
    "data.batches": BATCHES,
    "optimizer.learning_rate": RATE,
    "optimizer.schedule": "constant",
}


def prepare_model(data: str) -> dict[str, Any]:
    """Build the learner and compile its epoch; see `compiled_epochs.prepare`."""
    request = {"path": data, "kind": "windows"}
    return compiled_epochs.prepare(
        vae.create, CONFIG, lambda: prepare(request).to_json()
    )


if __name__ == "__main__":
    serve({"prepare": prepare_model, "epoch": compiled_epochs.epoch})
