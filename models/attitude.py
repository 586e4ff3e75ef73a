"""How a body is turned, told by a network of its inertial and magnetic sensors.

A recurrent, a convolutional network or both (the networks of the families `rnn`, `tcn` and `crnn`)
reads the nine signals; what its head gives is divided by its length, so that every output is a
turn. With `model.frame` ``inertial`` the gyroscope is integrated first, from the inclination of the
first accelerometer sample on, and the network reads all signals in axes that would stand still, did
the gyroscope not drift: it tells the small turn that is missing, which varies slowly. In those axes
gravity is what is left of the accelerometer when it is averaged, so that a network learns from few
recordings what it must learn from many in the sensor's own.

Source: Weber, Gühmann and Seel 2021, "RIANN: A Robust Neural Network Outperforms Attitude
Estimation Filters", for network (`rnn`), loss and augmentation; Laidig and Seel 2023, "VQF: Highly
Accurate IMU Orientation Estimation with Bias Estimation and Magnetic Disturbance Rejection",
section 3.2, for the accelerometer in the axes that an integrated gyroscope gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from models import crnn, rnn, tcn
from models.augmentation import Augmentation
from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.windows import Windows
from models.example import Example
from models.family import creator
from models.layers import convolution, stack
from models.layers.convolution import Activation
from models.layers.quaternion import (
    Quaternion,
    accumulated,
    level,
    multiply,
    no_turn,
    norm,
    only_turns,
    rotate,
    rotation,
    unit,
)
from models.layers.simulator import BEGIN, Simulator
from models.layers.stack import CellName
from models.losses import Criterion
from models.losses import quaternion as angles
from models.scaling import Scaled
from models.sequence_loss import Regularization, WindowLoss
from models.sequences import check_windows, sequence_problem
from models.tasks.base import TaskData
from models.tasks.orientation import SENSORS, time_step
from models.training.optimizer import Optimizer
from models.training.problem import Problem, Transforms
from models.transforms import quaternion_augmentation

TASKS = ("orientation",)
CLOSED_FORM = False
CAUSAL = True

Kind = Literal["rnn", "tcn", "crnn"]
Underneath = rnn.RNN | tcn.TCN | crnn.CRNN
AngleKind = Literal[
    "smooth_inclination",
    "inclination",
    "square_inclination",
    "rms_inclination",
    "smooth_angle",
    "angle",
    "square_angle",
    "rms_angle",
]
CRITERIA: Mapping[str, Criterion] = {
    "smooth_inclination": angles.smooth_inclination_loss,
    "inclination": angles.mean_inclination,
    "square_inclination": angles.square_inclination,
    "rms_inclination": angles.rms_inclination,
    "smooth_angle": angles.smooth_angle_loss,
    "angle": angles.mean_angle,
    "square_angle": angles.square_angle,
    "rms_angle": angles.rms_angle,
}
_CONVOLUTIONS = ("channels", "depth", "kernel", "activation", "weight_norm")
_RECURRENT = ("cell", "layers", "hidden_size")
_SHORTEST = 1e-6
"""Below this length what the head gives has no direction, and means no turn at all."""


@dataclass(frozen=True, kw_only=True)
class Attitude(Scaled):
    """The network; how it is told of units see `Scaled`.

    Attributes:
        kind: The family whose network it is; only the keys that one has are read.
        frame: Whether it reads the signals in the axes of the sensor, or in inertial ones,
            for which the gyroscope must be in rad/s.
        channels: Width of every convolution (tcn, crnn).
        depth: Number of convolutions; each doubles the dilation of the one before.
        kernel: Taps of every convolution.
        activation: Nonlinearity after every convolution.
        weight_norm: Whether length and direction of the kernels are trained apart.
        cell: Kind of recurrent layer (rnn, crnn).
        layers: Number of recurrent layers.
        hidden_size: Hidden channels of every recurrent layer.
        dropout: Probability that a channel is dropped for the whole of a window, between
            two recurrent layers and after every convolution.
        skip: Whether the inputs also reach the outputs directly, through a linear map.
    """

    kind: Kind = static("rnn")
    frame: Literal["sensor", "inertial"] = static("inertial")
    channels: int = static(32, low=1)
    depth: int = static(6, low=1, high=24)
    kernel: int = static(3, low=2)
    activation: Activation = static("tanh")
    weight_norm: bool = static(False)
    cell: CellName = static("gru")
    layers: int = static(1, low=1)
    hidden_size: int = static(48, low=1)
    dropout: float = traced(0.0, low=0.0, high=0.9)
    skip: bool = static(True)

    def unused(self) -> frozenset[str]:
        """What the other networks read."""
        known = {"rnn": _CONVOLUTIONS, "tcn": _RECURRENT, "crnn": ()}
        return super().unused() | frozenset(known[self.kind])

    def validate(self) -> None:
        """Refuse what the network refuses."""
        self.network()

    def network(self) -> Underneath:
        """The configuration of the network underneath."""
        kinds: dict[str, type[BaseConfig]] = {
            "rnn": rnn.RNN,
            "tcn": tcn.TCN,
            "crnn": crnn.CRNN,
        }
        chosen: Any = kinds[self.kind]
        own = {f.name for f in fields(self)}
        shared = (f.name for f in fields(chosen) if f.name in own)
        found: Underneath = chosen(**{name: getattr(self, name) for name in shared})
        return found


@dataclass(frozen=True, kw_only=True)
class AngleLoss(WindowLoss):
    """The angle that training minimises over every window.

    Attributes:
        kind: Of the difference between prediction and measurement: ``inclination``, its
            part about the horizontal, in radians, or ``angle``, all of it; the mean, the
            mean square (``square_``) or its root (``rms_``), or ``smooth_``: without unit,
            an eighth of the square of a small angle, and without a corner anywhere.
    """

    kind: AngleKind = static("smooth_inclination")

    def criterion(self, std: np.ndarray) -> Criterion:
        """The angle; a quaternion has no standard deviation worth dividing by."""
        del std
        return CRITERIA[self.kind]


@dataclass(frozen=True, kw_only=True)
class Turning(Augmentation):
    """Changes of the training batches; everything is off by default.

    Attributes:
        rotation: Whether every window is seen as by a sensor that is mounted in another,
            random way: its three groups of inputs and its orientations are turned alike.
    """

    rotation: bool = static(False)

    def functions(self, data: TaskData) -> Transforms:
        """The rotation comes first: noise and offsets are the sensor's own."""
        added = super().functions(data)
        if not self.rotation:
            return added
        groups = {"u": tuple(SENSORS.values()), "y": ((0, 1, 2, 3),)}
        return (quaternion_augmentation(groups), *added)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `attitude`."""

    model: Attitude = field(default_factory=Attitude)
    data: Windows = field(
        default_factory=lambda: Windows(window=250, batch_size=64, batches=100)
    )
    loss: AngleLoss = field(default_factory=lambda: AngleLoss(n_skip=50))
    regularization: Regularization = field(default_factory=Regularization)
    augmentation: Turning = field(default_factory=Turning)
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


class Model(nnx.Module):
    """The network of another family, and the turn that it means.

    Args:
        config: The network's configuration.
        data: Of the task; gives units, channels and the sampling rate.
        key: Randomness of the initial weights.
    """

    def __init__(
        self, *, config: Attitude, data: TaskData, key: Key[Array, ""]
    ) -> None:
        builders: dict[str, Any] = {
            "rnn": rnn.Model,
            "tcn": tcn.Model,
            "crnn": crnn.Model,
        }
        build = builders[config.kind]
        self.network: Simulator = build(config=config.network(), data=data, key=key)
        self.step = time_step(data) if config.frame == "inertial" else None

    def __call__(
        self, given: Mapping[str, Array], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "batch time 4"]:
        """The turns.

        Args:
            given: ``u`` ``[B, T, 9]``.
            key: Switches dropout on.
        """
        return self.with_features(given, key=key)[0]

    def with_features(
        self, given: Mapping[str, Array], *, key: Key[Array, ""] | None = None
    ) -> tuple[Float[Array, "batch time 4"], Float[Array, "batch time feature"]]:
        """The turns, and what they are made of; see `Simulator.with_features`."""
        given, held, _ = self._seen(given, None)
        outputs, features = self.network.with_features(given, key=key)
        return self._turned(outputs, held), features

    def initial_state(self, batch_size: int) -> Any:
        """What is remembered before anything was seen: no last turn has length zero."""
        state = self.network.initial_state(batch_size)
        if self.step is None:
            return state
        return state, (jnp.zeros((batch_size, 4)), jnp.zeros((batch_size, 3)))

    def stream(
        self,
        given: Mapping[str, Array],
        state: Any,
        *,
        key: Key[Array, ""] | None = None,
    ) -> tuple[dict[str, Array], Any]:
        """A piece of a sequence, and the state after it; see `Simulator.stream`."""
        if state == BEGIN:
            state = self.initial_state(given["u"].shape[0])
        inner, last = (state, None) if self.step is None else state
        given, held, last = self._seen(given, last)
        outputs, inner = self.network.stream(given, inner, key=key)
        turned = {**outputs, "y": self._turned(outputs["y"], held)}
        return turned, inner if last is None else (inner, last)

    def _seen(
        self, given: Mapping[str, Array], last: tuple[Array, Array] | None
    ) -> tuple[Mapping[str, Array], Array | None, tuple[Array, Array] | None]:
        """What the network reads, the integrated turns, and the last of them with its rate."""
        if self.step is None:
            return given, None, None
        u = given["u"]
        held = followed(u, self.step, last)
        turned = [rotate(held, u[..., np.asarray(c)]) for c in SENSORS.values()]
        rates = u[..., np.asarray(SENSORS["gyroscope"])]
        read = {**given, "u": jnp.concatenate(turned, axis=-1)}
        return read, held, (held[:, -1], rates[:, -1])

    def _turned(self, outputs: Array, held: Array | None) -> Array:
        if held is None:
            return turn(outputs)
        # A small turn is near 1, not near the mean of all orientations.
        scaled = self.network.scale_outputs
        missing = self.network.normalize_y(outputs) if scaled else outputs
        return multiply(turn(no_turn(missing) + missing), held)


def followed(
    u: Float[Array, "batch time 9"], step: float, last: tuple[Array, Array] | None
) -> Float[Array, "batch time 4"]:
    """The turns of an integrated gyroscope, as `models.strapdown` integrates it.

    Args:
        u: Signals of the sensors.
        step: Seconds between two samples.
        last: Turn and rate before the first sample, ``[B, 4]`` and ``[B, 3]``; of a turn of
            length zero, and of None, the first sample of the accelerometer says the first.
    """
    rates = u[..., np.asarray(SENSORS["gyroscope"])]
    first = level(u[:, 0, np.asarray(SENSORS["accelerometer"])])
    if last is not None:
        before, rate = last
        on = multiply(before, rotation(0.5 * step * (rate + rates[:, 0])))
        begins = jnp.broadcast_to(norm(before)[:, None] == 0, first.shape)
        first = jnp.where(begins, first, on)
    turns = rotation(0.5 * step * (rates[:, 1:] + rates[:, :-1]))
    return accumulated(jnp.concatenate([first[:, None], turns], axis=1))


def turn(quaternion: Quaternion) -> Quaternion:
    """What a head gives, at length 1; no turn, with slope zero, where it has no length.

    Args:
        quaternion: ``[…, 4]``, of any length.
    """
    # What is not a number stays so: a model that diverged is seen.
    return unit(only_turns(~(norm(quaternion)[..., None] < _SHORTEST), quaternion))


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: The loss leaves nothing of a window.
        DataError: A gyroscope is to be integrated, and the data does not tell how fast it was
            sampled, or comes at several rates.
    """
    if config.model.frame == "inertial":
        time_step(data)
    batch_size = config.data.batch_size
    part = (
        convolution.micro_batch(
            batch_size=batch_size,
            window=config.data.window,
            channels=config.model.channels,
        )
        if config.model.kind == "tcn"
        else stack.micro_batch(batch_size)
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
            "model.hidden_size": 4,
            "data.window": 20,
            "data.batch_size": 8,
            "data.batches": 2,
            "loss.n_skip": 4,
        },
    )
