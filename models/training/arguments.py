"""Arguments of a learner: refused where they make no sense, and put on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.errors import ConfigError, near_matches
from models.training.engine import Direction
from models.training.problem import Batch, Problem

Groups = tuple[Mapping[str, Any], ...]


def on_device(groups: Groups) -> tuple[Batch, ...]:
    """Groups of arrays on the device; floats in JAX's default precision."""
    return tuple({name: _place(a) for name, a in group.items()} for group in groups)


def _place(array: Any) -> jax.Array:
    if isinstance(array, jax.Array):
        return array
    array = np.asarray(array)
    if np.issubdtype(array.dtype, np.floating):
        array = array.astype(jnp.result_type(float), copy=False)
    return jax.device_put(array)


def check(
    problem: Problem, objective: tuple[str, Direction], *, seed: int, epochs: int
) -> None:
    """Refuse what no learner can train by.

    Args:
        problem: What is learned.
        objective: The metric that decides which epoch is best, and its direction.
        seed: The trial's seed.
        epochs: The epoch budget.

    Raises:
        ConfigError: The objective is no metric, two metrics share a name, or a number is out
            of range.
    """
    names = [metric.name for metric in problem.metrics] + list(problem.term_names())
    every = names + [metric.name for metric in problem.train_metrics]
    doubled = sorted({n for n in every if every.count(n) > 1})
    if doubled:
        raise ConfigError(f"every metric needs a name of its own, got {doubled} twice")
    if objective[0] not in names:
        raise ConfigError(
            f"the objective `{objective[0]}` is none of the metrics",
            hint=near_matches(objective[0], names),
        )
    if objective[1] not in ("minimize", "maximize"):
        raise ConfigError(
            f"an objective is to `minimize` or to `maximize`, got `{objective[1]}`"
        )
    if epochs < 1:
        raise ConfigError(f"a budget needs at least 1 epoch, got {epochs}")
    if not 0 <= seed < 2**32:
        raise ConfigError(f"a seed must be from 0 to 2³²-1, got {seed}")
