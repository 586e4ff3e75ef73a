"""Trains epochs of our VAE of whole windows on request."""

from __future__ import annotations

import time
from typing import Any

import jax

from models import vae
from models.data.catalog import prepare
from models.training.protocol import Context
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
_running: dict[str, Any] = {}


def prepare_model(data: str) -> dict[str, Any]:
    """Build a learner and compile its epoch; parameters, and seconds of compiling."""
    begin = time.perf_counter()
    made = vae.create(
        CONFIG,
        Context(
            task={"name": "reconstruction"},
            data=prepare({"path": data, "kind": "windows"}).to_json(),
            epochs=1_000_000,
            objective=("mse", "minimize"),
        ),
    )
    engine, feed = made.runner.engine, made.feed
    start = time.perf_counter()
    train = jax.jit(engine.train, donate_argnums=0)
    program = train.lower(made.state, feed.arrays).compile()
    _running.update(program=program, state=made.state, arrays=feed.arrays)
    return {
        "parameters": made.parameters,
        "batches": feed.batches,
        "compile_seconds": time.perf_counter() - start,
        "ready_seconds": time.perf_counter() - begin,
    }


def epoch() -> float:
    """Train one epoch, without validation; its seconds."""
    begin = time.perf_counter()
    state, values = _running["program"](_running["state"], _running["arrays"])
    jax.block_until_ready(values)
    _running["state"] = state
    return time.perf_counter() - begin


if __name__ == "__main__":
    serve({"prepare": prepare_model, "epoch": epoch})
