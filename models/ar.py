"""Autoregressive networks: the last output is an input of the next, in training as in use.

``y[t] = f(u[t], y[t-1], state)``, with recurrent layers or causal convolutions as f. Where the
last output is known (over the first samples of a prediction) it is fed back, everywhere else
what the network gave itself: training runs free over every window, exactly as scoring does.
The output that is fed back lies one sample before the one that is given, so none is its own
input. (TSFast's factories feed back y[t] itself and reach errors of no meaning.)

A step of a convolution reads its taps from ring buffers instead of convolving its receptive
field again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.windows import Windows
from models.errors import ConfigError
from models.example import Example
from models.family import creator
from models.layers.convolution import ConvolutionStack
from models.layers.initialization import initialize
from models.layers.linear import Linear
from models.layers.normalization import Standardize
from models.layers.simulator import BEGIN
from models.layers.stack import CellName, RecurrentStack
from models.sequences import SequenceLoss, check_windows, sequence_problem
from models.tasks.base import TaskData
from models.training.optimizer import Optimizer
from models.training.problem import Problem

TASKS = ("simulation", "prediction")
CLOSED_FORM = False
CAUSAL = True


@dataclass(frozen=True, kw_only=True)
class AR(BaseConfig):
    """The network.

    Attributes:
        kind: Recurrent layers (``rnn``), or causal convolutions (``tcn``).
        cell: Kind of recurrent layer.
        layers: Number of recurrent layers.
        hidden_size: Channels of every layer.
        depth: Number of convolutions; each doubles the dilation of the one before.
        kernel: Taps of every convolution.
        dropout: Probability that a channel is dropped between two recurrent layers, or
            after every convolution, for the whole of a window.
        skip: Whether inputs and last outputs also reach the outputs directly, through a
            linear map.
    """

    kind: str = static("rnn", choices=("rnn", "tcn"))
    cell: CellName = static("gru")
    layers: int = static(1, low=1)
    hidden_size: int = static(32, low=1)
    depth: int = static(5, low=1, high=24)
    kernel: int = static(3, low=2)
    dropout: float = traced(0.0, low=0.0, high=0.9)
    skip: bool = static(True)

    def validate(self) -> None:
        """Refuse a dropout that would act nowhere."""
        if self.dropout and self.kind == "rnn" and self.layers < 2:
            raise ConfigError(
                "`model.dropout` acts between two recurrent layers, got dropout "
                f"{self.dropout:g} with 1 layer",
                hint="set `model.layers` to at least 2, or the dropout to 0",
            )


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `ar`."""

    model: AR = field(default_factory=AR)
    data: Windows = field(
        default_factory=lambda: Windows(window=200, batch_size=32, batches=100)
    )
    loss: SequenceLoss = field(
        default_factory=lambda: SequenceLoss(kind="mae", n_skip=50)
    )
    optimizer: Optimizer = field(default_factory=Optimizer)

    def validate(self) -> None:
        """Refuse a loss that leaves nothing of a window, and windows in a row."""
        check_windows(data=self.data, loss=self.loss)


class Recurrence(nnx.Module):
    """Recurrent layers, a sample at a time."""

    def __init__(self, *, config: AR, inputs: int) -> None:
        self.layers = RecurrentStack(
            cell=config.cell,
            inputs=inputs,
            hidden_size=config.hidden_size,
            layers=config.layers,
            dropout_name="model.dropout",
        )

    def initial_state(self, batch_size: int) -> Any:
        """The state before anything was seen."""
        return self.layers.initial_state(batch_size)

    def __call__(
        self, inputs: Float[Array, "batch channel"], state: Any, *, key: Any
    ) -> tuple[Float[Array, "batch hidden"], Any]:
        """One sample."""
        return self.layers.step(inputs, state, key=key)


class Convolution(nnx.Module):
    """Causal convolutions, a sample at a time; the state holds rings and their position."""

    def __init__(self, *, config: AR, inputs: int) -> None:
        self.layers = ConvolutionStack(
            inputs=inputs,
            channels=config.hidden_size,
            depth=config.depth,
            kernel=config.kernel,
            activation="tanh",
            weight_norm=False,
            dropout_name="model.dropout",
        )

    def initial_state(self, batch_size: int) -> Any:
        """The rings before anything was seen."""
        state = self.layers.initial_state(batch_size)
        rings = tuple(jnp.swapaxes(before, 0, 1) for before in state)
        return rings, jnp.zeros((), jnp.int32)

    def __call__(
        self, inputs: Float[Array, "batch channel"], state: Any, *, key: Any
    ) -> tuple[Float[Array, "batch channel"], Any]:
        """One sample."""
        rings, position = state
        outputs, rings = self.layers.step(inputs, rings, position, key=key)
        return outputs, (rings, position + 1)


_KINDS: dict[str, Callable[..., Recurrence | Convolution]] = {
    "rnn": Recurrence,
    "tcn": Convolution,
}


class Model(nnx.Module):
    """Standardize, layers that are fed their last output, physical units.

    Args:
        config: The network's configuration.
        data: Of the task; gives units, channels, and whether outputs are known.
        key: Randomness of the initial weights.
    """

    def __init__(self, *, config: AR, data: TaskData, key: Key[Array, ""]) -> None:
        self.known = "y" in data.takes
        self.normalize_u = Standardize.of(data.statistics, "u")
        self.normalize_y = Standardize.of(data.statistics, "y")
        outputs = self.normalize_y.channels
        inputs = self.normalize_u.channels + outputs
        self.body = _KINDS[config.kind](config=config, inputs=inputs)
        self.head = Linear(inputs=config.hidden_size, outputs=outputs)
        self.skip = (
            Linear(inputs=inputs, outputs=outputs, bias=False) if config.skip else None
        )
        initialize(self, key)

    def __call__(
        self, given: Mapping[str, Array], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "batch time output"]:
        """The outputs in physical units.

        Args:
            given: ``u`` ``[B, T, n_u]``, and where outputs are known ``y`` ``[B, T, n_y]``
                with the mask ``given.y`` ``[B, T, 1]``.
            key: Switches dropout on.
        """
        return self._run(given, BEGIN, key)[0]

    def stream(
        self, given: Mapping[str, Array], state: Any
    ) -> tuple[dict[str, Array], Any]:
        """A piece of a sequence, and the state after it.

        Args:
            given: As for a call.
            state: After the piece before; `BEGIN` before the first.
        """
        y, state = self._run(given, state, None)
        return {"y": y}, state

    def _run(
        self, given: Mapping[str, Array], state: Any, key: Key[Array, ""] | None
    ) -> tuple[Float[Array, "batch time output"], Any]:
        """Outputs in physical units, and the state after them."""
        u = self.normalize_u(given["u"])
        if state == BEGIN:
            mean = jnp.zeros((u.shape[0], self.normalize_y.channels))
            state = self.body.initial_state(u.shape[0]), mean
        sequences = [u]
        if self.known:
            sequences += [self.normalize_y(given["y"]), given["given.y"]]

        def step(state: Any, now: tuple[Array, ...]) -> tuple[Any, Array]:
            body, last = state
            inputs = jnp.concatenate([now[0], last], axis=-1)
            features, body = self.body(inputs, body, key=key)
            y = self._read(features, inputs)
            fed = jnp.where(now[2], now[1], y) if self.known else y
            return (body, fed), y

        items = tuple(jnp.swapaxes(a, 0, 1) for a in sequences)
        state, outputs = jax.lax.scan(step, state, items)
        return self.normalize_y.inverse(jnp.swapaxes(outputs, 0, 1)), state

    def _read(
        self,
        features: Float[Array, "batch channel"],
        inputs: Float[Array, "batch input"],
    ) -> Float[Array, "batch output"]:
        outputs = self.head(features[:, None])[:, 0]
        return outputs if self.skip is None else outputs + self.skip(inputs)


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: The loss leaves nothing of a window.
    """
    return sequence_problem(Model, config=config, data=data)


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(
        task=task,
        config={
            "model.hidden_size": 4,
            "model.depth": 2,
            "data.window": 20,
            "data.batch_size": 8,
            "data.batches": 2,
            "loss.n_skip": 4,
        },
    )
