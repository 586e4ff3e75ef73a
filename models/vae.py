"""Variational autoencoders: a Gaussian code between what is seen and what is wanted of it.

For *prediction* the known part of a window is read into a few numbers, each with an
uncertainty. From a draw of them a recurrent network, driven by u, goes on. The numbers are paid
for in nats, so that what the past is worth can be read off: `carried` nats, `active_units`,
and `rmse_without_start`, the error that is made where the code of nothing (the prior's mean) is
used instead of that of the window.

Sources: Kingma and Welling 2014, "Auto-encoding variational Bayes"; Rybkin et al. 2021, "Simple
and effective VAE training with calibrated decoders" for the likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

from models.coded import without_start
from models.config import Config as BaseConfig
from models.config import static
from models.data.windows import Windows
from models.example import Example
from models.family import creator
from models.layers.coded_start import CodedStart, Prognosis
from models.layers.dropout import split_key
from models.layers.encoder import Encoder
from models.layers.initialization import initialize
from models.losses import Loss
from models.sequences import SequenceLoss, check_windows, require_scored_window
from models.tasks.base import TaskData
from models.tasks.sequences import SequenceTask
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Hyper, Outputs, Problem
from models.variational import (
    Divergence,
    Likelihood,
    NegativeBound,
    Scored,
    bound_terms,
    code_metrics,
    latent_divergence,
)

TASKS = ("prediction",)
CLOSED_FORM = False
CAUSAL = True


@dataclass(frozen=True, kw_only=True)
class Latent(BaseConfig):
    """The code.

    Attributes:
        size: Numbers of it.
    """

    size: int = static(8, low=1)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `vae`."""

    encoder: Encoder = field(default_factory=Encoder)
    latent: Latent = field(default_factory=Latent)
    rollout: Prognosis = field(default_factory=Prognosis)
    divergence: Divergence = field(default_factory=Divergence)
    likelihood: Likelihood = field(default_factory=Likelihood)
    data: Windows = field(
        default_factory=lambda: Windows(window=150, batch_size=32, batches=100)
    )
    optimizer: Optimizer = field(default_factory=Optimizer)

    def validate(self) -> None:
        """Refuse windows in a row."""
        check_windows(data=self.data, loss=SequenceLoss())


class Variance(nnx.Module):
    """The variance of the noise around every output channel, where it is learned."""

    def __init__(self, channels: int) -> None:
        self.log_variance = nnx.Param(jnp.zeros((channels,)))


class Model(nnx.Module):
    """Reads the known outputs into a Gaussian code, and goes on from a draw of it.

    Args:
        config: The family's configuration.
        data: Of the task; gives units and channels.
        key: Randomness of the initial weights.
    """

    def __init__(self, *, config: Config, data: TaskData, key: Key[Array, ""]) -> None:
        size, self.likelihood = config.latent.size, config.likelihood.kind
        self.coded = CodedStart(
            encoder=config.encoder,
            rollout=config.rollout,
            features=2 * size,
            code=size,
            statistics=data.statistics,
        )
        learned = self.likelihood == "learned"
        self.noise = Variance(data.channels["y"]) if learned else None
        initialize(self, key)

    def __call__(
        self,
        given: Batch,
        *,
        known: int | None,
        key: Key[Array, ""],
        training: bool,
    ) -> dict[str, Any]:
        """Outputs in physical units, and the code's mean and log variance ``[B, L]``.

        In training y follows from a draw of the code. In evaluation it follows from its mean,
        ``drawn`` from a draw, ``without_start`` from the prior's mean.

        Args:
            given: ``u``, ``y`` and the mask ``given.y``.
            known: Outputs that every row knows, where that is certain before compiling.
            key: Draws the code.
            training: Whether dropout acts.
        """
        draw, *rest = split_key(key, 3)
        reading, going = rest if training else (None, None)
        seen = self.coded.read(given, known=known, key=reading)
        mean, log_variance = jnp.split(seen.features, 2, axis=-1)
        noise = jax.random.normal(draw, mean.shape, mean.dtype)
        drawn = mean + jnp.exp(0.5 * log_variance) * noise
        code = {"mean": mean, "log_variance": log_variance}
        if training:
            (y,) = self.coded.predict(seen, [drawn], key=going)
            return {"y": y, "code": code}
        starts = [mean, drawn, jnp.zeros_like(mean)]
        y, other, without = self.coded.predict(seen, starts)
        return {"y": y, "drawn": other, "without_start": without, "code": code}

    def variance(self, hyper: Hyper, shape: tuple[int, ...]) -> dict[str, Array]:
        """The variance ``[B, C]`` of the likelihood under its name, unless errors decide it."""
        if self.likelihood == "analytic":
            return {}
        if self.noise is None:
            return {"variance": jnp.broadcast_to(hyper["likelihood.variance"], shape)}
        learned = jnp.exp(self.noise.log_variance[...])[None]
        return {"variance": jnp.broadcast_to(learned, shape)}


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: Windows are no longer than the known outputs.
    """
    task = data.task
    assert isinstance(task, SequenceTask), "families are only asked for their TASKS"
    known = task.known_outputs
    require_scored_window(data=config.data, loss=SequenceLoss(), known=known)
    certain = None if "y" in data.reference.gaps else known
    scored = Scored(signal="y", std=data.statistics.std["y"], start=known)

    def forward(
        model: Model,
        batch: Batch,
        *,
        key: Key[Array, ""],
        training: bool,
        carry: Any,
        hyper: Hyper,
    ) -> tuple[Outputs, Any]:
        known = certain if training else None  # a prediction may know any number
        outputs = model(batch, known=known, key=key, training=training)
        y = outputs["y"]
        return outputs | model.variance(hyper, (y.shape[0], y.shape[2])), carry

    return Problem(
        signature=(__name__, config.static_signature(), data.identity),
        build=lambda key: Model(config=config, data=data, key=key),
        forward=forward,
        loss=Loss(terms=bound_terms(divergence=config.divergence, scored=scored)),
        metrics=(
            *task.metrics(data),
            without_start(known),
            NegativeBound(scored=scored, output="drawn"),
            *code_metrics(config.latent.size),
        ),
        hyper=config.traced(),
        optimizer=config.optimizer,
        schedules=config.divergence.schedules(),
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        describe=_described,
    )


def _described(outputs: Outputs, batch: Batch) -> dict[str, Array]:
    return {**outputs["code"], "kl": latent_divergence(outputs)}


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(
        task=task,
        config={
            "encoder.hidden_size": 4,
            "encoder.depth": 2,
            "latent.size": 2,
            "rollout.hidden_size": 4,
            "data.window": 20,
            "data.batch_size": 8,
            "data.batches": 2,
        },
    )
