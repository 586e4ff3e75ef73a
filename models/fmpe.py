"""Flow matching posterior estimation: a residual network carries noise to parameters.

A posterior of any shape is what noise becomes that follows the network's velocity, given the
observations. Of every observation the network sees its value and whether it is there.

Sources: Lipman et al. 2023, "Flow matching for generative modeling"; Wildberger et al. 2023,
"Flow matching for scalable simulation-based inference"; residual blocks after He et al. 2016,
"Identity mappings in deep residual networks".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.rows import Rows
from models.example import Example
from models.family import creator
from models.flows import (
    LOOKS,
    Matching,
    coordinates,
    drawn,
    looked_at,
    matching_loss,
    posterior_task,
)
from models.layers.dropout import dropout, split_key
from models.layers.flow import Solver, log_density, transported_draws
from models.layers.initialization import initialize
from models.layers.linear import Linear
from models.layers.normalization import Standardize
from models.layers.time_features import time_features
from models.layers.traced import Traced
from models.tasks.base import TaskData
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Hyper, Outputs, Problem

TASKS = ("posterior",)
CLOSED_FORM = False
CAUSAL = False
DROPOUT = "model.dropout"


@dataclass(frozen=True, kw_only=True)
class Residual(BaseConfig):
    """The network.

    Attributes:
        hidden_size: Width of every layer.
        blocks: Residual blocks, of two layers each.
        frequencies: Waves that tell it the time; 0 for the time alone.
        dropout: Rate between the layers of a block.
    """

    hidden_size: int = static(128, low=1)
    blocks: int = static(4, low=1)
    frequencies: int = static(8, low=0)
    dropout: float = traced(0.0, low=0.0, high=0.9)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `fmpe`."""

    model: Residual = field(default_factory=Residual)
    matching: Matching = field(default_factory=Matching)
    solver: Solver = field(default_factory=Solver)
    data: Rows = field(default_factory=lambda: Rows(batch_size=128))
    optimizer: Optimizer = field(default_factory=Optimizer)


class Block(nnx.Module):
    """``h + W₂ φ(W₁ [φ(h), c] )`` with φ(x) = x · sigmoid(x).

    Args:
        size: Of h, and of the condition c.
    """

    def __init__(self, size: int) -> None:
        self.first = Linear(inputs=2 * size, outputs=size)
        self.second = Linear(inputs=size, outputs=size)
        self.rate = Traced(0.0, name=DROPOUT)

    def __call__(
        self,
        hidden: Float[Array, "row look size"],
        condition: Float[Array, "row look size"],
        *,
        key: Key[Array, ""] | None,
    ) -> Float[Array, "row look size"]:
        """The next hidden values; a key switches dropout on."""
        seen = jnp.concatenate([jax.nn.silu(hidden), condition], axis=-1)
        inner = dropout(jax.nn.silu(self.first(seen)), self.rate[...], key)
        return hidden + self.second(inner)


class Model(nnx.Module):
    """The velocity of parameters on the real line, given observations.

    Args:
        config: The family's configuration.
        data: Of the task; gives units, sizes and the prior's limits.
        key: Randomness of the initial weights.
    """

    def __init__(self, *, config: Config, data: TaskData, key: Key[Array, ""]) -> None:
        task, model = posterior_task(data), config.model
        self.solver, self.frequencies = config.solver, model.frequencies
        self.coordinates, self.roles = coordinates(data), task.takes
        self.observed = nnx.List(Standardize.of(data.statistics, r) for r in task.takes)
        size, numbers = model.hidden_size, self.coordinates.columns
        seen = sum(math.prod(data.shapes[role]) for role in task.takes)
        self.read = Linear(inputs=2 * seen, outputs=size)
        self.context = Linear(inputs=size, outputs=size)
        self.when = Linear(inputs=1 + 2 * model.frequencies, outputs=size)
        self.place = Linear(inputs=numbers, outputs=size)
        self.blocks = nnx.List(Block(size) for _ in range(model.blocks))
        self.head = Linear(inputs=size, outputs=numbers)
        initialize(self, key)

    def encode(self, given: Batch) -> Float[Array, "row size"]:
        """What the network remembers of each row's observations."""
        seen = []
        for role, standardize in zip(self.roles, self.observed, strict=True):
            values, mask = given[role], given[f"given.{role}"]
            rows, columns = len(values), values.shape[-1]
            values = standardize(values.reshape(rows, -1, columns))
            mask = mask.reshape(values.shape).astype(values.dtype)
            seen += [(values * mask).reshape(rows, 1, -1), mask.reshape(rows, 1, -1)]
        return self.context(jax.nn.silu(self.read(jnp.concatenate(seen, axis=-1))))[
            :, 0
        ]

    def velocity(
        self,
        points: Float[Array, "row look parameter"],
        times: Float[Array, "row look"],
        context: Float[Array, "row size"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "row look parameter"]:
        """The velocity at points and times; a key switches dropout on."""
        when = self.when(time_features(times, self.frequencies))
        condition = jax.nn.silu(when + context[:, None])
        hidden = self.place(points) + condition
        keys = split_key(key, len(self.blocks))
        for block, own in zip(self.blocks, keys, strict=True):
            hidden = block(hidden, condition, key=own)
        return self.head(jax.nn.silu(hidden))

    def sample(
        self,
        noise: Float[Array, "row draw parameter"],
        context: Float[Array, "row size"],
    ) -> Float[Array, "row draw parameter"]:
        """Draws in physical units that begin as noise."""
        carried = transported_draws(self._single, noise, context, solver=self.solver)
        return self.coordinates.physical(carried)

    def log_prob(
        self,
        values: Float[Array, "row parameter"],
        given: Batch,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, " row"]:
        """Log density of parameters in physical units, given each row's observations.

        Args:
            values: One vector a row.
            given: Observations, and what of them is there.
            key: Estimates the divergence by random probes; None computes it.
        """
        places, context = self.coordinates.real(values), self.encode(given)
        found = log_density(self._single, places, context, solver=self.solver, key=key)
        return found - self.coordinates.log_slope(places)

    def _single(self, point: Array, time: Array, context: Array) -> Array:
        """The velocity at one point."""
        return self.velocity(point[None, None], time[None, None], context[None])[0, 0]


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.
    """
    task = posterior_task(data)

    def forward(
        model: Model,
        batch: Batch,
        *,
        key: Key[Array, ""],
        training: bool,
        carry: Any,
        hyper: Hyper,
    ) -> tuple[Outputs, Any]:
        context, looks = model.encode(batch), 1 if training else LOOKS
        dropping = key if training else None
        outputs = looked_at(model, batch, context, looks=looks, key=dropping)
        if not training:
            outputs |= drawn(model, batch, context, key=key, data=data)
        return outputs, carry

    return Problem(
        signature=(__name__, config.static_signature(), data.identity),
        build=lambda key: Model(config=config, data=data, key=key),
        forward=forward,
        loss=matching_loss(task),
        metrics=task.metrics(data),
        hyper=config.traced(),
        optimizer=config.optimizer,
        schedules=config.matching.schedules(),
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        targets=(config.matching.targets(data),),
    )


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(
        task=task,
        config={
            "model.hidden_size": 8,
            "model.blocks": 1,
            "model.frequencies": 2,
            "solver.steps": 2,
            "data.batch_size": 32,
            "data.batches": 4,
        },
    )
