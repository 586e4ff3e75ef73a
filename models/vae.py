"""Variational autoencoders: a Gaussian code between what is seen and what is wanted of it.

For *prediction* the known part of a window is read into a few numbers, each with an
uncertainty. From a draw of them a recurrent network, driven by u, goes on. The numbers are paid
for in nats, so that what the past is worth can be read off: `carried` nats, `active_units`,
and `rmse_without_start`, the error that is made where the code of nothing (the prior's mean) is
used instead of that of the window.

For *reconstruction* whole windows of recordings, with gaps, are read into such a code and written
from it again (`models.layers.window_coder`): how much of a window survives `latent.size` numbers,
and how well are entries filled in that were hidden.

Sources: Kingma and Welling 2014, "Auto-encoding variational Bayes"; Rybkin et al. 2021, "Simple
and effective VAE training with calibrated decoders" for the likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from models.coded import (
    all_tries,
    branch_outputs,
    branch_terms,
    probes,
    refuse_silent,
    tried,
    window_of,
    without_start,
)
from models.config import Config as BaseConfig
from models.config import static
from models.data.windows import Windows
from models.example import Example
from models.family import creator
from models.layers.coded_start import CodedStart, Prognosis
from models.layers.dropout import split_key
from models.layers.encoder import Encoder
from models.layers.initialization import initialize
from models.layers.window_coder import Coder, WindowCoder
from models.losses import Loss
from models.sequences import SequenceLoss, check_windows, require_scored_window
from models.tasks import reconstruction
from models.tasks.base import TaskData
from models.tasks.sequences import SequenceTask
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Hyper, Outputs, Problem
from models.variational import (
    Code,
    Divergence,
    Likelihood,
    NegativeBound,
    Scored,
    Variance,
    bound_terms,
    code_metrics,
    latent_divergence,
)

TASKS = ("prediction", "reconstruction")
CLOSED_FORM = False
CAUSAL = True
SOURCE_KEYS = {
    "latent_dim": "latent.size",
    "base_channels": "coder.channels",
    "hidden_dim": "coder.hidden_size",
    "n_layers": "coder.layers",
    "dropout": "coder.dropout",
    "beta": "divergence.weight",
    "free_bits": "divergence.free_bits",
}
"""What the configuration files of the system followed call our keys (`hpo train`)."""


@dataclass(frozen=True, kw_only=True)
class Latent(BaseConfig):
    """The code.

    Attributes:
        size: Numbers of it.
    """

    size: int = static(8, low=1)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `vae`.

    `encoder` and `rollout` act in prediction, `coder` in reconstruction.
    """

    encoder: Encoder = field(default_factory=Encoder)
    latent: Latent = field(default_factory=Latent)
    rollout: Prognosis = field(default_factory=Prognosis)
    coder: Coder = field(default_factory=Coder)
    divergence: Divergence = field(default_factory=Divergence)
    likelihood: Likelihood = field(default_factory=Likelihood)
    data: Windows = field(
        default_factory=lambda: Windows(window=150, batch_size=32, batches=100)
    )
    optimizer: Optimizer = field(default_factory=Optimizer)

    def validate(self) -> None:
        """Refuse windows in a row."""
        check_windows(data=self.data, loss=SequenceLoss())


class Model(nnx.Module):
    """Reads the known outputs into a Gaussian code, and goes on from a draw of it.

    Args:
        config: The family's configuration.
        data: Of the task; gives units and channels.
        key: Randomness of the initial weights.
    """

    def __init__(self, *, config: Config, data: TaskData, key: Key[Array, ""]) -> None:
        size = config.latent.size
        self.coded = CodedStart(
            encoder=config.encoder,
            rollout=config.rollout,
            features=2 * size,
            code=size,
            statistics=data.statistics,
        )
        self.noise = Variance(config.likelihood.kind, channels=data.channels["y"])
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
        code = Code.of(seen.features)
        drawn = code.drawn(draw)
        if training:
            (y,) = self.coded.predict(seen, [drawn], key=going)
            return {"y": y, "code": code._asdict()}
        starts = [code.mean, drawn, jnp.zeros_like(drawn)]
        y, other, without = self.coded.predict(seen, starts)
        found = {"y": y, "drawn": other, "without_start": without}
        return found | {"code": code._asdict()}


class WindowModel(nnx.Module):
    """Reads whole windows into a Gaussian code, and writes them from a draw of it.

    Args:
        config: The family's configuration.
        data: Of a task of reconstruction; gives units and channels.
        length: Time steps of a window.
        key: Randomness of the initial weights.
    """

    def __init__(
        self, *, config: Config, data: TaskData, length: int, key: Key[Array, ""]
    ) -> None:
        task, size = data.task, config.latent.size
        assert isinstance(task, reconstruction.Task), "see `problem`"
        self.role = task.role
        self.coder = WindowCoder(
            config=config.coder,
            role=task.role,
            length=length,
            features=2 * size,
            code=size,
            statistics=data.statistics,
        )
        self.noise = Variance(config.likelihood.kind, channels=data.channels[task.role])
        initialize(self, key)

    def encode(
        self,
        values: Float[Array, "batch time channel"],
        shown: Bool[Array, "batch time channel"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Code:
        """The code of windows in physical units, from what is shown of them."""
        return Code.of(self.coder.read(values, shown, key=key))

    def drawn(self, given: Batch, *, key: Key[Array, ""]) -> dict[str, Any]:
        """Windows written from a draw of each code, what branches give, and the codes."""
        draw, reading, writing = split_key(key, 3)
        assert draw is not None, "there is a key to split"
        values, shown = given[self.role], given[f"given.{self.role}"]
        code = self.encode(values, shown, key=reading)
        written = self.coder.write(code.drawn(draw), key=writing)
        found = {self.role: written.values, "code": code._asdict()}
        return found | branch_outputs(written.branches)

    def tries(
        self, given: Batch, *, data: TaskData, key: Key[Array, ""]
    ) -> dict[str, Any]:
        """Windows written from the mean of each code, as they are and with every hole.

        ``drawn`` is written from a draw. All are computed side by side.
        """
        task = data.task
        assert isinstance(task, reconstruction.Task), "see `problem`"
        names, values, shown = all_tries(task, given, data)
        rows = len(given[task.role])
        every = self.encode(values, shown)
        code = Code(every.mean[:rows], every.log_variance[:rows])
        codes = jnp.concatenate([every.mean, code.drawn(key)])
        found = tried((*names, "drawn"), self.coder.write(codes))
        return found | {"code": code._asdict()}


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: A key acts in another task only; of prediction, windows are no longer
            than the known outputs; of reconstruction, they are not those that are scored.
    """
    refuse_silent(config, data.task.name)
    if isinstance(data.task, reconstruction.Task):
        return _reconstruction(config, data, data.task)
    assert isinstance(data.task, SequenceTask), (
        "families are only asked for their TASKS"
    )
    return _prediction(config, data, data.task)


def _prediction(config: Config, data: TaskData, task: SequenceTask) -> Problem:
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
        return outputs | model.noise.outputs(hyper, (y.shape[0], y.shape[2])), carry

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
            *probes(data, known=known, code=lambda outputs: outputs["code"]["mean"]),
        ),
        hyper=config.traced(),
        optimizer=config.optimizer,
        schedules=config.divergence.schedules(),
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        describe=_described,
    )


def _reconstruction(
    config: Config, data: TaskData, task: reconstruction.Task
) -> Problem:
    length, role = window_of(data, config.data), task.role
    scored = Scored(signal=role, std=data.statistics.std[role])

    def forward(
        model: WindowModel,
        batch: Batch,
        *,
        key: Key[Array, ""],
        training: bool,
        carry: Any,
        hyper: Hyper,
    ) -> tuple[Outputs, Any]:
        run = model.drawn if training else partial(model.tries, data=data)
        outputs = run(batch, key=key)
        rows, _, channels = outputs[role].shape
        return outputs | model.noise.outputs(hyper, (rows, channels)), carry

    terms = bound_terms(divergence=config.divergence, scored=scored)
    return Problem(
        signature=(__name__, config.static_signature(), data.identity),
        build=lambda key: WindowModel(config=config, data=data, length=length, key=key),
        forward=forward,
        loss=Loss(terms={**terms, **branch_terms(config.coder, scored)}),
        metrics=(
            *task.metrics(data),
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
    if task == "reconstruction":
        return Example(
            task=task,
            config={
                "coder.kind": "recurrent",
                "latent.size": 2,
                "data.window": 24,
                "data.stride": 6,
                "data.batch_size": 16,
                "data.batches": 2,
            },
            write=reconstruction.Task.write_windows,
        )
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
