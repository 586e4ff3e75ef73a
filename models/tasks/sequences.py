"""What the tasks on sequences of inputs and outputs share: loss, problem, scores, examples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import h5py
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from models.config import Config, static
from models.data.windows import Windows
from models.errors import ConfigError, DataError, UserError
from models.losses import (
    Loss,
    Term,
    absolute_error,
    huber_error,
    require_same_shape,
    squared_error,
)
from models.metrics import sequence_metrics
from models.metrics.accumulators import Metric
from models.tasks.base import SAME, Task, TaskData, Units
from models.training.interface import Arrays
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Hyper, Outputs, Problem

_ERRORS = {"mse": squared_error, "mae": absolute_error, "huber": huber_error}
_EXAMPLE = {"train": (320, 270), "valid": (80,), "test": (80,)}


@dataclass(frozen=True, kw_only=True)
class SequenceTask(Task):
    """From inputs u, and perhaps some known outputs, to outputs y."""

    KINDS: ClassVar[tuple[str, ...]] = ("records",)

    @property
    def gives(self) -> tuple[str, ...]:
        """The outputs."""
        return ("y",)

    @abstractmethod
    def scored_from(self, data: TaskData) -> tuple[int, tuple[int, ...]]:
        """The first sample of a scored row that counts, and further starts to report."""

    @property
    def known_outputs(self) -> int:
        """How many outputs at the start of a row a model is given."""
        return 0

    def metrics(self, data: TaskData) -> tuple[Metric, ...]:
        """Errors of y in physical units, from the first scored sample on."""
        start, also = self.scored_from(data)
        return sequence_metrics(start=start, also=also)

    def scores(
        self,
        found: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
        *,
        data: TaskData,
    ) -> dict[str, float]:
        """The metrics in float64, where nothing is missing."""
        if any("seen.y" in batch for _, batch in found):
            return super().scores(found, data=data)
        start, also = self.scored_from(data)
        pairs = [
            (np.asarray(predicted), np.asarray(measured))
            for outputs, batch in found
            for predicted, measured in zip(outputs["y"], batch["y"], strict=True)
        ]
        return scores(pairs, start=start, also=also)

    def write_example(self, folder: Path, *, units: Units = SAME) -> Mapping[str, Any]:
        """A stable second-order filter of white noise, squeezed by a tanh.

        Two train files of different length, so that mixing across files would show, and
        nothing that a linear model fits exactly.
        """
        if not (folder / "test").is_dir():
            random = np.random.default_rng(0)
            for part, lengths in _EXAMPLE.items():
                (folder / part).mkdir(parents=True, exist_ok=True)
                for number, length in enumerate(lengths):
                    u = random.normal(size=(length, 1))
                    y = _respond(u)
                    with h5py.File(folder / part / f"{part}_{number}.hdf5", "w") as file:
                        file.attrs["fs"] = 100.0
                        file["u0"] = units.of("u", u[:, 0])
                        file["y0"] = units.of("y", y)
        return {"path": str(folder)}


@dataclass(frozen=True, kw_only=True)
class SequenceLoss(Config):
    """What training minimises over every window, in standard deviations of y.

    Attributes:
        kind: Mean squared, mean absolute, or Huber error (quadratic up to one standard
            deviation).
        n_skip: Samples that do not count at the start of what is scored of every window
            (behind the known outputs, where there are any), while the model forgets that
            it started from nothing.
    """

    kind: Literal["mse", "mae", "huber"] = static("mse")
    n_skip: int = static(0, low=0)


def check_windows(*, data: Windows, loss: SequenceLoss) -> None:
    """Refuse windows that cannot be trained on; for a family's `Config.validate`.

    Raises:
        ConfigError: The loss leaves nothing of a window, or windows follow one another
            though sequence networks carry no state from one to the next.
    """
    require_scored_window(data=data, loss=loss)
    if data.order == "consecutive":
        raise ConfigError(
            "`data.order` is `consecutive`, but this family carries no state from one "
            "window to the next",
            hint="leave `data.order` out: windows are then shuffled",
        )


def require_scored_window(
    *, data: Windows, loss: SequenceLoss, known: int = 0
) -> None:
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


class SequenceConfig(Protocol):
    """What the configuration of a family of sequence networks must have."""

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
        """What is minimised."""
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


class ModelBuilder(Protocol):
    """``builder(config=…, data=…, key=…)`` gives the model ``(batch, key=) -> y``."""

    def __call__(self, *, config: Any, data: TaskData, key: Key[Array, ""]) -> nnx.Module:
        """Build; pure, run inside compiled code."""
        ...


def sequence_loss(*, config: SequenceLoss, std: np.ndarray, start: int = 0) -> Loss:
    """One term, named after its kind.

    Args:
        config: Which error, after how many samples.
        std: Standard deviation of every output channel, in physical units.
        start: First sample of a window that is scored.
    """
    error = _ERRORS[config.kind]
    skip = start + config.n_skip

    def term(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        prediction, target = outputs["y"], batch["y"]
        # Before the division, which would broadcast a missing channel.
        require_same_shape(prediction, target)
        unit = jnp.asarray(std, target.dtype)[None, None]
        return jnp.mean(error(prediction[:, skip:] / unit, target[:, skip:] / unit))

    return Loss(terms={config.kind: Term(function=term)})


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
    require_scored_window(
        data=config.data, loss=config.loss, known=task.known_outputs
    )

    def forward(
        model: Callable[..., Array],
        batch: Batch,
        *,
        key: Key[Array, ""],
        training: bool,
        carry: Any,
        hyper: Hyper,
    ) -> tuple[Outputs, Any]:
        del hyper
        return {"y": model(batch, key=key if training else None)}, carry

    def build(key: Key[Array, ""]) -> nnx.Module:
        return builder(config=config.model, data=data, key=key)

    return Problem(
        signature=("sequence", config.static_signature(), data.identity, micro_batch),
        build=build,
        forward=forward,
        loss=sequence_loss(
            config=config.loss, std=data.statistics.std["y"], start=task.known_outputs
        ),
        metrics=task.metrics(data),
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        hyper=config.traced(),
        optimizer=config.optimizer,
        micro_batch=micro_batch,
    )


def same_times(arrays: Arrays) -> None:
    """Refuse arrays ``[B, T, …]`` of different batch sizes.

    Raises:
        UserError: The batch sizes differ.
    """
    sizes = {role: len(values) for role, values in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise UserError(
            "all arrays of a prediction have the same batch size, got "
            + ", ".join(f"`{role}` {size}" for role, size in sizes.items())
        )


def scores(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], *, start: int, also: tuple[int, ...]
) -> dict[str, float]:
    """The metrics of `models.metrics.sequence`, in float64 and without JAX.

    Args:
        pairs: Predicted and measured ``[T, n_y]`` of every sequence, in physical units.
        start: Samples at the start of every sequence that are not scored.
        also: Further starts, for ``rmse_from_5`` and so on.

    Raises:
        DataError: A sequence has no sample left to score.
    """
    pairs = list(pairs)
    shortest = min(len(y) for _, y in pairs)
    if shortest <= max(start, *also, 0):
        raise DataError(
            f"scores start at sample {max(start, *also, 0)}, but a sequence has only "
            f"{shortest} samples"
        )

    def errors(first: int) -> np.ndarray:
        return np.concatenate([(p - y)[first:] for p, y in pairs])

    target = np.concatenate([y[start:] for _, y in pairs])
    with np.errstate(all="ignore"):  # an unstable model's infinities are its score
        rmse = np.sqrt(np.mean(errors(start) ** 2, axis=0))
        ratio = rmse / target.std(axis=0)
        out = {
            "rmse": rmse.mean(),
            "mae": np.abs(errors(start)).mean(axis=0).mean(),
            "nrmse": ratio.mean(),
            "fit": (100 * (1 - ratio)).mean(),
            "r2": (1 - ratio**2).mean(),
        }
        for first in also:
            out[f"rmse_from_{first}"] = np.sqrt(
                (errors(first) ** 2).mean(axis=0)
            ).mean()
    return {name: float(value) for name, value in out.items()}


def _respond(u: np.ndarray) -> np.ndarray:
    """The system of the example: ``[T, 1]`` to ``[T]``."""
    y = np.zeros(len(u))
    before, earlier = 0.0, 0.0
    for t, value in enumerate(u[:, 0]):
        state = np.tanh(value) * 0.4 + 0.9 * before - 0.3 * earlier
        y[t] = np.tanh(state)
        before, earlier = state, before
    return y
