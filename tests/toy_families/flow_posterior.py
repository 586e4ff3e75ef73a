"""A posterior by flow matching, from sets of observations of varying size.

Source: Lipman et al. 2023, "Flow matching for generative modeling", with straight paths.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from optuna.distributions import FloatDistribution, IntDistribution

from models.config import Config as BaseConfig
from models.config import static
from models.data.rows import Rows
from models.example import Example
from models.family import creator
from models.layers.initialization import initialize
from models.layers.linear import Linear
from models.layers.normalization import Standardize
from models.losses import Loss, Term, squared_error
from models.training.optimizer import Optimizer
from models.training.problem import Problem
from search_spaces.space import Space

TASKS = ("posterior",)
CLOSED_FORM = False
CAUSAL = False

POINT, TIME, VELOCITY = "flow.point", "flow.time", "flow.velocity"


@dataclass(frozen=True, kw_only=True)
class FlowPosterior(BaseConfig):
    """Size of the hidden layers, and Euler steps of a draw."""

    hidden_size: int = static(16, low=1)
    steps: int = static(8, low=1)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the toy."""

    model: FlowPosterior = field(default_factory=FlowPosterior)
    data: Rows = field(default_factory=lambda: Rows(batch_size=32))
    optimizer: Optimizer = field(default_factory=Optimizer)


class Model(nnx.Module):
    """A velocity of parameters, given the mean of what its observations say."""

    def __init__(self, *, config, data, key):
        task = data.task
        self.role, self.wanted = task.observations, task.parameters
        self.draws, self.steps = task.draws, config.steps
        self.observed = Standardize.of(data.statistics, task.observations)
        self.inferred = Standardize.of(data.statistics, task.parameters)
        size, width = config.hidden_size, self.inferred.channels
        self.read = Linear(inputs=self.observed.channels, outputs=size)
        self.point = Linear(inputs=width + 1, outputs=size)
        self.context = Linear(inputs=size + 1, outputs=size)
        self.head = Linear(inputs=size, outputs=width)
        initialize(self, key)

    def encode(self, batch):
        """Of every row the context ``[B, 1, size]``, whatever the order and number of x."""
        x = self.observed(batch[self.role])
        there = batch[f"given.{self.role}"].all(axis=-1, keepdims=True).astype(x.dtype)
        count = jnp.sum(there, axis=1, keepdims=True)
        total = jnp.sum(jnp.tanh(self.read(x)) * there, axis=1, keepdims=True)
        mean = total / jnp.maximum(count, 1.0)
        return self.context(jnp.concatenate([mean, count / x.shape[1]], axis=-1))

    def velocity(self, point, time, context):
        """At points ``[B, N, P]`` and times ``[B, N, 1]``, in standard deviations."""
        moved = self.point(jnp.concatenate([point, time], axis=-1))
        return self.head(jnp.tanh(moved + context))

    def sample(self, context, key):
        """Draws ``[B, draws, P]`` in physical units, by Euler steps.

        All rows start from the same noise, so that a row's draws do not depend on which
        rows come with it.
        """
        shape = (len(context), self.draws, self.inferred.channels)
        noise = jax.random.normal(key, shape[1:], context.dtype)

        def step(point, time):
            now = jnp.full((*shape[:2], 1), time, point.dtype)
            return point + self.velocity(point, now, context) / self.steps, None

        times = jnp.arange(self.steps, dtype=context.dtype) / self.steps
        draws, _ = jax.lax.scan(step, jnp.broadcast_to(noise[None], shape), times)
        return self.inferred.inverse(draws)


def interpolate(key, batch, step, *, role, mean, std):
    """A point on the straight path from noise to the standardized parameters."""
    first, second = jax.random.split(key)
    theta = batch[role]
    mean, std = (jnp.asarray(a, theta.dtype)[None] for a in (mean, std))
    end = (theta - mean) / std
    begin = jax.random.normal(first, end.shape, end.dtype)
    time = jax.random.uniform(second, (len(end), 1), end.dtype)
    point = (1 - time) * begin + time * end
    return batch | {POINT: point, TIME: time, VELOCITY: end - begin}


def matching(outputs, batch, hyper):
    """Mean squared error of the velocity."""
    return jnp.mean(squared_error(outputs["velocity"], batch[VELOCITY]))


def forward(model, batch, *, key, training, carry, hyper):
    context, outputs = model.encode(batch), {}
    if POINT in batch:  # nothing is matched in prediction
        at = batch[POINT][:, None], batch[TIME][:, None]
        outputs["velocity"] = model.velocity(*at, context)[:, 0]
    if not training:
        outputs[model.wanted] = model.sample(context, key)
    return outputs, carry


def problem(config, data):
    """The thing to be learned."""
    task, statistics = data.task, data.statistics
    role = task.parameters
    mean, std = np.asarray(statistics.mean[role]), np.asarray(statistics.std[role])
    return Problem(
        signature=(__name__, config.static_signature(), data.identity),
        build=lambda key: Model(config=config.model, data=data, key=key),
        forward=forward,
        loss=Loss(terms={"velocity": Term(function=matching)}),
        metrics=task.metrics(data),
        hyper=config.traced(),
        optimizer=config.optimizer,
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        targets=(partial(interpolate, role=role, mean=mean, std=std),),
    )


create = creator(__name__)

SPACE = Space(
    {
        "model.hidden_size": IntDistribution(8, 16, step=8),
        "model.steps": IntDistribution(4, 8, step=4),
        "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
        "data.batches": 4,
    }
)


def example(task):
    """A tiny problem."""
    return Example(
        task=task,
        config={
            "model.hidden_size": 8,
            "model.steps": 4,
            "data.batch_size": 32,
            "data.batches": 4,
        },
    )
