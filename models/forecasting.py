"""What families of forecasts share: their look-back, their loss, and how the last value stands.

A window is the look-back and the horizon together. A model is given all of it, with the mask
``given.y``, and fills the horizon in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from models.config import Config, static
from models.data.windows import Windows
from models.errors import UserError
from models.losses import (
    ERRORS,
    ErrorKind,
    Loss,
    Term,
    only,
    require_same_shape,
)
from models.tasks.base import TaskData
from models.tasks.forecast import GIVEN, SCORED
from models.tasks.forecast import Task as Forecast
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Hyper, Outputs, Problem


@dataclass(frozen=True, kw_only=True)
class ForecastLoss(Config):
    """The error that training minimizes over the horizon, in standard deviations of y.

    Attributes:
        kind: Mean squared, mean absolute, or Huber error (quadratic up to one standard
            deviation).
    """

    kind: ErrorKind = static("mae")


@dataclass(frozen=True, kw_only=True)
class LookBack(Config):
    """How much of the past a closed form sees.

    Attributes:
        window: Rows of the look-back and the horizon together.
    """

    window: int = static(192, low=2)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The sizes of a forecast, and the units of its columns.

    Attributes:
        look_back: Rows L that are looked back on.
        horizon: Rows H that are wanted.
        mean: Of every column over the train part, ``[C]``, in physical units.
        std: Likewise.
    """

    look_back: int
    horizon: int
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, data: TaskData, batching: Any) -> Frame:
        """Of a task and a configuration with ``window``.

        Raises:
            ConfigError: The window is no longer than the horizon.
        """
        task, statistics = data.task, data.statistics
        assert isinstance(task, Forecast), "families are only asked for their TASKS"
        return cls(
            look_back=task.lead(batching),
            horizon=task.horizon,
            mean=statistics.mean["y"],
            std=statistics.std["y"],
        )

    def recent(self, batch: Mapping[str, Any], name: str) -> Any:
        """The look-back ``[B, L, …]`` of an array of a batch ``[B, T, …]``.

        Raises:
            UserError: There are fewer rows than a model looks back on.
        """
        early = batch[name].shape[1] - self.horizon
        if early < self.look_back:
            raise UserError(
                f"the forecast needs {self.look_back} rows to look back on, got {early}",
                hint="give more rows, or take a trial with a shorter `data.window`",
            )
        return batch[name][:, early - self.look_back : early]

    def late(self, batch: Mapping[str, Any], name: str) -> Any:
        """The horizon ``[B, H, …]`` of an array of a batch."""
        return batch[name][:, batch[name].shape[1] - self.horizon :]

    def whole(self, batch: Mapping[str, Any], late: Any) -> dict[str, Any]:
        """Outputs ``y``: what was given, and behind it the horizon ``[B, H, C]``."""
        y = batch["y"]
        arrays = y.__array_namespace__()
        early = y[:, : y.shape[1] - self.horizon]
        return {"y": arrays.concatenate([early, late], axis=1)}


def carried(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Values ``[B, L, C]``, where none was seen the last one that was.

    Before the first that was seen it is that one. Where a column has none at all in a row,
    the values stay as they are.

    Args:
        values: Of a closed form.
        seen: Which of them were, likewise.
    """
    steps = np.arange(values.shape[1])[None, :, None]
    first = np.argmax(seen, axis=1)[:, None]
    last = np.maximum.accumulate(np.where(seen, steps, -1), axis=1)
    source = np.where(last < 0, first, last)
    source = np.where(seen.any(axis=1, keepdims=True), source, steps)
    return np.take_along_axis(values, source, axis=1)


class ForecastConfig(Protocol):
    """The configuration of a trained family of forecasts."""

    @property
    def data(self) -> Windows:
        """How the train part is cut."""
        ...

    @property
    def loss(self) -> ForecastLoss:
        """What is minimized."""
        ...

    @property
    def optimizer(self) -> Optimizer:
        """How."""
        ...

    def traced(self) -> dict[str, float]:
        """The traced values by dotted key."""
        ...

    def static_signature(self) -> tuple[tuple[str, Any], ...]:
        """Equal for configurations that share a compilation."""
        ...


def forecast_loss(kind: ErrorKind, *, std: np.ndarray) -> Loss:
    """One term over what is scored, named after its kind.

    Args:
        kind: A key of `ForecastLoss.kind`.
        std: Standard deviation of every column, in physical units.
    """
    error = ERRORS[kind]

    def term(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        del hyper
        require_same_shape(outputs["y"], batch["y"])
        mask: Bool[Array, "batch time channel"] = batch[SCORED]
        prediction, target = only(mask, outputs["y"], batch["y"])
        unit = jnp.asarray(std, target.dtype)[None, None]
        total = jnp.sum(error(prediction / unit, target / unit))
        count = jnp.sum(mask, dtype=jnp.int32)
        return total / jnp.maximum(count, 1).astype(total.dtype)

    def scored(batch: Batch, hyper: Hyper) -> Array | None:
        del hyper
        if "seen.y" not in batch:
            return None  # every window scores as much as any other
        return jnp.sum(batch[SCORED], dtype=jnp.int32)

    return Loss(terms={kind: Term(function=term, count=scored)})


def forecast_problem(
    builder: Callable[[Frame, Key[Array, ""]], nnx.Module],
    *,
    name: str,
    config: ForecastConfig,
    data: TaskData,
) -> Problem:
    """The problem of a family that forecasts y.

    Args:
        builder: ``(frame, key) -> model``; the model is ``(batch, frame, key=) -> [B, H, C]``
            in physical units, from a batch with ``y``, ``given.y`` and perhaps ``t``.
        name: The family's module.
        config: The family's configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: Nothing is left of a window to look back on.
    """
    frame, task = Frame.of(data, config.data), data.task

    def forward(
        model: Any,
        batch: Batch,
        *,
        key: Key[Array, ""],
        training: bool,
        carry: Any,
        hyper: Hyper,
    ) -> tuple[Outputs, Any]:
        del hyper
        late = model(batch, frame, key=key if training else None)
        return frame.whole(batch, late), carry

    return Problem(
        signature=(name, config.static_signature(), data.identity),
        build=lambda key: builder(frame, key),
        forward=forward,
        loss=forecast_loss(config.loss.kind, std=frame.std),
        metrics=task.metrics(data),
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        hyper=config.traced(),
        optimizer=config.optimizer,
    )


def seen_of(batch: Mapping[str, Any], frame: Frame) -> Any:
    """Which values of the look-back are given, ``[B, L, C]``."""
    return frame.recent(batch, GIVEN)
