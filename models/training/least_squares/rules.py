"""What can be trained by least squares, and a clear word for what cannot."""

from __future__ import annotations

import math
from typing import Any

import jax
from flax import nnx

from models.data.tiles import Tiled
from models.errors import ConfigError
from models.training.optimizer import LEVENBERG_MARQUARDT
from models.training.problem import Problem

LIMIT = 1000
"""Most parameters: an iteration's work grows with their square, its memory too."""


def check(problem: Problem) -> None:
    """Refuse a problem that asks for least squares and cannot be trained so.

    Raises:
        ConfigError: Its loss is no mean square, its model has too many parameters, it carries
            a state, or its windows grow.
    """
    if problem.optimizer.kind != LEVENBERG_MARQUARDT:
        return
    asked = f"`optimizer.kind` {LEVENBERG_MARQUARDT}"
    if problem.residuals is None or len(problem.loss.names) != 1:
        raise ConfigError(
            f"{asked} minimises a mean square and nothing beside it, but the loss here is "
            f"{', '.join(problem.loss.names)}",
            hint="set `loss.kind` to `mse`, or `optimizer.kind` to `adam`",
        )
    if problem.initial_carry is not None:
        raise ConfigError(
            f"{asked} knows no models that carry a state from batch to batch",
            hint="set `optimizer.kind` to `adam`",
        )
    if problem.lengths is not None:
        raise ConfigError(
            f"{asked} goes over whole windows, but these begin with "
            f"{problem.lengths.sizes[0]} samples",
            hint="set `augmentation.shortest` to 0, or `optimizer.kind` to `adam`",
        )
    count = parameters(problem)
    if count > LIMIT:
        raise ConfigError(
            f"{asked} is for models of at most {LIMIT} parameters, this one has {count}",
            hint="make the model smaller, or set `optimizer.kind` to `adam`",
        )


def check_feed(problem: Problem, feed: Any) -> None:
    """Refuse data that least squares cannot go over several times within an epoch.

    Raises:
        ConfigError: The windows are not on the device.
    """
    if problem.optimizer.kind != LEVENBERG_MARQUARDT:
        return
    if not isinstance(feed, Tiled):
        raise ConfigError(
            f"`optimizer.kind` {LEVENBERG_MARQUARDT} goes over windows on the device, got "
            f"{type(feed).__name__}",
            hint="set `data.feeding` to `resident`, or `optimizer.kind` to `adam`",
        )


def parameters(problem: Problem) -> int:
    """How many numbers a problem trains; nothing is computed."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    trained = jax.eval_shape(lambda k: nnx.state(problem.build(k), nnx.Param), key)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(trained))
