"""A table's next rows from those before: a linear map over time, and a hidden layer beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import jax.numpy as jnp
from flax import nnx
from optuna.distributions import FloatDistribution, IntDistribution

from models.config import Config as BaseConfig
from models.config import static
from models.data.windows import Windows
from models.errors import UserError
from models.example import Example
from models.family import creator
from models.layers.initialization import initialize
from models.layers.linear import Linear
from models.layers.normalization import Standardize
from models.losses import Loss, Term, only, squared_error
from models.training.optimizer import Optimizer
from models.training.problem import Problem
from search_spaces.space import Space

TASKS = ("forecast",)
CLOSED_FORM = False
CAUSAL = False  # there is no input that goes on through the horizon


@dataclass(frozen=True, kw_only=True)
class TableForecast(BaseConfig):
    """Size of the hidden layer."""

    hidden_size: int = static(16, low=1)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the toy."""

    model: TableForecast = field(default_factory=TableForecast)
    data: Windows = field(default_factory=lambda: Windows(window=192, batch_size=32))
    optimizer: Optimizer = field(default_factory=Optimizer)


class Model(nnx.Module):
    """Every column alone, by the same weights."""

    def __init__(self, *, config, data, look_back, key):
        self.look_back, self.horizon = look_back, data.task.horizon
        self.normalize = Standardize.of(data.statistics, "y")
        self.straight = Linear(inputs=look_back, outputs=self.horizon)
        self.read = Linear(inputs=look_back, outputs=config.hidden_size)
        self.head = Linear(inputs=config.hidden_size, outputs=self.horizon)
        initialize(self, key)

    def __call__(self, batch):
        """The rows of the horizon behind those that are given, ``[B, T, C]``."""
        y = batch["y"]
        early = y.shape[1] - self.horizon
        if early < self.look_back:
            raise UserError(
                f"the forecast needs {self.look_back} rows to look back on, got {early}",
                hint="pass more rows, or take a trial with a shorter `data.window`",
            )
        values = self.normalize(y[:, early - self.look_back : early])
        columns = jnp.swapaxes(values, 1, 2)
        found = self.straight(columns) + self.head(jnp.tanh(self.read(columns)))
        late = self.normalize.inverse(jnp.swapaxes(found, 1, 2))
        return {"y": jnp.concatenate([y[:, :early], late], axis=1)}


def error(outputs, batch, hyper, *, std):
    """Mean squared error of the scored entries, in standard deviations."""
    mask, unit = batch["scored.y"], jnp.asarray(std, batch["y"].dtype)[None, None]
    found, wanted = only(mask, outputs["y"], batch["y"])
    total = jnp.sum(squared_error(found / unit, wanted / unit))
    return total / jnp.maximum(jnp.sum(mask, dtype=jnp.int32), 1).astype(total.dtype)


def forward(model, batch, *, key, training, carry, hyper):
    return model(batch), carry


def problem(config, data):
    """The thing to be learned."""
    task = data.task
    look_back = task.lead(config.data)
    own = partial(error, std=data.statistics.std["y"])
    return Problem(
        signature=(__name__, config.static_signature(), data.identity),
        build=lambda key: Model(
            config=config.model, data=data, look_back=look_back, key=key
        ),
        forward=forward,
        loss=Loss(terms={"error": Term(function=own)}),
        metrics=task.metrics(data),
        hyper=config.traced(),
        optimizer=config.optimizer,
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
    )


create = creator(__name__)

SPACE = Space(
    {
        "model.hidden_size": IntDistribution(8, 16, step=8),
        "data.window": IntDistribution(24, 32, step=8),
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
            "data.window": 24,
            "data.batch_size": 16,
            "data.batches": 4,
        },
    )
