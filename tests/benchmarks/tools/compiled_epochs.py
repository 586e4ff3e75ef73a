"""Epochs of one of our learners without validation: compiled once, trained on request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from models.training.protocol import Context

_running: dict[str, Any] = {}


def prepare(
    create: Callable[[Mapping[str, Any], Context], Any],
    config: Mapping[str, Any],
    data: Callable[[], Any],
    task: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build a learner and compile its epoch.

    Args:
        create: The family's.
        config: Its configuration.
        data: Gives the reference of the data.
        task: What it learns; reconstruction by default.

    Returns:
        Parameters, batches of an epoch, and seconds of compiling and of all that.
    """
    begin = time.perf_counter()
    made = create(
        config,
        Context(
            task=task or {"name": "reconstruction"},
            data=data(),
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
