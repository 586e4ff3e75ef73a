"""Trend and season of a look-back, each mapped to the horizon by a linear map of its own.

The trend is a moving average whose ends are held; the season is the rest. Both maps are shared by
all columns, or each column has its own.

Source: Zeng et al. 2023, "Are transformers effective for time series forecasting?" (DLinear).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from models.config import Config as BaseConfig
from models.config import static
from models.data.windows import Windows
from models.errors import ConfigError
from models.example import Example
from models.family import creator
from models.forecasting import (
    ForecastLoss,
    Frame,
    forecast_problem,
    seen_of,
)
from models.layers.initialization import initialize, parameter
from models.layers.normalization import Standardize
from models.layers.reversible import Kind, ReversibleNorm, level
from models.tasks.base import TaskData
from models.training.optimizer import Optimizer
from models.training.problem import Problem

TASKS = ("forecast",)
CLOSED_FORM = False
CAUSAL = False  # there is no input that goes on through the horizon


@dataclass(frozen=True, kw_only=True)
class Decomposition(BaseConfig):
    """The network.

    Attributes:
        kernel: Rows of the moving average; odd.
        individual: Whether every column has maps of its own.
        normalization: Windows in units of their own (`models.layers.reversible`).
    """

    kernel: int = static(25, low=1)
    individual: bool = static(False)
    normalization: Kind = static("plain")

    def validate(self) -> None:
        """Refuse an average without a middle."""
        if self.kernel % 2 == 0:
            raise ConfigError(
                f"`model.kernel` must be odd, got {self.kernel}",
                hint=f"set it to {self.kernel + 1}",
            )


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `dlinear`."""

    model: Decomposition = field(default_factory=Decomposition)
    data: Windows = field(default_factory=lambda: Windows(window=192, batch_size=32))
    loss: ForecastLoss = field(default_factory=ForecastLoss)
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(learning_rate=1e-3, decay_start=0.0)
    )

    def validate(self) -> None:
        """Refuse windows in a row."""
        self.data.require_shuffled()


class Model(nnx.Module):
    """Standardize, trend and season, two linear maps, physical units.

    Args:
        config: The network's configuration.
        data: Of the task.
        frame: Its sizes.
        key: Randomness of the initial weights.
    """

    def __init__(
        self,
        *,
        config: Decomposition,
        data: TaskData,
        frame: Frame,
        key: Key[Array, ""],
    ) -> None:
        channels, look_back = len(frame.std), frame.look_back
        self.standardize = Standardize.of(data.statistics, "y")
        self.normalize = ReversibleNorm(kind=config.normalization, channels=channels)
        self.kernel = config.kernel
        maps = channels if config.individual else 1
        for name in ("trend", "season"):
            shape = (maps, look_back, frame.horizon)
            setattr(self, f"{name}_weight", parameter(shape, fan_in=look_back))
            setattr(
                self, f"{name}_bias", parameter((maps, frame.horizon), fan_in=look_back)
            )
        initialize(self, key)

    def __call__(
        self, batch: Mapping[str, Array], frame: Frame, *, key: Key[Array, ""] | None
    ) -> Float[Array, "batch horizon channel"]:
        """The horizon in physical units; nothing is dropped, so it needs no key."""
        del key
        seen = seen_of(batch, frame)
        values = self.standardize(frame.recent(batch, "y"))
        at = level(values, seen)
        columns = jnp.swapaxes(self.normalize(values, seen, at), 1, 2)
        trend = moving_average(columns, self.kernel)
        found = self._mapped(trend, "trend") + self._mapped(columns - trend, "season")
        late = self.normalize.inverse(jnp.swapaxes(found, 1, 2), at)
        return self.standardize.inverse(late)

    def _mapped(self, columns: Array, name: str) -> Array:
        weight, bias = (
            getattr(self, f"{name}_{part}")[...] for part in ("weight", "bias")
        )
        if weight.shape[0] == 1:
            return columns @ weight[0] + bias[None]
        return jnp.einsum("bcl,clh->bch", columns, weight) + bias[None]


def moving_average(
    columns: Float[Array, "batch channel time"], kernel: int
) -> Float[Array, "batch channel time"]:
    """The mean around every row, the first and the last of which are held beyond the ends.

    One product with a banded matrix: XLA's convolutions are slow inside of a loop on a CPU.

    Args:
        columns: ``[B, C, L]``.
        kernel: Rows of it, odd.
    """
    length, half = columns.shape[-1], kernel // 2
    matrix = np.zeros((length, length))
    for row in range(length):
        for place in range(row - half, row + half + 1):
            matrix[min(max(place, 0), length - 1), row] += 1 / kernel
    return columns @ jnp.asarray(matrix, columns.dtype)


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: Nothing is left of a window to look back on.
    """

    def build(frame: Frame, key: Key[Array, ""]) -> Model:
        return Model(config=config.model, data=data, frame=frame, key=key)

    return forecast_problem(build, name=__name__, config=config, data=data)


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(
        task=task,
        config={
            "model.kernel": 5,
            "model.normalization": "affine",
            "data.window": 24,
            "data.batch_size": 16,
            "data.batches": 4,
        },
    )
