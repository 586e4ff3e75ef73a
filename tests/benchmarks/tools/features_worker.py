"""Trains epochs of our categorical VQ-VAE on request."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax

from models import categorical_vqvae
from models.data.catalog import prepare
from models.training.protocol import Context
from tests.benchmarks.tools.features import BATCH, BITS, CODE_SIZES, EMBEDDING, HIDDEN
from tests.benchmarks.tools.serve import serve

_running: dict[str, Any] = {}


def prepare_model(data: str) -> dict[str, Any]:
    """Build a learner and compile its epoch; parameters, and seconds of compiling."""
    begin = time.perf_counter()
    reference = prepare({"path": data, "groups": _groups(Path(data))}).to_json()
    made = categorical_vqvae.create(
        {
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
            "optimizer.schedule": "constant",
        },
        Context(
            task={"name": "reconstruction"},
            data=reference,
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


def _groups(path: Path) -> dict[str, list[int]]:
    from tests.benchmarks.tools.features import groups

    return groups()


if __name__ == "__main__":
    serve({"prepare": prepare_model, "epoch": epoch})
