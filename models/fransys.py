"""Diagnosis and prognosis: an encoder finds the state that a prediction starts from.

The *diagnosis* reads u and y of the known samples and gives a state at every one of them; the
*prognosis*, recurrent layers driven by u alone, goes on from the last. Both states are read by
one head. Five further terms of the loss hold the two together where both are known, which in
training is the whole window (FranSys of TSFast: Framework for the Analysis of Systems):

* ``state_sync``: how far the prognosis's states are from the diagnosis's;
* ``diagnosis_loss``: the error of what the head reads from the diagnosis's states;
* ``one_step_sync``, ``one_step_loss``: the same after one step of the prognosis from every
  state of the diagnosis;
* ``temporal_activation``: how restless the states are.

With all five weights 0 this is a plain encoder and decoder.

Source: TSFast 0.5, `tsfast/prediction/fransys.py`; its distances made free of scale
(`models.losses.states`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.windows import Windows
from models.errors import ConfigError
from models.example import Example
from models.family import creator
from models.layers.dropout import split_key
from models.layers.encoder import Encoder, SequenceEncoder, measured
from models.layers.handover import handover
from models.layers.initialization import initialize
from models.layers.normalization import Standardize
from models.layers.rollout import Rollout
from models.layers.simulator import BEGIN
from models.layers.stack import CellName, micro_batch
from models.losses import Loss, Term
from models.losses.regularizers import temporal_activation
from models.losses.states import (
    DISTANCES,
    state_distance,
    symmetric_distance,
)
from models.sequences import (
    WHOLE,
    WHOLE_SEEN,
    SequenceLoss,
    check_windows,
    sequence_loss,
    sequence_problem,
    whole_outputs,
)
from models.tasks.base import TaskData
from models.tasks.sequences import SequenceTask
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Hyper, Outputs, Problem

TASKS = ("prediction",)
CLOSED_FORM = False
CAUSAL = True


@dataclass(frozen=True, kw_only=True)
class FranSys(BaseConfig):
    """The network.

    Attributes:
        cell: Kind of recurrent layer, in prognosis and diagnosis.
        layers: Recurrent layers of the prognosis.
        hidden_size: Hidden channels of each of them.
        diagnosis: What reads the known samples.
        dropout: Probability that a channel is dropped between two recurrent layers, and
            after every convolution of a diagnosis, for the whole of a window.
        skip: Whether the inputs also reach the outputs directly, through a linear map.
    """

    cell: CellName = static("gru")
    layers: int = static(1, low=1)
    hidden_size: int = static(32, low=1)
    diagnosis: Encoder = field(default_factory=Encoder)
    dropout: float = traced(0.0, low=0.0, high=0.9)
    skip: bool = static(True)

    def validate(self) -> None:
        """Refuse a dropout that would act nowhere."""
        recurrent = self.diagnosis.kind == "rnn" and self.diagnosis.layers < 2
        if self.dropout and self.layers < 2 and recurrent:
            raise ConfigError(
                "`model.dropout` acts between two recurrent layers or after "
                f"convolutions, got dropout {self.dropout:g} without either",
                hint="set `model.layers` to at least 2, or the dropout to 0",
            )


@dataclass(frozen=True, kw_only=True)
class Regularization(BaseConfig):
    """The weights of the terms beside the prediction's own error.

    Attributes:
        sync_kind: The distance of ``state_sync``.
        state_sync: Weight of the distance of prognosis and diagnosis where both are known.
        diagnosis_loss: Weight of the error of the diagnosis's outputs.
        one_step_sync: Weight of the distance after one step from every state.
        one_step_loss: Weight of the error after one step from every state.
        temporal_activation: Weight of the squared change of the states.
    """

    sync_kind: str = static("mse", choices=tuple(DISTANCES))
    state_sync: float = traced(0.1, low=0.0)
    diagnosis_loss: float = traced(0.1, low=0.0)
    one_step_sync: float = traced(0.1, low=0.0)
    one_step_loss: float = traced(0.1, low=0.0)
    temporal_activation: float = traced(1e-3, low=0.0)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `fransys`."""

    model: FranSys = field(default_factory=FranSys)
    regularization: Regularization = field(default_factory=Regularization)
    data: Windows = field(
        default_factory=lambda: Windows(window=200, batch_size=32, batches=150)
    )
    loss: SequenceLoss = field(default_factory=lambda: SequenceLoss(kind="mae"))
    optimizer: Optimizer = field(default_factory=Optimizer)

    def validate(self) -> None:
        """Refuse a loss that leaves nothing of a window, and windows in a row."""
        check_windows(data=self.data, loss=self.loss)


class Model(nnx.Module):
    """Standardize, diagnosis, prognosis with a shared head, physical units.

    Args:
        config: The network's configuration.
        data: Of the task; gives units and channels.
        key: Randomness of the initial weights.
    """

    def __init__(self, *, config: FranSys, data: TaskData, key: Key[Array, ""]) -> None:
        task = data.task
        assert isinstance(task, SequenceTask), "families are only asked for their TASKS"
        # In data with gaps the last known outputs of a window may be missing.
        self.known = None if "y" in data.reference.gaps else task.known_outputs
        self.normalize_u = Standardize.of(data.statistics, "u")
        self.normalize_y = Standardize.of(data.statistics, "y")
        inputs, outputs = self.normalize_u.channels, self.normalize_y.channels
        self.prognosis = Rollout(
            cell=config.cell,
            inputs=inputs,
            outputs=outputs,
            hidden_size=config.hidden_size,
            layers=config.layers,
            dropout_name="model.dropout",
            skip=config.skip,
        )
        self.diagnosis = SequenceEncoder(
            config=config.diagnosis,
            cell=config.cell,
            inputs=inputs + outputs + 1,
            state_size=self.prognosis.state_size,
            dropout_name="model.dropout",
        )
        initialize(self, key)

    def __call__(
        self, given: Mapping[str, Array], *, key: Key[Array, ""] | None = None
    ) -> dict[str, Array]:
        """The outputs in physical units, and what the terms of the loss look at.

        Args:
            given: ``u``, ``y`` and the mask ``given.y``, ``[B, T, …]``. In training and
                scoring also the outputs of the whole window, which the diagnosis then reads
                to its end; no prediction depends on those behind the known ones.
            key: Switches dropout on.

        Returns:
            ``y`` ``[B, T, Y]``: before the handover what is read from the diagnosis. With
            the whole window also ``diagnosis.y``, ``one_step.y`` (its first sample the
            diagnosis's), hidden states ``diagnosis``, ``one_step`` (one sample shorter) and
            ``states`` (the diagnosis's, then the prognosis's), and the mask ``behind``.
        """
        diagnosis_key, prognosis_key = split_key(key, 2)
        whole = WHOLE in given
        y, mask = (WHOLE, WHOLE_SEEN) if whole else ("y", "given.y")
        u = self.normalize_u(given["u"])
        read = measured(u, self.normalize_y(given[y]), given[mask])
        found = self.diagnosis(read, key=diagnosis_key)
        place = handover(given["given.y"], known=self.known if whole else None)
        rolled = self.prognosis(place.behind(u), place.start(found), key=prognosis_key)
        hidden = self.prognosis.hidden(found)
        diagnosed = self.prognosis.read(hidden, u)
        predicted = place.joined(diagnosed, rolled.y)
        outputs = {"y": self.normalize_y.inverse(predicted)}
        if not whole:
            return outputs
        step = self.prognosis.one_step(u[:, 1:], found[:, :-1])
        stepped = jnp.concatenate([diagnosed[:, :1], step.y], axis=1)
        nothing = jnp.zeros((*hidden.shape[:2], 1), bool)
        return outputs | {
            "diagnosis.y": self.normalize_y.inverse(diagnosed),
            "one_step.y": self.normalize_y.inverse(stepped),
            "diagnosis": hidden,
            "one_step": step.hidden,
            "states": place.joined(hidden, rolled.hidden),
            "behind": place.joined(nothing, jnp.ones_like(place.behind(nothing))),
        }

    def stream(
        self, given: Mapping[str, Array], state: Any
    ) -> tuple[dict[str, Array], Any]:
        """A piece of a sequence, and the state after it.

        Args:
            given: As for a prediction; outputs may be known at any sample.
            state: After the piece before; `BEGIN` before the first.
        """
        u, mask = self.normalize_u(given["u"]), given["given.y"]
        if state == BEGIN:
            flat = jnp.zeros((u.shape[0], self.prognosis.state_size))
            state = self.diagnosis.initial_state(u.shape[0]), flat
        memory, flat = state
        read = measured(u, self.normalize_y(given["y"]), mask)
        found, memory = self.diagnosis.advance(read, memory)
        states = self.prognosis.follow(u, found, mask, flat)
        outputs = self.prognosis.read(self.prognosis.hidden(states), u)
        return {"y": self.normalize_y.inverse(outputs)}, (memory, states[:, -1])


def _loss(config: Config, data: TaskData) -> Loss:
    """The prediction's own error, and the five terms by name."""
    task, std = data.task, data.statistics.std["y"]
    assert isinstance(task, SequenceTask), "families are only asked for their TASKS"
    kind = config.loss.kind

    def error_of(signal: str, start: int) -> Any:
        """The error of another output over a whole window."""
        plain = sequence_loss(config=SequenceLoss(kind=kind), std=std, start=start)

        def term(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
            return plain.terms[kind].function({"y": outputs[signal]}, batch, hyper)

        return term

    def state_sync(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        return state_distance(
            config.regularization.sync_kind,
            outputs["states"],
            outputs["diagnosis"],
            mask=outputs["behind"],
        )

    def one_step_sync(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        return symmetric_distance(outputs["one_step"], outputs["diagnosis"][:, 1:])

    def activation(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        return temporal_activation(outputs["states"])

    own = sequence_loss(config=config.loss, std=std, start=task.known_outputs)
    functions = {
        "state_sync": state_sync,
        "diagnosis_loss": error_of("diagnosis.y", 0),
        "one_step_sync": one_step_sync,
        "one_step_loss": error_of("one_step.y", 1),
        "temporal_activation": activation,
    }
    further = {
        name: Term(function=function, weight=f"regularization.{name}")
        for name, function in functions.items()
    }
    return Loss(terms={**own.terms, **further})


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: The loss leaves nothing of a window behind the known outputs.
    """
    # Distances of states are means over what is behind a handover, which gaps move.
    part = None if "y" in data.reference.gaps else micro_batch(config.data.batch_size)
    plain = sequence_problem(Model, config=config, data=data, micro_batch=part)

    def forward(
        model: Model,
        batch: Batch,
        *,
        key: Key[Array, ""],
        training: bool,
        carry: Any,
        hyper: Hyper,
    ) -> tuple[Outputs, Any]:
        del hyper
        if carry is not None:
            return model.stream(batch, carry)
        return model(batch, key=key if training else None), None

    return dataclasses.replace(
        plain,
        forward=forward,
        loss=_loss(config, data),
        targets=(whole_outputs,),
        residuals=None,  # five terms of the loss are no residuals of y
    )


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(
        task=task,
        config={
            "model.hidden_size": 4,
            "model.diagnosis.hidden_size": 4,
            "model.diagnosis.depth": 2,
            "data.window": 20,
            "data.batch_size": 8,
            "data.batches": 2,
            "loss.n_skip": 2,
        },
    )
