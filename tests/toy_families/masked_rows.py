"""Rows with gaps, coded by a variational autoencoder whose divergence is weighted in slowly."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from optuna.distributions import FloatDistribution, IntDistribution

from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.rows import Rows
from models.example import Example
from models.family import creator
from models.layers.initialization import initialize
from models.layers.linear import Linear
from models.layers.normalization import Standardize
from models.losses import Loss, Term, only, squared_error
from models.training.optimizer import Optimizer
from models.training.problem import Problem, Schedule
from search_spaces.space import Space

TASKS = ("reconstruction",)
CLOSED_FORM = False
CAUSAL = False

WEIGHT_NOW = "divergence.now"


@dataclass(frozen=True, kw_only=True)
class MaskedRows(BaseConfig):
    """Sizes of the hidden layers and of the code."""

    hidden_size: int = static(16, low=1)
    code_size: int = static(2, low=1)


@dataclass(frozen=True, kw_only=True)
class Divergence(BaseConfig):
    """Weight of the divergence from N(0, 1), reached after a fraction of the horizon."""

    weight: float = traced(1e-2, low=0.0)
    annealed: float = traced(0.5, low=1e-3, high=1.0)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the toy."""

    model: MaskedRows = field(default_factory=MaskedRows)
    divergence: Divergence = field(default_factory=Divergence)
    data: Rows = field(default_factory=lambda: Rows(batch_size=32))
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(averaged=True, average=0.95)
    )


class Model(nnx.Module):
    """Two layers to a code and two layers back, over what is given of a row."""

    def __init__(self, *, config, data, key):
        self.role = data.task.role
        self.normalize = Standardize.of(data.statistics, self.role)
        width, size = self.normalize.channels, config.hidden_size
        self.read = Linear(inputs=2 * width, outputs=size)
        self.mean = Linear(inputs=size, outputs=config.code_size)
        self.log_variance = Linear(inputs=size, outputs=config.code_size)
        self.write = Linear(inputs=config.code_size, outputs=size)
        self.head = Linear(inputs=size, outputs=width)
        initialize(self, key)

    def __call__(self, batch, *, key=None):
        """Whole rows ``[B, C]`` and the code's moments; a key draws the code."""
        values = self.normalize(batch[self.role][:, None])
        mask = batch[f"given.{self.role}"][:, None].astype(values.dtype)
        read = jnp.tanh(self.read(jnp.concatenate([values * mask, mask], axis=-1)))
        mean, log_variance = self.mean(read), self.log_variance(read)
        code = mean
        if key is not None:
            noise = jax.random.normal(key, mean.shape, mean.dtype)
            code = mean + jnp.exp(0.5 * log_variance) * noise
        rows = self.normalize.inverse(self.head(jnp.tanh(self.write(code))))
        code = {"mean": mean, "log_variance": log_variance}
        return {self.role: rows[:, 0], "code": code}


def divergence(outputs, batch, hyper):
    """The Kullback-Leibler divergence of the code from N(0, 1), in nats a row."""
    mean, log_variance = outputs["code"]["mean"], outputs["code"]["log_variance"]
    inner = 1.0 + log_variance - jnp.square(mean) - jnp.exp(log_variance)
    return -0.5 * jnp.mean(jnp.sum(inner, axis=(1, 2)))


def masked(outputs, batch, hyper, *, role, std):
    """Mean squared error of the scored entries, in standard deviations."""
    mask, unit = batch[f"scored.{role}"], jnp.asarray(std, batch[role].dtype)[None]
    found, wanted = only(mask, outputs[role], batch[role])
    total = jnp.sum(squared_error(found / unit, wanted / unit))
    return total / jnp.maximum(jnp.sum(mask, dtype=jnp.int32), 1).astype(total.dtype)


def risen(hyper, fraction):
    """The divergence's weight at a fraction of the horizon."""
    share = jnp.minimum(fraction / hyper["divergence.annealed"], 1.0)
    return hyper["divergence.weight"] * share


def forward(model, batch, *, key, training, carry, hyper):
    return model(batch, key=key if training else None), carry


def problem(config, data):
    """The thing to be learned."""
    task = data.task
    error = partial(masked, role=task.role, std=data.statistics.std[task.role])
    return Problem(
        signature=(__name__, config.static_signature(), data.identity),
        build=lambda key: Model(config=config.model, data=data, key=key),
        forward=forward,
        loss=Loss(
            terms={
                "masked": Term(function=error),
                "divergence": Term(function=divergence, weight=WEIGHT_NOW),
            }
        ),
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
        "model.hidden_size": IntDistribution(8, 16, step=8),
        "model.code_size": IntDistribution(1, 3),
        "optimizer.average": FloatDistribution(0.5, 0.99),
        "divergence.weight": FloatDistribution(1e-3, 1.0, log=True),
        "divergence.annealed": FloatDistribution(0.2, 1.0),
        "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
        "data.batches": 4,
    }
)


def example(task):
    """A tiny problem."""
    return Example(
        task=task,
        config={"model.hidden_size": 8, "data.batch_size": 16, "data.batches": 4},
    )
