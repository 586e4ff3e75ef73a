"""The problem that sequence networks share: their loss, and how they map u to y."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from models.config import Config, static
from models.data.windows import Windows
from models.errors import ConfigError, UserError
from models.losses import (
    ERRORS,
    ErrorKind,
    Loss,
    Term,
    only,
    require_same_shape,
)
from models.tasks.base import TaskData
from models.tasks.sequences import SequenceTask
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Hyper, Outputs, Problem
from models.training.residuals import Residuals

WHOLE, WHOLE_SEEN = "whole.y", "whole.seen"
"""All outputs of a window and which were seen ``[B, T, 1]``; training and scoring alone."""


@dataclass(frozen=True, kw_only=True)
class SequenceLoss(Config):
    """The error that training minimises over every window, in standard deviations of y.

    Attributes:
        kind: Mean squared, mean absolute, or Huber error (quadratic up to one standard
            deviation).
        n_skip: Samples that do not count at the start of what is scored of every window
            (behind the known outputs, where there are any), while the model forgets that
            it started from nothing.
    """

    kind: ErrorKind = static("mse")
    n_skip: int = static(0, low=0)


def check_windows(*, data: Windows, loss: SequenceLoss) -> None:
    """Refuse windows that cannot be trained on; for a family's `Config.validate`.

    Raises:
        ConfigError: The loss leaves nothing of a window, or windows follow one another
            though sequence networks carry no state from one to the next.
    """
    require_scored_window(data=data, loss=loss)
    data.require_shuffled()


def require_scored_window(*, data: Windows, loss: SequenceLoss, known: int = 0) -> None:
    """Refuse a loss that leaves nothing of a window.

    Args:
        data: How the train part is cut.
        loss: What is minimised.
        known: Outputs at the start of every window that are given, not scored.

    Raises:
        ConfigError: As many samples are given and skipped as a window has, or more.
    """
    if known + loss.n_skip < data.window:
        return
    behind = f" behind {known} known outputs" if known else ""
    raise ConfigError(
        f"`loss.n_skip` must be less than `data.window`{behind}, got {loss.n_skip} "
        f"and {data.window}",
        hint="skip fewer samples, or cut longer windows",
    )


def whole_outputs(key: Key[Array, ""], batch: Batch, step: Array) -> Batch:
    """Show the outputs of whole windows to the terms of a loss; for `Problem.targets`.

    A prediction has no such entries, and none may come to depend on them.

    Args:
        key: Not used.
        batch: With ``y`` and, where it has gaps, ``seen.y``.
        step: Not used.
    """
    del key, step
    y = batch["y"]
    seen = batch.get("seen.y")
    mask = jnp.ones_like(y, bool) if seen is None else seen
    return batch | {WHOLE: y, WHOLE_SEEN: jnp.all(mask, axis=-1, keepdims=True)}


class SequenceConfig(Protocol):
    """The configuration of a family of sequence networks."""

    @property
    def model(self) -> Config:
        """The network's own configuration."""
        ...

    @property
    def data(self) -> Windows:
        """How the train part is cut."""
        ...

    @property
    def loss(self) -> SequenceLoss:
        """The loss that is minimised."""
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


@runtime_checkable
class Streams(Protocol):
    """A model that goes on from a state; see `models.stateful`."""

    def stream(self, given: Batch, state: Any) -> tuple[Outputs, Any]:
        """A piece of a sequence, and the state after it."""
        ...


class ModelBuilder(Protocol):
    """``builder(config=…, data=…, key=…)`` gives the model ``(batch, key=) -> y``."""

    def __call__(
        self, *, config: Any, data: TaskData, key: Key[Array, ""]
    ) -> nnx.Module:
        """Build; pure, run inside compiled code."""
        ...


def sequence_loss(*, config: SequenceLoss, std: np.ndarray, start: int = 0) -> Loss:
    """One term, named after its kind.

    Args:
        config: Which error, after how many samples.
        std: Standard deviation of every output channel, in physical units.
        start: First sample of a window that is scored.
    """
    error = ERRORS[config.kind]
    skip = start + config.n_skip

    def term(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        prediction, target = outputs["y"], batch["y"]
        # Before the division, which would broadcast a missing channel.
        require_same_shape(prediction, target)
        unit = jnp.asarray(std, target.dtype)[None, None]
        if "seen.y" not in batch:
            return jnp.mean(error(prediction[:, skip:] / unit, target[:, skip:] / unit))
        seen = batch["seen.y"]
        prediction, target = only(seen, prediction, target)
        errors = error(prediction[:, skip:] / unit, target[:, skip:] / unit)
        count = jnp.sum(seen[:, skip:], dtype=jnp.int32)
        return jnp.sum(errors) / jnp.maximum(count, 1).astype(errors.dtype)

    return Loss(terms={config.kind: Term(function=term)})


def sequence_residuals(
    *, config: SequenceLoss, std: np.ndarray, start: int = 0
) -> Residuals:
    """The errors of y in standard deviations; their mean square is the loss ``mse``.

    Args:
        config: After how many samples; a mean square.
        std: Standard deviation of every output channel, in physical units.
        start: First sample of a window that is scored.
    """
    skip = start + config.n_skip

    def function(outputs: Outputs, batch: Batch) -> tuple[Array, Array]:
        prediction, target = outputs["y"], batch["y"]
        require_same_shape(prediction, target)
        late = (jnp.arange(target.shape[1]) >= skip)[None, :, None]
        scored = jnp.broadcast_to(late, target.shape)
        if "seen.y" in batch:
            scored = scored & batch["seen.y"]
        prediction, target = only(scored, prediction, target)
        return (prediction - target) / jnp.asarray(std, target.dtype)[
            None, None
        ], scored

    return Residuals(function=function, start=skip)


def sequence_problem(
    builder: ModelBuilder,
    *,
    config: SequenceConfig,
    data: TaskData,
    micro_batch: int | None = None,
) -> Problem:
    """The problem of a family that maps u, and known outputs where there are any, to y.

    Args:
        builder: Makes the model, which takes and gives physical units.
        config: The family's configuration.
        data: What is known of data and task.
        micro_batch: See `Problem`.

    Raises:
        ConfigError: The loss leaves nothing of a window behind the known outputs.
    """
    task = data.task
    assert isinstance(task, SequenceTask), "families are only asked for their TASKS"
    require_scored_window(data=config.data, loss=config.loss, known=task.known_outputs)
    scored = {
        "config": config.loss,
        "std": data.statistics.std["y"],
        "start": task.known_outputs,
    }

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
        if carry is None:
            return {"y": model(batch, key=key if training else None)}, None
        if not isinstance(model, Streams):
            raise UserError(
                "this family holds no state from one piece to the next",
                hint="predict whole sequences",
            )
        return model.stream(batch, carry)

    def build(key: Key[Array, ""]) -> nnx.Module:
        return builder(config=config.model, data=data, key=key)

    return Problem(
        signature=("sequence", config.static_signature(), data.identity, micro_batch),
        build=build,
        forward=forward,
        loss=sequence_loss(**scored),
        metrics=task.metrics(data),
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        hyper=config.traced(),
        optimizer=config.optimizer,
        residuals=sequence_residuals(**scored) if config.loss.kind == "mse" else None,
        # A mean over what was seen is no sum of means over parts of a batch.
        micro_batch=None if "y" in data.reference.gaps else micro_batch,
    )
