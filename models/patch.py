"""Patches of a look-back as tokens, every column by itself: a transformer over time.

A column is cut into patches that may overlap, its end held for one more; a linear map and a
learned place make a token of each, blocks of attention let them read from one another, and one map
of all of them gives the horizon. All columns share all weights and never see each other.

Source: Nie et al. 2023, "A time series is worth 64 words: long-term forecasting with
transformers" (PatchTST); layer normalization where it has batch normalization.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from models.config import Config as BaseConfig
from models.config import static, traced
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
from models.layers.attention import require_heads
from models.layers.dropout import entry_dropout, split_key
from models.layers.initialization import initialize, normal_parameter
from models.layers.linear import Linear
from models.layers.normalization import Standardize
from models.layers.reversible import Kind, ReversibleNorm, level
from models.layers.traced import Traced
from models.layers.transformer import TransformerBlock
from models.tasks.base import TaskData
from models.training.optimizer import Optimizer
from models.training.problem import Problem

TASKS = ("forecast",)
CLOSED_FORM = False
CAUSAL = False  # there is no input that goes on through the horizon


@dataclass(frozen=True, kw_only=True)
class Patches(BaseConfig):
    """The network.

    Attributes:
        length: Rows of a patch.
        stride: Rows between the starts of two patches.
        d_model: Numbers of a token.
        heads: Of attention; they divide `d_model`.
        blocks: Of the transformer.
        hidden_size: Width of their hidden layers.
        dropout: Of tokens, within blocks, and in front of the last map.
        normalization: Windows in units of their own (`models.layers.reversible`).
    """

    length: int = static(16, low=1)
    stride: int = static(8, low=1)
    d_model: int = static(32, low=1)
    heads: int = static(4, low=1)
    blocks: int = static(2, low=1)
    hidden_size: int = static(64, low=1)
    dropout: float = traced(0.1, low=0.0, high=0.9)
    normalization: Kind = static("plain")

    def validate(self) -> None:
        """Refuse heads that do not divide a token, and patches that leave rows out."""
        require_heads(
            size=self.d_model, heads=self.heads, names=("model.d_model", "model.heads")
        )
        if self.stride > self.length:
            raise ConfigError(
                f"`model.stride` must be at most `model.length`, got {self.stride} and "
                f"{self.length}",
                hint="or rows between two patches are never seen",
            )


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `patch`."""

    model: Patches = field(default_factory=Patches)
    data: Windows = field(default_factory=lambda: Windows(window=192, batch_size=32))
    loss: ForecastLoss = field(default_factory=ForecastLoss)
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(learning_rate=1e-3, decay_start=0.0)
    )

    def validate(self) -> None:
        """Refuse windows in a row."""
        self.data.require_shuffled()


class Model(nnx.Module):
    """Standardize, tokens of patches, a transformer over them, the horizon, physical units.

    Args:
        config: The network's configuration.
        data: Of the task.
        frame: Its sizes.
        key: Randomness of the initial weights.
    """

    def __init__(
        self, *, config: Patches, data: TaskData, frame: Frame, key: Key[Array, ""]
    ) -> None:
        self.places = patch_places(frame.look_back, config)
        size, patches = config.d_model, len(self.places)
        self.rate = Traced(0.0, name="model.dropout")
        self.standardize = Standardize.of(data.statistics, "y")
        self.normalize = ReversibleNorm(
            kind=config.normalization, channels=len(frame.std)
        )
        self.read = Linear(inputs=config.length, outputs=size)
        self.place = normal_parameter((patches, size), deviation=0.02)
        self.blocks = nnx.List(
            TransformerBlock(
                size=size,
                heads=config.heads,
                hidden_size=config.hidden_size,
                dropout_name="model.dropout",
            )
            for _ in range(config.blocks)
        )
        self.head = Linear(inputs=patches * size, outputs=frame.horizon)
        initialize(self, key)

    def __call__(
        self, batch: Mapping[str, Array], frame: Frame, *, key: Key[Array, ""] | None
    ) -> Float[Array, "batch horizon channel"]:
        """The horizon in physical units.

        Args:
            batch: ``y`` and ``given.y``.
            frame: The sizes.
            key: Of training: switches dropout on.
        """
        first, last, *block_keys = split_key(key, 2 + len(self.blocks))
        rate = self.rate[...]
        seen = seen_of(batch, frame)
        values = self.standardize(frame.recent(batch, "y"))
        at = level(values, seen)
        columns = jnp.swapaxes(self.normalize(values, seen, at), 1, 2)
        rows, channels, _ = columns.shape
        cut = columns[..., np.array(self.places)]
        cut = cut.reshape(rows * channels, *cut.shape[2:])
        tokens = self.read(cut) + self.place[...][None]
        tokens = entry_dropout(tokens, rate, first)
        for block, block_key in zip(self.blocks, block_keys, strict=True):
            tokens = block(tokens, key=block_key)
        flat = entry_dropout(tokens.reshape(rows, channels, -1), rate, last)
        late = self.normalize.inverse(jnp.swapaxes(self.head(flat), 1, 2), at)
        return self.standardize.inverse(late)


def patch_places(look_back: int, config: Patches) -> tuple[tuple[int, ...], ...]:
    """The rows of every patch; those behind the end are the last row.

    Args:
        look_back: Rows that there are.
        config: Length and stride.

    Raises:
        ConfigError: A patch is longer than the look-back.
    """
    if config.length > look_back:
        raise ConfigError(
            f"`model.length` must be at most the look-back, got {config.length} and "
            f"{look_back}",
            hint="take shorter patches, or set `data.window` higher",
        )
    starts = range(0, look_back - config.length + config.stride + 1, config.stride)
    return tuple(
        tuple(min(start + i, look_back - 1) for i in range(config.length))
        for start in starts
    )


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: Window and patches do not fit together.
    """
    patch_places(Frame.of(data, config.data).look_back, config.model)

    def build(frame: Frame, key: Key[Array, ""]) -> Model:
        return Model(config=config.model, data=data, frame=frame, key=key)

    return forecast_problem(build, name=__name__, config=config, data=data)


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(
        task=task,
        config={
            "model.length": 8,
            "model.stride": 4,
            "model.d_model": 8,
            "model.heads": 2,
            "model.blocks": 1,
            "model.hidden_size": 8,
            "model.normalization": "affine",
            "data.window": 24,
            "data.batch_size": 16,
            "data.batches": 4,
        },
    )
