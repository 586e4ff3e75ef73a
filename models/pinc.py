"""A continuous surrogate of an equation, rolled out from sample to sample: PINC.

A network gives the state at any time within one sampling interval,

``x(t) = x_k + s · reach · N(x_k, u_k, u_{k+1}, s)``, with ``s = (t - t_k) · rate`` from 0 to 1,

all states in standard deviations; `reach` is how far a state typically gets within an interval. It
holds its initial condition by construction, and its state at ``s = 1`` is where the next interval
begins. Recurrent and convolutional layers know no time between samples, and their compiled kernels
have no forward mode; this network has both, so ``dx/dt`` is exact here (`jax.jvp` in time) where
`pirnn` takes differences. Inputs are straight lines between samples.

**Where a rollout begins.** In prediction with the physical state at the last known output,
estimated by a sequence encoder from the given window, or from its last sample alone
(`model.start`); within the window the output is that of the estimates. In simulation no output is
ever known: a record begins in the state that the equation names for its first input
(`Equation.start`, by default the steady state). Training windows, which begin anywhere, are there
given their own first `model.warm_up` outputs as in prediction.

Three terms, each with a traced weight `weights.NAME`, reported in validation too: ``data``, the
error of the supervised outputs in standard deviations; ``residual``, the mean square of ``dx/dt -
f(x, u)`` over the root mean square of f (`models.physics.states.StateScale`), at a random time of
every interval of the data's windows; ``collocation``, the same from states and inputs drawn from
where they lie, which teaches coefficients nothing.

Source: Antonelo et al. 2021, "Physics-informed neural nets for control of dynamical systems"; the
hard initial condition is TSFast's `PINC`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.windows import Windows
from models.equations import (
    broadcast_coefficients,
    coefficient_metrics,
    known_part,
    revealed,
)
from models.errors import ConfigError
from models.example import Example
from models.family import creator
from models.informed import (
    Stated,
    Told,
    described,
    handed_over,
    handover_of,
    informed_loss,
    stated,
    supervised_loss,
)
from models.layers.encoder import Encoder, SequenceEncoder, measured
from models.layers.initialization import initialize
from models.layers.linear import Linear
from models.layers.normalization import Standardize
from models.layers.stack import CellName
from models.layers.surrogate import Inputs, States, Surrogate
from models.physics.coefficients import Coefficients
from models.physics.equation import Values
from models.physics.residual import within
from models.physics.states import cut_inputs
from models.sequences import SequenceLoss, check_windows, require_scored_window
from models.tasks.base import TaskData
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Outputs, Problem
from models.transforms.batch import Transform

TASKS = ("prediction", "simulation")
CLOSED_FORM = False
CAUSAL = True

_DROPOUT = "model.dropout"
_STATES, _INPUTS = "collocation.x", "collocation.u"


@dataclass(frozen=True, kw_only=True)
class PINC(BaseConfig):
    """The network.

    Attributes:
        hidden_size: Channels of every hidden layer of the surrogate.
        layers: Hidden layers of the surrogate.
        start: What the first state is estimated from: the given ``window``, by the sequence
            encoder, or its last ``sample`` alone.
        cell: Kind of recurrent layer of the sequence encoder.
        encoder: The sequence encoder; from a ``sample``, its size alone counts.
        dropout: Probability that a channel is dropped between two layers of it.
        n_y_supervised: Outputs that the data loss counts and the encoder reads, from the first
            on; None for all.
        warm_up: In simulation, outputs that the encoder reads of training windows.
    """

    hidden_size: int = static(32, low=1)
    layers: int = static(2, low=1)
    start: str = static("window", choices=("window", "sample"))
    cell: CellName = static("gru")
    encoder: Encoder = field(default_factory=Encoder)
    dropout: float = traced(0.0, low=0.0, high=0.9)
    n_y_supervised: int | None = static(None, low=1)
    warm_up: int = static(30, low=1)

    def validate(self) -> None:
        """Refuse a dropout that would act nowhere."""
        if self.dropout and not (self.start == "window" and self.encoder.drops):
            raise ConfigError(
                "`model.dropout` acts between two layers of the sequence encoder, got "
                f"dropout {self.dropout:g} where there are none",
                hint="set `model.encoder.layers` to at least 2, or the dropout to 0",
            )


@dataclass(frozen=True, kw_only=True)
class Collocation(BaseConfig):
    """Intervals that no data has, drawn in every step.

    Attributes:
        rows: How many; states come from where they lie (`StateScale`).
        amplitude: Inputs at both ends of an interval lie at most so many standard deviations
            from their mean.
    """

    rows: int = static(256, low=1)
    amplitude: float = traced(2.0, low=0.0)


@dataclass(frozen=True, kw_only=True)
class Weights(BaseConfig):
    """Weights of the loss terms; see the module."""

    data: float = traced(1.0, low=0.0)
    residual: float = traced(1.0, low=0.0)
    collocation: float = traced(1.0, low=0.0)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `pinc`."""

    model: PINC = field(default_factory=PINC)
    physics: Told = field(default_factory=Told)
    collocation: Collocation = field(default_factory=Collocation)
    weights: Weights = field(default_factory=Weights)
    data: Windows = field(
        default_factory=lambda: Windows(window=100, batch_size=16, batches=100)
    )
    loss: SequenceLoss = field(default_factory=SequenceLoss)
    optimizer: Optimizer = field(default_factory=Optimizer)

    def validate(self) -> None:
        """Refuse a loss that leaves nothing of a window, and windows in a row."""
        check_windows(data=self.data, loss=self.loss)


class Model(nnx.Module):
    """Encoder, surrogate and coefficients.

    Args:
        config: The network's configuration.
        stated: The equation beside its data.
        data: Of the task; gives units, channels, and whether outputs are known.
        key: Randomness of the initial weights.
    """

    def __init__(
        self, *, config: PINC, stated: Stated, data: TaskData, key: Key[Array, ""]
    ) -> None:
        scale = stated.scale
        self.normalize_u = Standardize.of(data.statistics, "u")
        self.normalize_y = Standardize.of(data.statistics, "y")
        self.normalize_x = Standardize(mean=scale.mean, std=scale.std)
        self.supervised = stated.supervised
        inputs, states = self.normalize_u.channels, self.normalize_x.channels
        self.surrogate = Surrogate(
            states=states,
            inputs=inputs,
            hidden_size=config.hidden_size,
            layers=config.layers,
            reach=scale.rates / scale.std / stated.rate,
        )
        read = inputs + stated.supervised + 1
        size = config.encoder.hidden_size
        self.encoder: SequenceEncoder | nnx.Module
        if config.start == "window":
            self.encoder = SequenceEncoder(
                config=config.encoder,
                cell=config.cell,
                inputs=read,
                state_size=states,
                dropout_name=_DROPOUT,
            )
        else:
            self.encoder = nnx.List(
                [Linear(inputs=read, outputs=size), Linear(inputs=size, outputs=states)]
            )
        self.coefficients = Coefficients(stated.equation)
        initialize(self, key)

    def estimates(self, given: Batch, *, key: Key[Array, ""] | None) -> States:
        """The state at every sample, standardized, of what was given up to it."""
        y = self.normalize_y(given["y"])[..., : self.supervised]
        read = measured(self.normalize_u(given["u"]), y, given["given.y"])
        if isinstance(self.encoder, SequenceEncoder):
            return self.encoder(read, key=key)
        first, second = self.encoder
        return second(jnp.tanh(first(read)))


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """The forward pass of a problem.

    Attributes:
        stated: The equation beside its data.
        first: First sample behind the given window in training and scoring.
    """

    stated: Stated
    first: int

    def __call__(
        self,
        model: Model,
        batch: Batch,
        *,
        key: Key[Array, ""],
        training: bool,
        carry: Any,
        hyper: Any,
    ) -> tuple[Outputs, Any]:
        """The outputs; in training and scoring also what the loss terms are made of."""
        del hyper
        keys = jax.random.split(key, 3)
        scored = _STATES in batch
        u = model.normalize_u(batch["u"])
        coefficients = model.coefficients()
        known = known_part(batch)
        at = handover_of(known, batch, first=self.first, scored=scored)
        if known is None:
            rest = self.stated.rest(batch["u"][:, 0], coefficients)[:, None]
            estimates = model.normalize_x(rest)
        else:
            estimates = model.estimates(known, key=keys[2] if training else None)
        start = at.start(estimates)
        driven = jnp.concatenate([at.start(u)[:, None], at.behind(u)], axis=1)
        path = model.surrogate.rollout(start, driven)
        whole = model.normalize_x.inverse(at.joined(estimates, path[:, 1:]))
        outputs: dict[str, Any] = {
            "y": self.stated.outputs(whole, batch["u"], coefficients),
            "states": whole,
        }
        if scored:
            collocated = model.normalize_u(batch[_INPUTS])
            drawn = (
                model.normalize_x(batch[_STATES]),
                collocated[:, :1],
                collocated[:, 1:],
            )
            fixed = jax.lax.stop_gradient(coefficients)
            along = (path[:, :-1], driven[:, :-1], driven[:, 1:])
            outputs |= {
                "residual": self._residual(model, along, coefficients, keys[0]),
                "collocation": self._residual(model, drawn, fixed, keys[1]),
                "coefficients": broadcast_coefficients(
                    model.coefficients.trained(), u.shape[0]
                ),
            }
        return outputs, carry

    def _residual(
        self,
        model: Model,
        intervals: tuple[States, Inputs, Inputs],
        coefficients: Values,
        key: Key[Array, ""],
    ) -> States:
        """The residual at a random time of each interval, without unit."""
        state, left, right = intervals
        share = jax.random.uniform(key, (*state.shape[:2], 1), state.dtype)
        now, moved = model.surrogate.moving(state, left, right, share)
        x = within(self.stated.equation, model.normalize_x.inverse(now))
        u = model.normalize_u.inverse(left + share * (right - left))
        derivative = jax.vmap(
            jax.vmap(self.stated.equation.derivative, (0, 0, None)), (0, 0, None)
        )
        speed = moved * model.normalize_x.std[...][None, None] * self.stated.rate
        unit = jnp.asarray(self.stated.scale.rates, x.dtype)[None, None]
        return (speed - derivative(x, u, coefficients)) / unit


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: The equation does not fit the data or is not finite, the data tells no
            sampling rate, or windows are not longer than what they begin with.
    """
    task: Any = data.task
    require_scored_window(data=config.data, loss=config.loss, known=task.known_outputs)
    told = stated(config.physics, data=data, n_y_supervised=config.model.n_y_supervised)
    first = handed_over(data, warm_up=config.model.warm_up, window=config.data.window)
    error = supervised_loss(
        config=config.loss, stated=told, data=data, start=task.known_outputs
    )
    return Problem(
        signature=(__name__, config.static_signature(), data.identity, told.identity),
        build=lambda key: Model(config=config.model, stated=told, data=data, key=key),
        forward=_Pass(stated=told, first=first),
        loss=informed_loss(error, "residual", "collocation"),
        metrics=(*task.metrics(data), *coefficient_metrics(told.equation)),
        hyper=config.traced(),
        optimizer=config.optimizer,
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        describe=described,
        augmentations=revealed(data, count=first),
        targets=(_draws(config.collocation, told),),
    )


def _draws(config: Collocation, told: Stated) -> Transform:
    """What adds fresh intervals to every batch of training and scoring."""
    states, inputs = len(told.scale.low), len(told.signals.u_mean)

    def draw(key: Array, batch: Batch, step: Array, *, amplitude: Array) -> Batch:
        del step
        numbers = jax.random.uniform(
            key, (config.rows, states + 2 * inputs), amplitude.dtype
        )
        low, high, mean, std = (
            jnp.asarray(values, numbers.dtype)[None]
            for values in (
                told.scale.low,
                told.scale.high,
                told.signals.u_mean,
                told.signals.u_std,
            )
        )
        x = low + (high - low) * numbers[:, :states]
        sides = numbers[:, states:].reshape(config.rows, 2, inputs)
        u = mean[None] + amplitude * std[None] * (2.0 * sides - 1.0)
        return batch | {_STATES: x[:, None], _INPUTS: cut_inputs(told.equation, u)}

    return Transform(function=draw, values={"amplitude": "collocation.amplitude"})


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(
        task=task,
        config={
            "physics.equation": "low_pass",
            "model.hidden_size": 4,
            "model.encoder.hidden_size": 4,
            "model.warm_up": 4,
            "collocation.rows": 8,
            "data.window": 24,
            "data.batch_size": 8,
            "data.batches": 2,
            "loss.n_skip": 2,
        },
    )
