"""A recurrent network that is told an equation: PIRNN, for prediction and simulation.

A *sequence encoder* reads the given window and gives the hidden state at its end. The *prognosis*
goes on from there, driven by the inputs, and gives every state of the equation, measured or not;
what is not measured is free for the physics to shape. A *state encoder* makes a hidden state of
one physical state instead. In training one draw per batch decides which of the two the prognosis
begins with, the state encoder with the traced probability `model.p_state_encoder`: what it is
given is the physical state that the prognosis reads off the end of the given window, so that the
physical state must tell all that matters. Evaluation begins with the sequence encoder.

**Where a prognosis begins.** In prediction, behind the last known output, with the sequence
encoder. In simulation no output is ever known: a record begins in the physical state that the
equation names for its first input (`Equation.start`, by default the steady state), through the
state encoder, and the prognosis takes over behind that sample. Training windows, which begin
anywhere, are there given their own first `model.warm_up` outputs as in prediction.

The loss has five terms, each with a traced weight `weights.NAME`, each reported in validation too
(``loss.NAME``), and each without unit, so that weights of one size mean efforts of one size:

* ``data``: the error of the supervised outputs, in standard deviations (`loss.kind`);
* ``residual``: mean square of ``dx/dt - f(x, u)`` along the prognosis and the state it began
  with, in physical units, over the root mean square that f has where states and inputs lie
  (`models.physics.states.StateScale`): 1 is a trajectory that stands still. The derivative is one
  of nine differences, for RNNs know no time between samples;
* ``collocation``: the same on trajectories that no data has, with fresh inputs of every step and a
  start by choice (`models.physics.collocation`). It teaches the network the equation and not the
  equation the network: coefficients take no gradient from it;
* ``consistency``: mean squared difference of the two encoders' hidden states;
* ``transition``: mean square of the second difference of the states, in standard deviations, over
  three samples on either side of where the prognosis begins.

Trained coefficients are reported every epoch as ``coefficient.NAME``.

Source: the PIRNN of TSFast (`tsfast/pinn`), after Raissi, Perdikaris and Karniadakis 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

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
    around,
    described,
    excitations,
    handed_over,
    handover_of,
    informed_loss,
    stated,
    supervised_loss,
)
from models.layers.dropout import split_key
from models.layers.encoder import Encoder, SequenceEncoder, measured
from models.layers.initialization import initialize
from models.layers.linear import Linear
from models.layers.normalization import Standardize
from models.layers.rollout import Rollout
from models.layers.stack import CellName
from models.physics import collocation as collocated
from models.physics.coefficients import Coefficients
from models.physics.collocation import Collocation
from models.physics.differences import DIFFERENCES
from models.physics.residual import Residual
from models.sequences import SequenceLoss, check_windows, require_scored_window
from models.tasks.base import TaskData
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Outputs, Problem

TASKS = ("prediction", "simulation")
CLOSED_FORM = False
CAUSAL = True

_DROPOUT = "model.dropout"


@dataclass(frozen=True, kw_only=True)
class PIRNN(BaseConfig):
    """The network.

    Attributes:
        cell: Kind of recurrent layer.
        layers: Recurrent layers of the prognosis.
        hidden_size: Hidden channels of each.
        dropout: Probability that a channel is dropped between two layers.
        skip: Whether inputs also reach the states directly, through a linear map.
        encoder: The sequence encoder.
        state_encoder_size: Hidden channels of the state encoder.
        p_state_encoder: Probability that a training batch begins with the state encoder.
        n_y_supervised: Outputs that the data loss counts and the sequence encoder reads, from
            the first on; the others are learned from the physics alone. None for all.
        warm_up: In simulation, outputs that the sequence encoder reads of training windows.
    """

    cell: CellName = static("gru")
    layers: int = static(1, low=1)
    hidden_size: int = static(32, low=1)
    dropout: float = traced(0.0, low=0.0, high=0.9)
    skip: bool = static(False)
    encoder: Encoder = field(default_factory=Encoder)
    state_encoder_size: int = static(32, low=1)
    p_state_encoder: float = traced(0.3, low=0.0, high=1.0)
    n_y_supervised: int | None = static(None, low=1)
    warm_up: int = static(30, low=1)

    def validate(self) -> None:
        """Refuse a dropout that would act nowhere."""
        if self.dropout and self.layers < 2 and not self.encoder.drops:
            raise ConfigError(
                "`model.dropout` acts between two layers, got dropout "
                f"{self.dropout:g} with 1 layer in prognosis and encoder",
                hint="set `model.layers` to at least 2, or the dropout to 0",
            )


@dataclass(frozen=True, kw_only=True)
class Physics(Told):
    """What the network is told, and how it is held to it.

    Attributes:
        difference: How trajectories are differentiated; see `models.physics.differences`.
    """

    difference: str = static("diff1_central", choices=tuple(DIFFERENCES))


@dataclass(frozen=True, kw_only=True)
class Weights(BaseConfig):
    """Weights of the loss terms; see the module."""

    data: float = traced(1.0, low=0.0)
    residual: float = traced(0.1, low=0.0)
    collocation: float = traced(0.1, low=0.0)
    consistency: float = traced(0.1, low=0.0)
    transition: float = traced(0.1, low=0.0)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `pirnn`."""

    model: PIRNN = field(default_factory=PIRNN)
    physics: Physics = field(default_factory=Physics)
    collocation: Collocation = field(default_factory=Collocation)
    weights: Weights = field(default_factory=Weights)
    data: Windows = field(
        default_factory=lambda: Windows(window=150, batch_size=32, batches=100)
    )
    loss: SequenceLoss = field(default_factory=SequenceLoss)
    optimizer: Optimizer = field(default_factory=Optimizer)

    def validate(self) -> None:
        """Refuse a loss that leaves nothing of a window, and windows in a row."""
        check_windows(data=self.data, loss=self.loss)


class Model(nnx.Module):
    """Encoders, prognosis and coefficients.

    Args:
        config: The network's configuration.
        stated: The equation beside its data.
        data: Of the task; gives units, channels, and whether outputs are known.
        key: Randomness of the initial weights.
    """

    def __init__(
        self, *, config: PIRNN, stated: Stated, data: TaskData, key: Key[Array, ""]
    ) -> None:
        self.normalize_u = Standardize.of(data.statistics, "u")
        self.normalize_y = Standardize.of(data.statistics, "y")
        self.normalize_x = Standardize(mean=stated.scale.mean, std=stated.scale.std)
        self.supervised = stated.supervised
        inputs, states = self.normalize_u.channels, self.normalize_x.channels
        self.rollout = Rollout(
            cell=config.cell,
            inputs=inputs,
            outputs=states,
            hidden_size=config.hidden_size,
            layers=config.layers,
            dropout_name=_DROPOUT,
            skip=config.skip,
        )
        self.encoder = SequenceEncoder(
            config=config.encoder,
            cell=config.cell,
            inputs=inputs + stated.supervised + 1,
            state_size=self.rollout.state_size,
            dropout_name=_DROPOUT,
        )
        width = config.state_encoder_size
        self.state_hidden = Linear(inputs=states, outputs=width)
        self.state_head = Linear(inputs=width, outputs=self.rollout.state_size)
        self.coefficients = Coefficients(stated.equation)
        initialize(self, key)

    def encode_sequence(
        self, given: Batch, *, key: Key[Array, ""] | None
    ) -> Float[Array, "batch time hidden"]:
        """The flat hidden state at every sample, of what was given up to it."""
        u = self.normalize_u(given["u"])
        y = self.normalize_y(given["y"])[..., : self.supervised]
        return self.encoder(measured(u, y, given["given.y"]), key=key)

    def encode_state(
        self, states: Float[Array, "batch time state"]
    ) -> Float[Array, "batch time hidden"]:
        """The flat hidden state of a physical one, standardized."""
        return self.state_head(jax.nn.relu(self.state_hidden(states)))

    def read(
        self,
        flat: Float[Array, "batch time hidden"],
        u: Float[Array, "batch time input"],
    ) -> Float[Array, "batch time state"]:
        """The physical state, standardized, of a flat hidden one at the same sample."""
        return self.rollout.read(self.rollout.hidden(flat), u)


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """The forward pass of a problem.

    Attributes:
        stated: The equation beside its data.
        first: First sample of the prognosis in training and scoring.
        collocation: How trajectories without data begin.
        residual: Of trajectories.
    """

    stated: Stated
    first: int
    collocation: Collocation
    residual: Residual

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
        scored = collocated.INPUTS in batch
        keys = split_key(key if training else None, 4)
        u = model.normalize_u(batch["u"])
        coefficients = model.coefficients()
        known = known_part(batch)
        at = handover_of(known, batch, first=self.first, scored=scored)
        if known is None:
            rest = self.stated.rest(batch["u"][:, 0], coefficients)[:, None]
            encoded = model.encode_state(model.normalize_x(rest))
        else:
            encoded = model.encode_sequence(known, key=keys[0])
        start, u_start = at.start(encoded)[:, None], at.start(u)[:, None]
        state = model.read(start, u_start)
        again = model.encode_state(state)
        chosen = start
        if keys[1] is not None:
            drawn = jax.random.bernoulli(keys[1], hyper["model.p_state_encoder"])
            chosen = jnp.where(drawn, again, start)
        rolled = model.rollout(at.behind(u), chosen[:, 0], key=keys[2])
        before = model.read(encoded, u[:, : encoded.shape[1]])
        whole = at.joined(before, rolled.y)
        states = model.normalize_x.inverse(whole)
        outputs: dict[str, Any] = {
            "y": self.stated.outputs(states, batch["u"], coefficients),
            "states": states,
        }
        if scored:
            assert isinstance(at.first, int), "known before compiling"
            path = model.normalize_x.inverse(jnp.concatenate([state, rolled.y], axis=1))
            driven = batch["u"][:, at.first - 1 :]
            outputs |= {
                "residual": self.residual(path, driven, coefficients),
                "collocation": self._collocated(
                    model, batch, jax.lax.stop_gradient(coefficients), keys[3]
                ),
                "consistency": start - again,
                "transition": around(whole, at.first),
                "coefficients": broadcast_coefficients(
                    model.coefficients.trained(), u.shape[0]
                ),
            }
        return outputs, carry

    def _collocated(
        self,
        model: Model,
        batch: Batch,
        coefficients: dict[str, Array],
        key: Key[Array, ""] | None,
    ) -> Float[Array, "row time state"]:
        """The residual of trajectories that no data has."""
        driven = batch[collocated.INPUTS]
        u = model.normalize_u(driven)
        if self.collocation.start == "none":
            path = model.rollout(u, key=key).y
            return self.residual(model.normalize_x.inverse(path), driven, coefficients)
        begin = batch[collocated.START][:, None]
        if self.collocation.start == "state_encoder":
            state = model.normalize_x(begin)
            hidden = model.encode_state(state)
        else:
            hidden, state = begin, model.read(begin, u[:, :1])
        rolled = model.rollout(u[:, 1:], hidden[:, 0], key=key)
        path = jnp.concatenate([state, rolled.y], axis=1)
        return self.residual(model.normalize_x.inverse(path), driven, coefficients)


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    A batch is trained as a whole (`Problem.micro_batch`), for one draw chooses its encoder.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: The equation does not fit the data or is not finite, the data tells no
            sampling rate, or windows are not longer than what they begin with.
    """
    task: Any = data.task
    require_scored_window(data=config.data, loss=config.loss, known=task.known_outputs)
    told = stated(
        config.physics,
        data=data,
        n_y_supervised=config.model.n_y_supervised,
        order=DIFFERENCES[config.physics.difference].derivative,
    )
    first = handed_over(data, warm_up=config.model.warm_up, window=config.data.window)
    residual = Residual(
        equation=told.equation,
        difference=config.physics.difference,
        rate=told.rate,
        unit=told.scale.rates,
    )
    error = supervised_loss(
        config=config.loss, stated=told, data=data, start=task.known_outputs
    )
    return Problem(
        signature=(
            __name__,
            config.static_signature(),
            data.identity,
            told.identity,
        ),
        build=lambda key: Model(config=config.model, stated=told, data=data, key=key),
        forward=_Pass(
            stated=told,
            first=first,
            collocation=config.collocation,
            residual=residual,
        ),
        loss=informed_loss(
            error, "residual", "collocation", "consistency", "transition"
        ),
        metrics=(*task.metrics(data), *coefficient_metrics(told.equation)),
        hyper=config.traced(),
        optimizer=config.optimizer,
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        describe=described,
        augmentations=revealed(data, count=first),
        targets=(
            excitations(config.collocation, told, hidden=_state_size(config.model)),
        ),
    )


def _state_size(config: PIRNN) -> int:
    """Numbers of a flat hidden state."""
    return config.layers * config.hidden_size * (2 if config.cell == "lstm" else 1)


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(
        task=task,
        config={
            "physics.equation": "low_pass",
            "model.hidden_size": 4,
            "model.encoder.hidden_size": 4,
            "model.state_encoder_size": 4,
            "model.warm_up": 4,
            "collocation.rows": 4,
            "collocation.samples": 10,
            "data.window": 24,
            "data.batch_size": 8,
            "data.batches": 2,
            "loss.n_skip": 2,
        },
    )
