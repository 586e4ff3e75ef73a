"""The task *simulation*: from inputs u to outputs y, both in physical units."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from models.config import Config, static
from models.data.dataset import Dataset, open_dataset
from models.data.feeding import full_sequences, make_feed
from models.data.reference import Reference
from models.data.statistics import Statistics
from models.data.windows import Windows
from models.errors import ConfigError
from models.losses import (
    Loss,
    Term,
    absolute_error,
    huber_error,
    require_same_shape,
    squared_error,
)
from models.metrics import sequence_metrics
from models.training.learner import GradientLearner, on_device
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Hyper, Outputs, Problem
from models.training.protocol import Context

# Datasets (with their validation part) and feeds that a worker keeps between trials.
KEPT = 8

_ERRORS = {"mse": squared_error, "mae": absolute_error, "huber": huber_error}


@dataclass(frozen=True, kw_only=True)
class SequenceLoss(Config):
    """The loss that training minimises over every window, in standard deviations of y.

    Attributes:
        kind: Mean squared, mean absolute, or Huber error (quadratic up to one standard
            deviation).
        n_skip: Samples at the start of every window that do not count, while the model
            forgets that it started from nothing.
    """

    kind: Literal["mse", "mae", "huber"] = static("mse")
    n_skip: int = static(0, low=0)


def require_scored_window(*, data: Windows, loss: SequenceLoss) -> None:
    """Refuse a loss that leaves nothing of a window; for a family's `Config.validate`.

    Raises:
        ConfigError: As many samples are skipped as a window has, or more.
    """
    if loss.n_skip >= data.window:
        raise ConfigError(
            f"`loss.n_skip` must be less than `data.window`, got {loss.n_skip} "
            f"and {data.window}",
            hint="skip fewer samples, or cut longer windows",
        )


class SimulationConfig(Protocol):
    """A configuration of a simulation family."""

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

    def flat(self) -> dict[str, Any]:
        """Every key with its value."""
        ...


class ModelBuilder(Protocol):
    """``builder(config=..., statistics=..., key=...)`` gives the model ``(u, key=) -> y``."""

    def __call__(
        self, *, config: Any, statistics: Statistics, key: Key[Array, ""]
    ) -> nnx.Module:
        """Build; pure, run inside compiled code."""
        ...


def sequence_loss(*, config: SequenceLoss, std: np.ndarray) -> Loss:
    """One term, named after its kind.

    Args:
        config: Which error, after how many samples.
        std: Standard deviation of every output channel, in physical units.
    """
    error = _ERRORS[config.kind]

    def term(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        prediction, target = outputs["y"], batch["y"]
        # Before the division, which would broadcast a missing channel.
        require_same_shape(prediction, target)
        unit = jnp.asarray(std, target.dtype)[None, None]
        skip = config.n_skip
        return jnp.mean(error(prediction[:, skip:] / unit, target[:, skip:] / unit))

    return Loss(terms={config.kind: Term(function=term)})


def simulation_problem(
    builder: ModelBuilder,
    *,
    config: SimulationConfig,
    statistics: Statistics,
    data: Hashable,
    score_from: int = 0,
    also_score_from: tuple[int, ...] = (),
    micro_batch: int | None = None,
) -> Problem:
    """The problem of a family that maps u to y.

    Args:
        builder: Makes the model, which takes and gives physical units.
        config: The family's configuration.
        statistics: Of the train part.
        data: What the statistics and the scoring depend on (hashes), for the signature.
        score_from: Samples at the start of every sequence that are not scored.
        also_score_from: Further starts, reported as ``rmse_from_…``.
        micro_batch: See `Problem`.

    Raises:
        ConfigError: The loss leaves nothing of a window.
    """
    require_scored_window(data=config.data, loss=config.loss)

    def forward(
        model: Callable[..., Array],
        batch: Batch,
        *,
        key: Key[Array, ""] | None,
        carry: Any,
        hyper: Hyper,
    ) -> tuple[Outputs, Any]:
        del hyper
        return {"y": model(batch["u"], key=key)}, carry

    def build(key: Key[Array, ""]) -> nnx.Module:
        return builder(config=config.model, statistics=statistics, key=key)

    scoring = (score_from, also_score_from)
    return Problem(
        signature=("simulation", config.static_signature(), data, scoring, micro_batch),
        build=build,
        forward=forward,
        loss=sequence_loss(config=config.loss, std=statistics.std["y"]),
        metrics=sequence_metrics(start=score_from, also=also_score_from),
        hyper=config.traced(),
        optimizer=config.optimizer,
        micro_batch=micro_batch,
    )


def simulation_learner(
    builder: ModelBuilder,
    config: SimulationConfig,
    context: Context,
    *,
    micro_batch: int | None = None,
) -> GradientLearner:
    """The learner of one trial of a simulation family.

    Opened data and arrays on the device are shared between the trials of a process.

    Args:
        builder: Makes the model.
        config: The family's configuration.
        context: The trial's data reference, seed, budget and objective.
        micro_batch: See `Problem`.

    Raises:
        ConfigError: The configuration does not fit together.
        DataError: The data is missing or damaged, or no window fits.
    """
    reference = context.data
    if isinstance(reference, Reference):
        reference = reference.to_json()
    name = json.dumps(reference, sort_keys=True, default=str)
    precision = bool(jax.config.jax_enable_x64)
    dataset, valid = _opened(name, precision)
    problem = simulation_problem(
        builder,
        config=config,
        statistics=dataset.statistics,
        data=_identity(dataset.reference),
        score_from=dataset.reference.score_from,
        also_score_from=tuple(dataset.reference.also_score_from),
        micro_batch=micro_batch,
    )
    return GradientLearner(
        problem=problem,
        feed=_feed(name, config.data, precision),
        valid=valid,
        seed=context.seed,
        epochs=context.epochs,
        configuration=config.flat(),
        test=partial(_sequences, dataset, "test"),
        objective=context.objective,
    )


@lru_cache(maxsize=KEPT)
def _opened(name: str, precision: bool) -> tuple[Dataset, tuple[Batch, ...]]:
    """The dataset, and its validation part on the device in the current precision."""
    del precision  # only tells the entries apart
    dataset = open_dataset(json.loads(name))
    return dataset, on_device(_sequences(dataset, "valid"))


@lru_cache(maxsize=KEPT)
def _feed(name: str, windows: Windows, precision: bool) -> Any:
    dataset, _ = _opened(name, precision)
    return make_feed(dataset.part("train"), windows)


def _sequences(dataset: Dataset, part: str) -> tuple[Any, ...]:
    return full_sequences(dataset.part(part))


def _identity(reference: Reference) -> Hashable:
    """Equal for equal data wherever it lies; by path where nothing was hashed."""
    content = tuple(sorted(reference.hashes.items())) or reference.path
    return (content, tuple(reference.inputs), tuple(reference.outputs))
