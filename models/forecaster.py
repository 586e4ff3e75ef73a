"""Inverted transformer: every column of a look-back is a token, and they read from each other.

A column is mapped to a token as a whole, blocks of attention let columns (and the calendar) look
at one another, a last map gives each column's horizon. Windows come in units of their own
(reversible normalization); a learned cycle may be taken out of the past and put back into the
forecast; a linear map may go past all of it; an augmenter tells every token what a map of the
look-back cannot (`models.layers.augmenter`).

Sources: Liu et al. 2024, "iTransformer: inverted transformers are effective for time series
forecasting"; Lin et al. 2024, "CycleNet", for the cycle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

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
from models.layers.augmenter import Residual, Summarizer, TokenSemanticAugmenter
from models.layers.calendar import FINE_MARKS, MARKS, marks
from models.layers.cycle import Cycle
from models.layers.dropout import entry_dropout, split_key
from models.layers.initialization import initialize
from models.layers.layer_normalization import LayerNorm
from models.layers.linear import Linear
from models.layers.normalization import Standardize
from models.layers.reversible import Kind, Level, ReversibleNorm, level
from models.layers.traced import Traced
from models.layers.transformer import TransformerBlock
from models.tasks.base import TaskData
from models.training.optimizer import Optimizer
from models.training.problem import Problem

TASKS = ("forecast",)
CLOSED_FORM = False
CAUSAL = False  # there is no input that goes on through the horizon


@dataclass(frozen=True, kw_only=True)
class Network(BaseConfig):
    """The network.

    Attributes:
        d_model: Numbers of a token.
        heads: Of attention; they divide `d_model`.
        blocks: Of the transformer.
        hidden_size: Width of their hidden layers.
        dropout: Of tokens, and within blocks.
        normalization: Windows in units of their own: not, by mean and deviation, or with a
            learned scale and shift of every column as well.
        calendar: Whether the calendar comes as tokens: hour, weekday, days of month and year,
            and the minute where rows are less than an hour apart.
        cycle: Rows of a learned cycle; 0 for none.
        linear: Whether a linear map of the look-back, one for all columns, is added.
        mixing: Whether columns read from one another; else each from itself, and from the
            calendar.
    """

    d_model: int = static(128, low=1)
    heads: int = static(8, low=1)
    blocks: int = static(2, low=1)
    hidden_size: int = static(128, low=1)
    dropout: float = traced(0.1, low=0.0, high=0.9)
    normalization: Kind = static("plain")
    calendar: bool = static(False)
    cycle: int = static(0, low=0)
    linear: bool = static(False)
    mixing: bool = static(True)

    def validate(self) -> None:
        """Refuse heads that do not divide a token."""
        require_heads(
            size=self.d_model, heads=self.heads, names=("model.d_model", "model.heads")
        )


@dataclass(frozen=True, kw_only=True)
class Augmentation(BaseConfig):
    """What the augmenter's tokens are used for.

    Attributes:
        mode: ``none``; ``add`` through a linear map that begins at zero, so that a new model
            is the one without; ``concat`` beside the token, and a linear map of both;
            ``gated`` mixed with it, number by number; ``replace``.
        d_intra: Numbers of what its attention over time reads.
        ar_order: Order of its autoregression.
        queries: Of its attention over time.
        dropout: Within it.
        summarizer: How it reads time (`models.layers.augmenter`).
        ar: What its autoregression predicts.
        features: Groups of statistics that it tells: ``dyn`` (differences), ``acf``, ``ar``,
            ``scale``.
    """

    mode: Literal["none", "add", "concat", "gated", "replace"] = static("none")
    d_intra: int = static(32, low=2)
    ar_order: int = static(4, low=1)
    queries: int = static(4, low=1)
    dropout: float = traced(0.1, low=0.0, high=0.9)
    summarizer: Summarizer = static("timed")
    ar: Residual = static("next")
    features: tuple[str, ...] = static(("dyn", "acf", "ar", "scale"))

    def validate(self) -> None:
        """Refuse statistics of no known name, and queries that a plain summarizer has not."""
        known = ("dyn", "acf", "ar", "scale")
        for name in self.features:
            if name not in known:
                raise ConfigError(
                    f"`augmenter.features` are some of {', '.join(known)}, got {name!r}"
                )
        if self.summarizer == "plain" and self.queries != 1:
            raise ConfigError(
                f"a plain summarizer has one query, got `augmenter.queries` {self.queries}",
                hint="set it to 1, or `augmenter.summarizer` to `timed`",
            )

    def unused(self) -> frozenset[str]:
        """Everything but the mode, where there is none."""
        names = {item.name for item in fields(self)} - {"mode"}
        return frozenset(names if self.mode == "none" else ())


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `forecaster`."""

    model: Network = field(default_factory=Network)
    augmenter: Augmentation = field(default_factory=Augmentation)
    data: Windows = field(default_factory=lambda: Windows(window=192, batch_size=32))
    loss: ForecastLoss = field(default_factory=ForecastLoss)
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(learning_rate=1e-3, decay_start=0.0)
    )

    def validate(self) -> None:
        """Refuse windows in a row."""
        self.data.require_shuffled()


class Augmented(nnx.Module):
    """Tokens with what the augmenter says of their columns.

    Args:
        config: How.
        size: Numbers of a token.
    """

    def __init__(self, *, config: Augmentation, size: int) -> None:
        self.mode = config.mode
        self.augmenter = TokenSemanticAugmenter(
            size,
            d_intra=config.d_intra,
            ar_order=config.ar_order,
            queries=config.queries,
            summarizer=config.summarizer,
            ar=config.ar,
            **{f"use_{n}": n in config.features for n in ("dyn", "acf", "ar", "scale")},
        )
        self.out = nnx.Param(jnp.zeros((size, size))) if config.mode == "add" else None
        self.join = (
            Linear(inputs=2 * size, outputs=size)
            if config.mode in ("concat", "gated")
            else None
        )

    def __call__(
        self,
        tokens: Float[Array, "batch channel number"],
        values: Float[Array, "batch time channel"],
        at: Level,
        *,
        key: Key[Array, ""] | None,
    ) -> Float[Array, "batch channel number"]:
        """The tokens, ``[B, C, D]``.

        Args:
            tokens: Of the look-back, likewise.
            values: The look-back ``[B, L, C]``, not in units of its own.
            at: Its level and scale.
            key: Of training.
        """
        told = self.augmenter(values, at.mean[:, 0], at.std[:, 0], key=key)
        if self.out is not None:
            return tokens + told @ self.out[...]
        if self.join is None:
            return told
        joined = self.join(jnp.concatenate([tokens, told], axis=-1))
        if self.mode == "concat":
            return joined
        gate = jax.nn.sigmoid(joined)
        return tokens + gate * (told - tokens)


class Model(nnx.Module):
    """Standardize, tokens of columns, a transformer over them, horizons, physical units.

    Args:
        config: The family's configuration.
        data: Of the task.
        frame: Its sizes.
        key: Randomness of the initial weights.

    Raises:
        ConfigError: A calendar or cycle is wanted of a task without, or the window is too
            short for the augmenter.
    """

    def __init__(
        self, *, config: Config, data: TaskData, frame: Frame, key: Key[Array, ""]
    ) -> None:
        model, size, channels = config.model, config.model.d_model, len(frame.std)
        step = step_of(config, data)
        _check_augmenter(config.augmenter, frame)
        self.rate = Traced(0.0, name="model.dropout")
        self.standardize = Standardize.of(data.statistics, "y")
        self.normalize = ReversibleNorm(kind=model.normalization, channels=channels)
        self.marks: tuple[str, ...] = ()
        if model.calendar:
            self.marks = MARKS if step and step % 3600 == 0 else FINE_MARKS
        self.cycle = (
            Cycle(length=model.cycle, step=step, channels=channels)
            if model.cycle
            else None
        )
        self.mixing = model.mixing
        self.read = Linear(inputs=frame.look_back, outputs=size)
        self.blocks = nnx.List(
            TransformerBlock(
                size=size,
                heads=model.heads,
                hidden_size=model.hidden_size,
                dropout_name="model.dropout",
            )
            for _ in range(model.blocks)
        )
        self.norm = LayerNorm(size)
        self.head = Linear(inputs=size, outputs=frame.horizon)
        self.past = (
            Linear(inputs=frame.look_back, outputs=frame.horizon)
            if model.linear
            else None
        )
        initialize(self, key)
        self.augmented = (
            None
            if config.augmenter.mode == "none"
            else Augmented(config=config.augmenter, size=size)
        )
        if self.augmented is not None:
            # Drawn apart: all else begins as it does without.
            initialize(self.augmented, jax.random.fold_in(key, 1))

    def __call__(
        self, batch: Mapping[str, Array], frame: Frame, *, key: Key[Array, ""] | None
    ) -> Float[Array, "batch horizon channel"]:
        """The horizon in physical units.

        Args:
            batch: ``y``, ``given.y`` and, for calendar and cycle, ``t``.
            frame: The sizes.
            key: Of training: switches dropout on.
        """
        augmenting, tokens_key, *block_keys = split_key(key, 2 + len(self.blocks))
        seen = seen_of(batch, frame)
        values = self.standardize(frame.recent(batch, "y"))
        if self.cycle is not None:
            values = values - self.cycle(frame.recent(batch, "t"))
        at = level(values, seen)
        columns = jnp.swapaxes(self.normalize(values, seen, at), 1, 2)
        tokens = self.read(columns)
        if self.augmented is not None:
            whole = jnp.where(seen, values, at.mean)
            tokens = self.augmented(tokens, whole, at, key=augmenting)
        if self.marks:
            when = jnp.swapaxes(marks(frame.recent(batch, "t"), self.marks), 1, 2)
            tokens = jnp.concatenate([tokens, self.read(when)], axis=1)
        tokens = entry_dropout(tokens, self.rate[...], tokens_key)
        mask = None if self.mixing else self._alone(tokens.shape[1])
        for block, block_key in zip(self.blocks, block_keys, strict=True):
            tokens = block(tokens, mask=mask, key=block_key)
        found = self.head(self.norm(tokens[:, : columns.shape[1]]))
        if self.past is not None:
            found = found + self.past(columns)
        late = self.normalize.inverse(jnp.swapaxes(found, 1, 2), at)
        if self.cycle is not None:
            late = late + self.cycle(frame.late(batch, "t"))
        return self.standardize.inverse(late)

    def _alone(self, tokens: int) -> Bool[Array, "token token"]:
        """The mask that lets every token read from itself and from the calendar."""
        marks = jnp.arange(tokens) >= tokens - len(self.marks)
        return jnp.eye(tokens, dtype=bool) | marks[None, :]


def step_of(config: Config, data: TaskData) -> int:
    """Whole seconds between two rows; 0 for less than half of one, or where nothing asks.

    Raises:
        ConfigError: A calendar or a cycle is wanted, and the task tells no times; or a cycle
            of rows that are no whole seconds apart.
    """
    wanted = [n for n in ("calendar", "cycle") if getattr(config.model, n)]
    if not wanted:
        return 0
    if "t" not in data.takes or not data.sampling_rate:
        raise ConfigError(
            f"`model.{wanted[0]}` needs to know when rows are, got "
            f"{getattr(config.model, wanted[0])!r} for a task without times",
            hint='task={"name": "forecast", "calendar": true}, and data with a calendar',
        )
    seconds = 1 / data.sampling_rate
    step = round(seconds)
    if config.model.cycle and abs(seconds - step) > 1e-3 * step:
        raise ConfigError(
            f"`model.cycle` is of rows that are whole seconds apart, got "
            f"{config.model.cycle} with {seconds:g} s between two rows",
            hint="set it to 0",
        )
    return step


def _check_augmenter(augmenter: Augmentation, frame: Frame) -> None:
    shortest = max(augmenter.ar_order + 1, 3)
    if augmenter.mode != "none" and frame.look_back < shortest:
        raise ConfigError(
            f"the augmenter needs to look back on at least {shortest} rows with "
            f"`augmenter.ar_order` {augmenter.ar_order}, got {frame.look_back}",
            hint=f"set `data.window` to at least {shortest + frame.horizon}",
        )


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: Window, task and model do not fit together.
    """
    step_of(config, data)
    _check_augmenter(config.augmenter, Frame.of(data, config.data))

    def build(frame: Frame, key: Key[Array, ""]) -> Model:
        return Model(config=config, data=data, frame=frame, key=key)

    return forecast_problem(build, name=__name__, config=config, data=data)


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    config: dict[str, Any] = {
        "model.d_model": 8,
        "model.heads": 2,
        "model.blocks": 1,
        "model.hidden_size": 8,
        "model.normalization": "affine",
        "model.calendar": True,
        "model.cycle": 24,
        "model.linear": True,
        "augmenter.mode": "add",
        "augmenter.d_intra": 4,
        "augmenter.queries": 2,
        "data.window": 24,
        "data.batch_size": 16,
        "data.batches": 4,
    }
    return Example(task=task, config=config)
