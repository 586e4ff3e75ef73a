"""Vector-quantized autoencoders: a few tokens between what is seen and what is wanted of it.

For *prediction* the known part of a window is read into vectors, each of which is replaced by one
of a few codes. From these a recurrent network, driven by u, goes on. So the past is worth
`carried` bits; `rmse_without_start` is the error that is made where the usual code (the mean over
the training windows) is used instead of that of the window. `perplexity` and `dead` say how
many codes of a codebook are used, counted over the last 100 or so training batches.

Source: van den Oord et al. 2017, "Neural discrete representation learning".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

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
from models.layers.quantizer import Quantization, Quantizer, perplexities
from models.losses import Loss
from models.metrics.accumulators import Average, Metric
from models.sequences import (
    SequenceLoss,
    check_windows,
    require_scored_window,
    sequence_loss,
)
from models.tasks.base import TaskData
from models.tasks.sequences import SequenceTask
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Hyper, Outputs, Problem

TASKS = ("prediction",)
CLOSED_FORM = False
CAUSAL = True


@dataclass(frozen=True, kw_only=True)
class Latent(BaseConfig):
    """The code.

    Attributes:
        vectors: Of a window; each has a codebook of its own.
    """

    vectors: int = static(3, low=1)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `vqvae`."""

    encoder: Encoder = field(default_factory=Encoder)
    latent: Latent = field(default_factory=Latent)
    quantizer: Quantization = field(default_factory=lambda: Quantization(bits=4))
    rollout: Prognosis = field(default_factory=Prognosis)
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
        vectors, size = config.latent.vectors, config.quantizer.size
        self.shape = (vectors, size)
        weights, codes = split_key(key, 2)
        self.coded = CodedStart(
            encoder=config.encoder,
            rollout=config.rollout,
            features=vectors * size,
            code=vectors * size,
            statistics=data.statistics,
        )
        initialize(self, weights)
        self.quantizer = Quantizer(config=config.quantizer, groups=vectors, key=codes)

    def __call__(
        self,
        given: Batch,
        *,
        known: int | None,
        key: Key[Array, ""],
        training: bool,
    ) -> dict[str, Any]:
        """Outputs in physical units, the quantizer's losses, and tokens ``[B, V, S]``.

        In evaluation ``without_start`` follows from the usual code, and ``usage`` has the
        perplexity and the dead codes of every codebook, the same for every row.

        Args:
            given: ``u``, ``y`` and the mask ``given.y``.
            known: Outputs that every row knows, where that is certain before compiling.
            key: Randomness of dropout and of codes that are revived.
            training: Whether dropout acts and codes follow.
        """
        reading, going, following = split_key(key if training else None, 3)
        seen = self.coded.read(given, known=known, key=reading)
        found = self.quantizer(self._vectors(seen.features), key=following)
        code = found.codes.reshape(seen.features.shape)
        outputs = {"code": found.losses, "tokens": found.tokens}
        if training:
            (y,) = self.coded.predict(seen, [code], key=going)
            return {"y": y, **outputs}
        usual = jnp.broadcast_to(self.quantizer.usual().reshape(1, -1), code.shape)
        y, without = self.coded.predict(seen, [code, usual])
        usage = self._usage(len(code))
        return {"y": y, "without_start": without, "usage": usage, **outputs}

    def begin(self, given: Batch, *, known: int | None, key: Key[Array, ""]) -> None:
        """Let the codes begin where a first batch's vectors lie."""
        seen = self.coded.read(given, known=known)
        self.quantizer.begin(self._vectors(seen.features), key)

    def _vectors(
        self, features: Float[Array, "batch feature"]
    ) -> Float[Array, "batch vector number"]:
        return features.reshape(-1, *self.shape)

    def _usage(self, rows: int) -> dict[str, Float[Array, "row codebook"]]:
        shares = self.quantizer.shares()
        shares = shares.reshape(-1, shares.shape[-1])
        dead = jnp.sum(shares == 0, axis=-1, dtype=jnp.int32).astype(shares.dtype)
        found = {"perplexity": perplexities(shares), "dead": dead}
        return {n: jnp.broadcast_to(v[None], (rows, len(v))) for n, v in found.items()}


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
        metrics=(*task.metrics(data), without_start(known), *_metrics(config)),
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
    return Example(
        task=task,
        config={
            "encoder.hidden_size": 4,
            "encoder.depth": 2,
            "latent.vectors": 2,
            "quantizer.bits": 2,
            "quantizer.code_size": 2,
            "rollout.hidden_size": 4,
            "data.window": 20,
            "data.batch_size": 16,
            "data.batches": 2,
            "loss.n_skip": 4,
        },
    )
