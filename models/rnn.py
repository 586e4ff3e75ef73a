"""Recurrent networks for sequences: stacked GRU, LSTM or plain tanh layers.

The defaults follow a prototype for the Wiener–Hammerstein benchmark (two GRU layers of 32,
windows of 250, an L1 loss after 50 samples), and add a linear path from inputs to outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Array, Float, Key

from models.augmentation import Augmentation
from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.windows import Windows
from models.errors import ConfigError
from models.example import Example
from models.family import creator
from models.layers.initialization import initialize
from models.layers.simulator import Simulator
from models.layers.stack import CellName, RecurrentStack, micro_batch
from models.scaling import Framed
from models.sequences import (
    Regularization,
    SequenceLoss,
    check_windows,
    sequence_problem,
)
from models.tasks.base import TaskData
from models.training.optimizer import Optimizer
from models.training.problem import Problem

TASKS = ("simulation", "prediction", "estimation")
CLOSED_FORM = False
CAUSAL = True


@dataclass(frozen=True, kw_only=True)
class RNN(Framed):
    """The network; how it reads and answers see `Framed`.

    Attributes:
        cell: Kind of recurrent layer.
        layers: Number of recurrent layers.
        hidden_size: Hidden channels of every layer.
        dropout: Probability that a channel is dropped between two layers, for the whole of
            a window; needs at least two layers.
        skip: Whether the inputs also reach the outputs directly, through a linear map.
    """

    cell: CellName = static("gru")
    layers: int = static(2, low=1)
    hidden_size: int = static(32, low=1)
    dropout: float = traced(0.0, low=0.0, high=0.9)
    skip: bool = static(True)

    def validate(self) -> None:
        """Refuse a dropout that would act nowhere, and what `Framed` refuses."""
        super().validate()
        if self.dropout and self.layers < 2:
            raise ConfigError(
                "`model.dropout` acts between two recurrent layers, got dropout "
                f"{self.dropout:g} with 1 layer",
                hint="set `model.layers` to at least 2, or the dropout to 0",
            )


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `rnn`."""

    model: RNN = field(default_factory=RNN)
    data: Windows = field(
        default_factory=lambda: Windows(window=250, batch_size=64, batches=150)
    )
    loss: SequenceLoss = field(
        default_factory=lambda: SequenceLoss(kind="mae", n_skip=50)
    )
    regularization: Regularization = field(default_factory=Regularization)
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimizer: Optimizer = field(default_factory=Optimizer)

    def validate(self) -> None:
        """Refuse a loss or an augmentation that leaves nothing of a window."""
        check_windows(
            data=self.data,
            loss=self.loss,
            augmentation=self.augmentation,
            streams=True,
            model=self.model,
        )


class Model(Simulator):
    """Standardize, recurrent layers, linear head, back to physical units.

    Args:
        config: The network's configuration.
        data: Of the task; gives units, channels, and whether outputs are known.
        key: Randomness of the initial weights.
    """

    def __init__(self, *, config: RNN, data: TaskData, key: Key[Array, ""]) -> None:
        super().__init__(
            statistics=data.statistics,
            known="y" in data.takes,
            width=config.hidden_size,
            skip=config.skip,
            scaling=config.scaling,
            scale_outputs=config.scale_outputs,
            decimation=config.decimation,
            frames=config.frames(data.statistics),
        )
        self.recurrent = RecurrentStack(
            cell=config.cell,
            inputs=self.inputs,
            hidden_size=config.hidden_size,
            layers=config.layers,
            dropout_name="model.dropout",
        )
        initialize(self, key)

    def features(
        self, inputs: Float[Array, "batch time input"], *, key: Key[Array, ""] | None
    ) -> Float[Array, "batch time feature"]:
        """The states of the last recurrent layer."""
        states, _ = self.recurrent(inputs, key=key)
        return states

    def initial_state(self, batch_size: int) -> Any:
        """What the layers remember before anything was seen."""
        return self.recurrent.initial_state(batch_size)

    def advance(
        self,
        inputs: Float[Array, "batch time input"],
        state: Any,
        *,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch time feature"], Any]:
        """`features` from what the layers remember, and what they remember after."""
        return self.recurrent.advance(inputs, state, key=key)


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: The loss leaves nothing of a window.
    """
    return sequence_problem(
        Model,
        config=config,
        data=data,
        micro_batch=micro_batch(config.data.batch_size),
        regularization=config.regularization,
        augmentation=config.augmentation,
    )


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(
        task=task,
        config={
            "model.hidden_size": 4,
            "data.window": 20,
            "data.batch_size": 8,
            "data.batches": 2,
            "loss.n_skip": 0 if task == "estimation" else 4,
        },
    )
