"""A start state encoded as a Gaussian, from which a recurrent network is driven by u."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from optuna.distributions import FloatDistribution, IntDistribution

from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.windows import Windows
from models.example import Example
from models.family import creator
from models.layers.initialization import initialize
from models.layers.linear import Linear
from models.layers.normalization import Standardize
from models.layers.stack import Recurrent
from models.losses import Loss, Term
from models.sequences import (
    SequenceLoss,
    check_windows,
    require_scored_window,
    sequence_loss,
)
from models.training.optimizer import Optimizer
from models.training.problem import Problem, Schedule
from search_spaces.space import Space

TASKS = ("prediction",)
CLOSED_FORM = False
CAUSAL = True

WEIGHT_NOW = "divergence.now"


@dataclass(frozen=True, kw_only=True)
class GaussianStart(BaseConfig):
    """Sizes of the encoder's and the rollout's state, and of the code between them."""

    hidden_size: int = static(8, low=1)
    code_size: int = static(2, low=1)


@dataclass(frozen=True, kw_only=True)
class Divergence(BaseConfig):
    """Weight of the divergence from N(0, 1), reached after a fraction of the horizon."""

    weight: float = traced(1e-2, low=0.0)
    annealed: float = traced(0.5, low=1e-3, high=1.0)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the toy."""

    model: GaussianStart = field(default_factory=GaussianStart)
    divergence: Divergence = field(default_factory=Divergence)
    data: Windows = field(default_factory=lambda: Windows(window=32, batch_size=16))
    loss: SequenceLoss = field(default_factory=SequenceLoss)
    optimizer: Optimizer = field(default_factory=Optimizer)

    def validate(self):
        check_windows(data=self.data, loss=self.loss)


class Model(nnx.Module):
    """Reads the known part backwards, draws a start state, runs forwards."""

    def __init__(self, *, config, data, key):
        self.normalize_u = Standardize.of(data.statistics, "u")
        self.normalize_y = Standardize.of(data.statistics, "y")
        inputs, outputs = self.normalize_u.channels, self.normalize_y.channels
        size = config.hidden_size
        self.encoder = Recurrent(
            cell="plain", inputs=inputs + outputs + 1, hidden_size=size
        )
        self.mean = Linear(inputs=size, outputs=config.code_size)
        self.log_variance = Linear(inputs=size, outputs=config.code_size)
        self.begin = Linear(inputs=config.code_size, outputs=size)
        self.rollout = Recurrent(cell="plain", inputs=inputs, hidden_size=size)
        self.head = Linear(inputs=size, outputs=outputs)
        initialize(self, key)

    def __call__(self, batch, *, key=None):
        """Outputs, and the code's mean and log variance; a key draws the code."""
        u, mean, log_variance = self.encode(batch)
        code = mean
        if key is not None:
            noise = jax.random.normal(key, mean.shape, mean.dtype)
            code = mean + jnp.exp(0.5 * log_variance) * noise
        states, _ = self.rollout(u, self.begin(code)[:, 0])
        y = self.normalize_y.inverse(self.head(states))
        return {"y": y, "start": {"mean": mean, "log_variance": log_variance}}

    def encode(self, batch):
        """Standardized inputs, and the code's moments ``[B, 1, code]``."""
        u, y = self.normalize_u(batch["u"]), self.normalize_y(batch["y"])
        mask = batch["given.y"].astype(u.dtype)
        known = jnp.concatenate([u, y, jnp.ones_like(mask)], axis=-1) * mask
        start = self.encoder.initial_state(u.shape[0])
        _, state = self.encoder(known[:, ::-1], start)
        return u, self.mean(state[:, None]), self.log_variance(state[:, None])


def divergence(outputs, batch, hyper):
    """The Kullback-Leibler divergence of the code from N(0, 1), in nats a window."""
    mean, log_variance = outputs["start"]["mean"], outputs["start"]["log_variance"]
    inner = 1.0 + log_variance - jnp.square(mean) - jnp.exp(log_variance)
    return -0.5 * jnp.mean(jnp.sum(inner, axis=(1, 2)))


def risen(hyper, fraction):
    """The divergence's weight at a fraction of the horizon."""
    share = jnp.minimum(fraction / hyper["divergence.annealed"], 1.0)
    return hyper["divergence.weight"] * share


def forward(model, batch, *, key, training, carry, hyper):
    return model(batch, key=key if training else None), carry


def problem(config, data):
    """The thing to be learned."""
    task = data.task
    require_scored_window(data=config.data, loss=config.loss, known=task.known_outputs)
    error = sequence_loss(
        config=config.loss, std=data.statistics.std["y"], start=task.known_outputs
    )
    weighted = Term(function=divergence, weight=WEIGHT_NOW)
    return Problem(
        signature=(__name__, config.static_signature(), data.identity),
        build=lambda key: Model(config=config.model, data=data, key=key),
        forward=forward,
        loss=Loss(terms={**error.terms, "divergence": weighted}),
        metrics=task.metrics(data),
        hyper=config.traced(),
        optimizer=config.optimizer,
        schedules={
            WEIGHT_NOW: Schedule(
                function=risen, evaluation=lambda hyper: hyper["divergence.weight"]
            )
        },
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
    )


create = creator(__name__)

SPACE = Space(
    {
        "model.hidden_size": IntDistribution(4, 8, step=4),
        "model.code_size": IntDistribution(1, 3),
        "divergence.weight": FloatDistribution(1e-3, 1.0, log=True),
        "divergence.annealed": FloatDistribution(0.2, 1.0),
        "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
        "data.window": 32,
        "data.batches": 2,
    }
)


def example(task):
    """A tiny problem."""
    return Example(
        task=task,
        config={
            "model.hidden_size": 4,
            "data.window": 24,
            "data.batch_size": 8,
            "data.batches": 2,
        },
    )
