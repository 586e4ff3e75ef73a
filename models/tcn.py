"""Temporal convolutional networks for sequences: dilated causal convolutions.

Layer i looks back with dilation 2^i; all but the first are residual blocks. The structure
follows Bai, Kolter and Koltun 2018 ("An empirical evaluation of generic convolutional and
recurrent networks for sequence modeling") with one convolution per block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Array, Float, Key

from models.augmentation import Augmentation
from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.windows import Windows
from models.example import Example
from models.family import creator
from models.layers.convolution import (
    Activation,
    ConvolutionStack,
    micro_batch,
    receptive_field,
)
from models.layers.initialization import initialize
from models.layers.simulator import Simulator
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
class TCN(Framed):
    """The network; how it reads and answers see `Framed`.

    Attributes:
        channels: Width of every layer.
        depth: Number of convolutions; each doubles the dilation of the one before.
        kernel: Taps of every convolution.
        activation: Nonlinearity after every convolution.
        weight_norm: Whether length and direction of the kernels are trained apart.
        dropout: Probability that a channel of a layer is dropped for a whole window.
        skip: Whether the inputs also reach the outputs directly, through a linear map.
    """

    channels: int = static(32, low=1)
    depth: int = static(6, low=1, high=24)
    kernel: int = static(3, low=2)
    activation: Activation = static("tanh")
    weight_norm: bool = static(False)
    dropout: float = traced(0.0, low=0.0, high=0.9)
    skip: bool = static(True)

    @property
    def receptive_field(self) -> int:
        """How many samples, the present one included, an output sees."""
        return receptive_field(depth=self.depth, kernel=self.kernel)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `tcn`."""

    model: TCN = field(default_factory=TCN)
    data: Windows = field(
        default_factory=lambda: Windows(window=300, batch_size=64, batches=150)
    )
    loss: SequenceLoss = field(
        default_factory=lambda: SequenceLoss(kind="mae", n_skip=100)
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
    """Standardize, convolutions, linear head, back to physical units.

    Args:
        config: The network's configuration.
        data: Of the task; gives units, channels, and whether outputs are known.
        key: Randomness of the initial weights.
    """

    def __init__(self, *, config: TCN, data: TaskData, key: Key[Array, ""]) -> None:
        super().__init__(
            statistics=data.statistics,
            known="y" in data.takes,
            width=config.channels,
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
        initialize(self, key)

    def features(
        self, inputs: Float[Array, "batch time input"], *, key: Key[Array, ""] | None
    ) -> Float[Array, "batch time feature"]:
        """The outputs of the last convolution."""
        return self.convolutions(inputs, key=key)

    def initial_state(self, batch_size: int) -> Any:
        """What the layers remember before anything was seen."""
        return self.convolutions.initial_state(batch_size)

    def advance(
        self,
        inputs: Float[Array, "batch time input"],
        state: Any,
        *,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch time feature"], Any]:
        """`features` from what the layers remember, and what they remember after."""
        return self.convolutions.advance(inputs, state, key=key)


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: The loss leaves nothing of a window.
    """
    part = micro_batch(
        batch_size=config.data.batch_size,
        window=config.data.window,
        channels=config.model.channels,
    )
    return sequence_problem(
        Model,
        config=config,
        data=data,
        micro_batch=part,
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
            "data.window": 20,
            "data.batch_size": 8,
            "data.batches": 2,
            "loss.n_skip": 0 if task == "estimation" else 4,
        },
    )
