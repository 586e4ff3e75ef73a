"""Several trials of one static signature trained by one program, each as if alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from models.training.learner import GradientLearner
from models.training.programs import PROGRAMS
from models.training.protocol import Epoch


def stack(trees: Sequence[Any]) -> Any:
    """Trees of equal structure and shapes as one, each leaf ``[K, ...]``."""

    def function(trees: list[Any]) -> Any:
        return jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *trees)

    arguments = (list(trees),)
    program, _ = PROGRAMS.get("stack", function, arguments)
    return program.call(*arguments)


def unstack(tree: Any) -> list[Any]:
    """The list of trees that `stack` made one."""
    lanes = jax.tree.leaves(tree)[0].shape[0]

    def take(tree: Any, lane: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[lane], tree)

    def function(tree: Any) -> Any:
        return [take(tree, lane) for lane in range(lanes)]

    program, _ = PROGRAMS.get(("unstack", lanes), function, (tree,))
    return program.call(tree)


def fit_lanes(
    learners: Sequence[GradientLearner], epochs: int
) -> Iterator[tuple[Epoch, ...]]:
    """Train all `learners` until epoch `epochs` side by side, yielding their epochs.

    Each lane equals its trial alone up to rounding. The learners' states are theirs again
    when the iterator is exhausted or closed; until then they hold those of the beginning.
    The seconds of an epoch are shared out equally.

    Args:
        learners: Of one static signature, with equally many epochs behind them.
        epochs: The last epoch's number.

    Raises:
        ValueError: The learners differ in signature, validation data or epochs done.
    """
    _check(learners)
    lanes = len(learners)
    runner = learners[0].runner.with_lanes(lanes)
    state = stack([learner.state for learner in learners])
    best = stack([learner.best for learner in learners])
    try:
        while len(learners[0].records) < epochs:
            begin = time.perf_counter()
            result = runner.epoch(state, best, learners[0].valid)
            state, best = result.state, result.best
            seconds = (time.perf_counter() - begin) / lanes
            share = replace(result, compile_seconds=result.compile_seconds / lanes)
            yield tuple(
                learner.record(share, seconds=seconds, lane=lane)
                for lane, learner in enumerate(learners)
            )
    finally:
        pairs = zip(learners, unstack(state), unstack(best), strict=True)
        for learner, own_state, own_best in pairs:
            learner.state, learner.best = own_state, own_best


def _check(learners: Sequence[GradientLearner]) -> None:
    if not learners:
        raise ValueError("lanes need at least one learner, got none")
    first = learners[0]
    for learner in learners[1:]:
        if learner.runner.signature != first.runner.signature:
            raise ValueError(
                "lanes must share one static signature, got "
                f"{first.runner.signature} and {learner.runner.signature}"
            )
        if len(learner.records) != len(first.records):
            raise ValueError(
                "lanes must have equally many epochs behind them, got "
                f"{len(first.records)} and {len(learner.records)}"
            )
        if not _equal(first.valid, learner.valid):
            raise ValueError("lanes must share one validation part")


def _equal(first: Any, second: Any) -> bool:
    if first is second:
        return True
    if jax.tree.structure(first) != jax.tree.structure(second):
        return False
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(a is b or np.array_equal(a, b) for a, b in pairs)
