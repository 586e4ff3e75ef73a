"""Vector-quantized autoencoders: a few tokens between what is seen and what is wanted of it.

For *prediction* the known part of a window is read into vectors, each of which is replaced by one
of a few codes. From these a recurrent network, driven by u, goes on. So the past is worth
`carried` bits; `rmse_without_start` is the error that is made where the usual code (the mean over
the training windows) is used instead of that of the window. `perplexity` and `dead` say how
many codes of a codebook are used, counted over the last 100 or so training batches.

For *reconstruction* whole windows of recordings, with gaps, are read into such vectors and written
from their codes again (`models.layers.window_coder`).

Source: van den Oord et al. 2017, "Neural discrete representation learning".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

from models.coded import (
    all_tries,
    branch_outputs,
    branch_terms,
    probes,
    refuse_silent,
    squared_term,
    tried,
    window_of,
    without_start,
)
from models.config import Config as BaseConfig
from models.config import static
from models.data.windows import Windows
from models.example import Example
from models.family import creator
from models.layers.code_tokens import Tokens
from models.layers.coded_start import CodedStart, Prognosis
from models.layers.dropout import split_key
from models.layers.encoder import Encoder
from models.layers.initialization import initialize
from models.layers.quantizer import Quantization
from models.layers.window_coder import Coder, WindowCoder
from models.losses import Loss
from models.metrics.accumulators import Average, Metric
from models.sequences import (
    SequenceLoss,
    check_windows,
    require_scored_window,
    sequence_loss,
)
from models.tasks import reconstruction
from models.tasks.base import TaskData
from models.tasks.sequences import SequenceTask
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Hyper, Outputs, Problem
from models.variational import Scored

TASKS = ("prediction", "reconstruction")
CLOSED_FORM = False
CAUSAL = True
SOURCE_KEYS = {
    "commitment_cost": "quantizer.commitment",
    "decay": "quantizer.decay",
    "ema_decay": "quantizer.decay",
}
"""What the configuration files of the system followed call our keys (`hpo train`)."""


@dataclass(frozen=True, kw_only=True)
class Latent(BaseConfig):
    """The code.

    Attributes:
        vectors: Of a window; each has a codebook of its own.
    """

    vectors: int = static(3, low=1)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `vqvae`.

    `encoder`, `rollout` and `loss` act in prediction, `coder` in reconstruction.
    """

    encoder: Encoder = field(default_factory=Encoder)
    latent: Latent = field(default_factory=Latent)
    quantizer: Quantization = field(default_factory=lambda: Quantization(bits=4))
    rollout: Prognosis = field(default_factory=Prognosis)
    coder: Coder = field(default_factory=Coder)
    data: Windows = field(
        default_factory=lambda: Windows(window=150, batch_size=32, batches=100)
    )
    loss: SequenceLoss = field(default_factory=SequenceLoss)
    optimizer: Optimizer = field(default_factory=Optimizer)

    def validate(self) -> None:
        """Refuse windows in a row, and more codes than a first batch can start."""
        check_windows(data=self.data, loss=self.loss)
        self.quantizer.check_start(self.data.batch_size)


class Model(nnx.Module):
    """Reads the known outputs into tokens, and goes on from their codes.

    Args:
        config: The family's configuration.
        data: Of the task; gives units and channels.
        key: Randomness of the initial weights and codes.
    """

    def __init__(self, *, config: Config, data: TaskData, key: Key[Array, ""]) -> None:
        weights, codes = split_key(key, 2)
        size = config.latent.vectors * config.quantizer.size
        self.coded = CodedStart(
            encoder=config.encoder,
            rollout=config.rollout,
            features=size,
            code=size,
            statistics=data.statistics,
        )
        initialize(self, weights)
        self.tokens = Tokens(
            config=config.quantizer, vectors=config.latent.vectors, key=codes
        )

    def __call__(
        self,
        given: Batch,
        *,
        known: int | None,
        key: Key[Array, ""],
        training: bool,
    ) -> dict[str, Any]:
        """Outputs in physical units, the quantizer's losses, and tokens ``[B, V, S]``.

        In evaluation ``without_start`` follows from the usual code, ``usage`` has the
        perplexity and the dead codes of every codebook, the same for every row, and
        ``vectors`` ``[B, V·D]`` the codes.

        Args:
            given: ``u``, ``y`` and the mask ``given.y``.
            known: Outputs that every row knows, where that is certain before compiling.
            key: Randomness of dropout and of codes that are revived.
            training: Whether dropout acts and codes follow.
        """
        reading, going, following = split_key(key if training else None, 3)
        seen = self.coded.read(given, known=known, key=reading)
        code, outputs = self.tokens(seen.features, key=following)
        if training:
            (y,) = self.coded.predict(seen, [code], key=going)
            return {"y": y, **outputs}
        rows = len(code)
        y, without = self.coded.predict(seen, [code, self.tokens.usual(rows)])
        usage = self.tokens.usage(rows)
        more = {"without_start": without, "usage": usage, "vectors": code}
        return {"y": y, **more, **outputs}

    def begin(self, given: Batch, *, known: int | None, key: Key[Array, ""]) -> None:
        """Let the codes begin where a first batch's vectors lie."""
        self.tokens.begin(self.coded.read(given, known=known).features, key)


class WindowModel(nnx.Module):
    """Reads whole windows into tokens, and writes them from their codes.

    Args:
        config: The family's configuration.
        data: Of a task of reconstruction; gives units and channels.
        length: Time steps of a window.
        key: Randomness of the initial weights and codes.
    """

    def __init__(
        self, *, config: Config, data: TaskData, length: int, key: Key[Array, ""]
    ) -> None:
        task = data.task
        assert isinstance(task, reconstruction.Task), "see `problem`"
        self.role = task.role
        weights, codes = split_key(key, 2)
        size = config.latent.vectors * config.quantizer.size
        self.coder = WindowCoder(
            config=config.coder,
            role=task.role,
            length=length,
            features=size,
            code=size,
            statistics=data.statistics,
        )
        initialize(self, weights)
        self.tokens = Tokens(
            config=config.quantizer, vectors=config.latent.vectors, key=codes
        )

    def learned(self, given: Batch, *, key: Key[Array, ""]) -> dict[str, Any]:
        """Windows written from their codes, which follow them, and what branches give."""
        reading, following, writing = split_key(key, 3)
        features = self.coder.read(*self._given(given), key=reading)
        code, outputs = self.tokens(features, key=following)
        written = self.coder.write(code, key=writing)
        found = {self.role: written.values, **branch_outputs(written.branches)}
        return found | outputs

    def tries(
        self, given: Batch, *, data: TaskData, key: Key[Array, ""]
    ) -> dict[str, Any]:
        """Windows written from their codes, as they are and with every hole, side by side."""
        task = data.task
        assert isinstance(task, reconstruction.Task), "see `problem`"
        names, values, shown = all_tries(task, given, data)
        rows = len(given[task.role])
        code, outputs = self.tokens(self.coder.read(values, shown))
        own = jax.tree.map(lambda leaf: leaf[:rows], outputs)
        found = tried(names, self.coder.write(code))
        return found | own | {"usage": self.tokens.usage(rows)}

    def begin(self, given: Batch, key: Key[Array, ""]) -> None:
        """Let the codes begin where a first batch's vectors lie."""
        self.tokens.begin(self.coder.read(*self._given(given)), key)

    def _given(self, given: Batch) -> tuple[Array, Array]:
        return given[self.role], given[f"given.{self.role}"]


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
    require_scored_window(data=config.data, loss=config.loss, known=known)
    certain = None if "y" in data.reference.gaps else known
    error = sequence_loss(config=config.loss, std=data.statistics.std["y"], start=known)

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
        return model(batch, known=known, key=key, training=training), carry

    def start(model: Model, batch: Batch, *, key: Key[Array, ""], hyper: Hyper) -> None:
        model.begin(batch, known=certain, key=key)

    return Problem(
        signature=(__name__, config.static_signature(), data.identity),
        build=lambda key: Model(config=config, data=data, key=key),
        forward=forward,
        loss=Loss(terms={**error.terms, **config.quantizer.terms()}),
        metrics=(
            *task.metrics(data),
            without_start(known),
            *_metrics(config),
            *probes(data, known=known, code=lambda outputs: outputs["vectors"]),
        ),
        hyper=config.traced(),
        optimizer=config.optimizer,
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        start=start if config.quantizer.begins_from_data else None,
        describe=lambda outputs, batch: {"tokens": outputs["tokens"]},
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
        run = model.learned if training else partial(model.tries, data=data)
        return run(batch, key=key), carry

    def start(
        model: WindowModel, batch: Batch, *, key: Key[Array, ""], hyper: Hyper
    ) -> None:
        model.begin(batch, key)

    return Problem(
        signature=(__name__, config.static_signature(), data.identity),
        build=lambda key: WindowModel(config=config, data=data, length=length, key=key),
        forward=forward,
        loss=Loss(
            terms={
                "squared": squared_term(scored),
                **config.quantizer.terms(),
                **branch_terms(config.coder, scored),
            }
        ),
        metrics=(*task.metrics(data), *_metrics(config)),
        hyper=config.traced(),
        optimizer=config.optimizer,
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        start=start if config.quantizer.begins_from_data else None,
        describe=lambda outputs, batch: {"tokens": outputs["tokens"]},
    )


def _metrics(config: Config) -> tuple[Metric, ...]:
    """Bits of a row, and per codebook the perplexity and the number of dead codes."""
    bits = config.latent.vectors * config.quantizer.carried

    def usage(name: str) -> Average:
        return Average(name=name, function=lambda outputs, _: outputs["usage"][name])

    carried = Average(name="carried", function=lambda _, batch: jnp.full((1,), bits))
    return carried, usage("perplexity"), usage("dead")


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    code = {"latent.vectors": 2, "quantizer.bits": 2, "quantizer.code_size": 2}
    if task == "reconstruction":
        return Example(
            task=task,
            config={
                **code,
                "coder.kind": "recurrent",
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
            **code,
            "encoder.hidden_size": 4,
            "encoder.depth": 2,
            "rollout.hidden_size": 4,
            "data.window": 20,
            "data.batch_size": 16,
            "data.batches": 2,
            "loss.n_skip": 4,
        },
    )
