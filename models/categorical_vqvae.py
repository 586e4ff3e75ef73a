"""Categorical VQ-VAE: every category of a row's columns as a few tokens of its own.

All categories are one program (`models.layers.grouped`): an optional front, an extractor, a
projector and a codebook for every category and level, one decoder that writes the row from all
codes, and one for each code by itself, which says how much that code knows of the whole.
`docs/grouped-features.md` tells what is reported.

Sources: van den Oord et al. 2017, "Neural discrete representation learning"; categories, levels
and further losses after the categorical hierarchical VQ-VAE of `dgabriele/spinlock`, without its
defects (its commitment weighed the codebook, its revived codes shrank to the origin).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.grouping import Grouping, grouping_of
from models.data.rows import Rows
from models.errors import ConfigError, UserError
from models.example import Example
from models.family import FamilyLearner, creator
from models.layers.category_reader import CategoryReader, Front, Reader
from models.layers.category_writer import PartialWriters, SharedWriter, Writer
from models.layers.dropout import split_key
from models.layers.grouped import Grouped
from models.layers.initialization import initialize
from models.layers.levels import Leveled, LeveledQuantizer, Levels, Sizes, codes_of
from models.layers.normalization import Standardize
from models.layers.quantizer import Quantization
from models.losses import Loss, Term, only, squared_error
from models.losses.codes import orthogonality, topographic
from models.metrics.accumulators import Average, Metric
from models.metrics.tokens import Explained, token_counts, usage_metrics
from models.tasks import reconstruction
from models.tasks.base import TaskData
from models.training.learner import GradientLearner
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Hyper, Outputs, Problem

TASKS = ("reconstruction",)
CLOSED_FORM = False
CAUSAL = False
SOURCE_KEYS = {
    "group_hidden_dim": "reader.hidden_size",
    "group_embedding_dim": "reader.size",
    "commitment_cost": "quantizer.commitment",
    "decay": "quantizer.decay",
    "ema_decay": "quantizer.decay",
    "orthogonality_weight": "loss.orthogonality",
    "informativeness_weight": "loss.informativeness",
    "topographic_weight": "loss.topographic",
    "levels[]": "levels.count",
    "levels[].latent_dim": "levels.code_size",
}
"""What the configuration files of the system followed call our keys (`hpo train`)."""
SOURCE_VALUES = {
    "use_ema": {"quantizer.kind": {True: "ema", False: "learned"}},
    "levels[]": {"levels.hierarchy": {1: None, 2: "parallel", 3: "parallel"}},
    "levels[].num_tokens": {
        "levels.bits": {
            4: 2,
            8: 3,
            16: 4,
            32: 5,
            64: 6,
            128: 7,
            256: 8,
            512: 9,
            1024: 10,
        }
    },  # fmt: skip
}
"""What their values mean here, by our key: its levels lie side by side."""


@dataclass(frozen=True, kw_only=True)
class Categories(BaseConfig):
    """What the categories are.

    Attributes:
        grouping: Which of the data's groupings; empty for the first.
    """

    grouping: str = static("")


@dataclass(frozen=True, kw_only=True)
class Terms(BaseConfig):
    """Weights of what is asked of codes beside reconstruction.

    Attributes:
        informativeness: Of the error that every code makes by itself.
        orthogonality: Of the squared cosines of codes; acts where codes are parameters.
        topographic: Of the distances that do not survive.
    """

    informativeness: float = traced(0.1, low=0.0)
    orthogonality: float = traced(0.0, low=0.0)
    topographic: float = traced(0.02, low=0.0)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `categorical_vqvae`."""

    categories: Categories = field(default_factory=Categories)
    front: Front = field(default_factory=Front)
    reader: Reader = field(default_factory=Reader)
    levels: Levels = field(default_factory=Levels)
    quantizer: Quantization = field(default_factory=Quantization)
    writer: Writer = field(default_factory=Writer)
    data: Rows = field(default_factory=lambda: Rows(batch_size=64))
    loss: Terms = field(default_factory=Terms)
    optimizer: Optimizer = field(default_factory=Optimizer)

    def validate(self) -> None:
        """Refuse what acts on nothing."""
        usual = Quantization()
        for name in ("bits", "code_size", "stages"):
            value = getattr(self.quantizer, name)
            if value != getattr(usual, name):
                instead = "count" if name == "stages" else name
                raise ConfigError(
                    f"levels say how large codes are, got `quantizer.{name}` {value}",
                    hint=f"set `levels.{instead}` instead",
                )
        if self.quantizer.kind not in ("learned", "simvq") and self.loss.orthogonality:
            raise ConfigError(
                "`loss.orthogonality` acts where codes are parameters, got "
                f"{self.loss.orthogonality:g} with `quantizer.kind` {self.quantizer.kind}",
                hint='set `quantizer.kind` to "learned" or "simvq", or leave it out',
            )
        if (
            not self.writer.partial
            and self.loss.informativeness != Terms().informativeness
        ):
            raise ConfigError(
                "`loss.informativeness` acts with partial decoders, got "
                f"{self.loss.informativeness:g} without",
                hint="set `writer.partial` to true, or leave it out",
            )


class Model(nnx.Module):
    """Reads the categories of a row into tokens, and writes the row from their codes.

    Args:
        config: The family's configuration.
        data: Of the task; gives units and columns.
        grouping: The categories.
        sizes: Bits by level and category.
        key: Randomness of the initial weights and codes.
    """

    def __init__(
        self,
        *,
        config: Config,
        data: TaskData,
        grouping: Grouping,
        sizes: Sizes,
        key: Key[Array, ""],
    ) -> None:
        task = data.task
        assert isinstance(task, reconstruction.Task), "see `problem`"
        weights, codes = split_key(key, 2)
        assert weights is not None and codes is not None, "there is a key"
        self.role = task.role
        self.groups = len(grouping.names)
        self.normalize = Standardize.of(data.statistics, task.role)
        self.reader = CategoryReader(
            front=config.front,
            reader=config.reader,
            columns=grouping.columns,
            masked=task.role in data.reference.gaps or task.hidden > 0,
        )
        self.levels = LeveledQuantizer(
            config=config.levels,
            quantization=config.quantizer,
            sizes=sizes,
            inputs=config.reader.size,
            key=codes,
        )
        size, columns = self.levels.code_sizes, self.normalize.channels
        self.writer = SharedWriter(
            config=config.writer, inputs=self.groups * sum(size), outputs=columns
        )
        self.partial = (
            PartialWriters(
                config=config.writer,
                groups=self.groups,
                code_sizes=size,
                outputs=columns,
            )
            if config.writer.partial
            else None
        )
        initialize(self, weights)

    def __call__(
        self, given: Batch, *, key: Key[Array, ""], training: bool
    ) -> dict[str, Any]:
        """Rows ``[B, D]`` in physical units, tokens ``[B, G·L]``, and what losses weigh.

        Args:
            given: The role and the mask ``given.ROLE``.
            key: Randomness of dropout and of codes that are revived.
            training: Whether dropout acts and codes follow.
        """
        reading, following, writing = split_key(key if training else None, 3)
        scaled, mask = self._scaled(given)
        vectors = self.reader(scaled, mask, key=reading)
        found = self.levels(vectors, key=following)
        outputs = {
            self.role: self._written(found.codes, key=writing),
            "tokens": found.tokens.reshape(len(scaled), -1),
            "code": found.losses,
            "orthogonality": self._orthogonality(),
            "topographic": topographic(scaled, found.latents, found.codes),
            "informativeness": self._alone(found, scaled, mask),
        }
        if training:
            return outputs
        most = max(self.levels.counts)
        return outputs | {"usage": token_counts(found.tokens, most)}

    def begin(self, given: Batch, *, key: Key[Array, ""]) -> None:
        """Let the codes begin where a first batch's vectors lie."""
        self.levels.begin(self._read(given), key)

    def decode_from_tokens(
        self, tokens: Int[Array, "batch token"]
    ) -> Float[Array, "batch column"]:
        """The rows in physical units that tokens ``[B, G·L]`` stand for."""
        codes = self.levels.decode(tokens.reshape(len(tokens), self.groups, -1))
        return self._written(codes)

    def _read(self, given: Batch) -> Grouped:
        return self.reader(*self._scaled(given))

    def _scaled(self, given: Batch) -> tuple[Array, Array]:
        """Given entries in standard deviations, and which they are."""
        mask = given[f"given.{self.role}"]
        scaled = self.normalize(given[self.role][:, None])[:, 0]
        return jnp.where(mask, scaled, jnp.zeros_like(scaled)), mask

    def _written(
        self, codes: list[Array], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "batch column"]:
        rows = self.writer(codes, key=key)
        return self.normalize.inverse(rows[:, None])[:, 0]

    def _alone(self, found: Leveled, scaled: Array, mask: Array) -> Array:
        """Mean squared error of the given entries that each code makes by itself, ``[B, P·G]``."""
        if self.partial is None:
            return jnp.zeros((len(scaled), 0))
        apart = jnp.where(mask[None], self.partial(found.codes) - scaled[None], 0.0)
        given = jnp.maximum(jnp.sum(mask, axis=1, dtype=jnp.int32), 1)
        total = jnp.sum(jnp.square(apart), axis=-1)
        return (total / given.astype(total.dtype)[None]).T

    def _orthogonality(self) -> Float[Array, ""]:
        books = self.levels.books()
        each = [orthogonality(codes, counts) for codes, counts in books]
        return jnp.mean(jnp.stack(each))


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: The data has no groups or no such grouping, bits cannot be dealt out as
            they are asked for, or a first batch has fewer rows than a codebook codes.
    """
    task = data.task
    assert isinstance(task, reconstruction.Task), "families are asked for their TASKS"
    grouping = grouping_of(data.reference, config.categories.grouping)
    sizes = config.levels.sizes(grouping.spectra)
    pieces = config.levels.pieces(config.quantizer, sizes)
    for quantization, _ in pieces:
        quantization.check_start(config.data.batch_size)
    std = data.statistics.std[task.role]

    def forward(
        model: Model,
        batch: Batch,
        *,
        key: Key[Array, ""],
        training: bool,
        carry: Any,
        hyper: Hyper,
    ) -> tuple[Outputs, Any]:
        return model(batch, key=key, training=training), carry

    def start(model: Model, batch: Batch, *, key: Key[Array, ""], hyper: Hyper) -> None:
        model.begin(batch, key=key)

    counts = codes_of(pieces, len(grouping.names))
    return Problem(
        signature=(__name__, config.static_signature(), data.identity),
        build=lambda key: Model(
            config=config, data=data, grouping=grouping, sizes=sizes, key=key
        ),
        forward=forward,
        loss=Loss(terms=_terms(config, task, std)),
        metrics=(*task.metrics(data), *_metrics(data, task, grouping, counts)),
        train_metrics=usage_metrics(groups=grouping.names, counts=counts),
        hyper=config.traced(),
        optimizer=config.optimizer,
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        start=start if pieces[0][0].begins_from_data else None,
        describe=lambda outputs, batch: {"tokens": outputs["tokens"]},
    )


def _terms(
    config: Config, task: reconstruction.Task, std: np.ndarray
) -> dict[str, Term]:
    role, mask = task.role, task.scored_mask

    def squared(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        unit = jnp.asarray(std, batch[role].dtype)[None]
        found, wanted = only(batch[mask], outputs[role], batch[role])
        total = jnp.sum(squared_error(found / unit, wanted / unit))
        count = jnp.maximum(jnp.sum(batch[mask], dtype=jnp.int32), 1)
        return total / count.astype(total.dtype)

    def scored(batch: Batch, hyper: Hyper) -> Array | None:
        del hyper
        if f"seen.{role}" not in batch:
            return None  # what is hidden is the same share of every batch
        return jnp.sum(batch[mask], dtype=jnp.int32)

    def mean_of(name: str) -> Term:
        return Term(
            function=lambda outputs, batch, hyper: jnp.mean(outputs[name]),
            weight=f"loss.{name}",
        )

    names = ["topographic"]
    names += ["informativeness"] if config.writer.partial else []
    names += ["orthogonality"] if config.quantizer.kind in ("learned", "simvq") else []
    return {
        "squared": Term(function=squared, count=scored),
        **config.quantizer.terms(),
        **{name: mean_of(name) for name in names},
    }


def _metrics(
    data: TaskData,
    task: reconstruction.Task,
    grouping: Grouping,
    counts: tuple[int, ...],
) -> tuple[Metric, ...]:
    """Bits of a row, R² of every category, and how far from right angles codes are."""
    bits = float(np.log2(counts).sum())
    explained = (
        Explained(
            name=f"r2.{name}",
            columns=columns,
            signal=task.role,
            mask=task.scored_mask,
            mean=data.statistics.mean[task.role],
            std=data.statistics.std[task.role],
        )
        for name, columns in zip(grouping.names, grouping.columns, strict=True)
    )
    return (
        Average(name="carried", function=lambda _, batch: jnp.full((1,), bits)),
        *explained,
        Average(
            name="orthogonality", function=lambda outputs, _: outputs["orthogonality"]
        ),
    )


def decode_from_tokens(learner: FamilyLearner, tokens: Any) -> np.ndarray:
    """The rows that tokens stand for, by the best epoch's model of a learner.

    Args:
        learner: Of this family.
        tokens: ``[B, G·L]`` whole numbers, category by category, as `learner.describe` has them.

    Returns:
        ``[B, D]`` in physical units.

    Raises:
        UserError: Tokens have another shape, or one is of no code.
    """
    assert isinstance(learner, GradientLearner), "this family is trained"
    best, graph = learner.best, learner.runner.engine.graph
    model = nnx.merge(graph, best.params, best.variables, copy=True)
    counts = np.array(model.levels.counts)
    numbers = np.asarray(tokens)
    if numbers.ndim != 2 or numbers.shape[1] != len(counts):
        raise UserError(
            f"tokens must be [rows, {len(counts)}], got shape {numbers.shape}",
            hint="category by category, level by level: `learner.describe(part)` has them",
        )
    whole = numbers.dtype.kind in "iu"
    if not whole or (numbers < 0).any() or (numbers >= counts).any():
        raise UserError(
            "tokens are whole numbers below the codes of their codebook, "
            f"{counts.tolist()}, got {numbers.dtype} from {numbers.min()} to {numbers.max()}",
            hint="they are numbered from 0",
        )
    placed = jnp.asarray(numbers, jnp.int32)
    return np.asarray(jax.jit(model.decode_from_tokens)(placed))


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(
        task=task,
        config={
            "reader.hidden_size": 8,
            "reader.size": 4,
            "levels.count": 2,
            "levels.code_size": 4,
            "levels.bits": 2,
            "writer.hidden_size": 8,
            "writer.partial_size": 4,
            "data.batch_size": 16,
            "data.batches": 4,
        },
        write=reconstruction.Task.write_groups,
    )
