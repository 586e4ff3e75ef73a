"""Convolutions in front of a recurrent network, for sequences.

The causal convolutions turn the inputs into features with a short memory; the recurrent
layers on top remember longer (TSFast's CRNN).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
from jaxtyping import Array, Float, Key

from models.augmentation import Augmentation
from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.windows import Windows
from models.example import Example
from models.family import creator
from models.layers.convolution import Activation, ConvolutionStack
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
class CRNN(Framed):
    """The network; how it reads and answers see `Framed`.

    Attributes:
        channels: Width of every convolution.
        depth: Number of convolutions; each doubles the dilation of the one before.
        kernel: Taps of every convolution.
        activation: Nonlinearity after every convolution.
        weight_norm: Whether length and direction of the kernels are trained apart.
        cell: Kind of recurrent layer.
        layers: Number of recurrent layers.
        hidden_size: Hidden channels of every recurrent layer.
        dropout: Probability that a channel is dropped, after every convolution and between
            two recurrent layers, for the whole of a window.
        skip: Whether the inputs also reach the outputs directly, through a linear map.
    """

    channels: int = static(16, low=1)
    depth: int = static(3, low=1, high=24)
    kernel: int = static(3, low=2)
    activation: Activation = static("tanh")
    weight_norm: bool = static(False)
    cell: CellName = static("gru")
    layers: int = static(1, low=1)
    hidden_size: int = static(32, low=1)
    dropout: float = traced(0.0, low=0.0, high=0.9)
    skip: bool = static(True)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `crnn`."""

    model: CRNN = field(default_factory=CRNN)
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
    """Standardize, convolutions, recurrent layers, linear head, back to physical units.

    Args:
        config: The network's configuration.
        data: Of the task; gives units, channels, and whether outputs are known.
        key: Randomness of the initial weights.
    """

    def __init__(self, *, config: CRNN, data: TaskData, key: Key[Array, ""]) -> None:
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
        self.convolutions = ConvolutionStack(
            inputs=self.inputs,
            channels=config.channels,
            depth=config.depth,
            kernel=config.kernel,
            activation=config.activation,
            weight_norm=config.weight_norm,
            dropout_name="model.dropout",
        )
        self.recurrent = RecurrentStack(
            cell=config.cell,
            inputs=config.channels,
            hidden_size=config.hidden_size,
            layers=config.layers,
            dropout_name="model.dropout",
        )
        initialize(self, key)

    def features(
        self, inputs: Float[Array, "batch time input"], *, key: Key[Array, ""] | None
    ) -> Float[Array, "batch time feature"]:
        """The states of the last recurrent layer."""
        front_key, back_key = _two(key)
        seen = self.convolutions(inputs, key=front_key)
        states, _ = self.recurrent(seen, key=back_key)
        return states

    def initial_state(self, batch_size: int) -> Any:
        """What convolutions and recurrent layers remember before anything was seen."""
        layers = (self.convolutions, self.recurrent)
        return tuple(part.initial_state(batch_size) for part in layers)

    def advance(
        self,
        inputs: Float[Array, "batch time input"],
        state: Any,
        *,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch time feature"], Any]:
        """`features` from what the layers remember, and what they remember after."""
        front, back = state
        front_key, back_key = _two(key)
        seen, front = self.convolutions.advance(inputs, front, key=front_key)
        states, back = self.recurrent.advance(seen, back, key=back_key)
        return states, (front, back)


def _two(key: Key[Array, ""] | None) -> Sequence[Key[Array, ""] | None]:
    """A key for each kind of layer, where there is one."""
    return (None, None) if key is None else jax.random.split(key)


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
            "model.channels": 4,
            "model.depth": 2,
            "model.hidden_size": 4,
            "data.window": 20,
            "data.batch_size": 8,
            "data.batches": 2,
            "loss.n_skip": 0 if task == "estimation" else 4,
        },
    )
