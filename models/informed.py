"""What the families share that are told an equation and learn it softly: `pirnn` and `pinc`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.config import Config, static
from models.equations import equation_for
from models.errors import ConfigError
from models.layers.handover import Handover, handover
from models.losses import Loss, Term
from models.physics.collocation import TRACED, Collocation
from models.physics.equation import Equation, Values
from models.physics.found import content_of
from models.physics.starts import steady_state
from models.physics.states import Signals, StateScale, state_scale
from models.sequences import SequenceLoss, sequence_loss
from models.tasks.base import TaskData
from models.tasks.sequences import SequenceTask
from models.training.problem import Batch, Hyper, Outputs
from models.transforms.batch import Transform

_AROUND = 4
"""Samples that three second differences read on either side of a handover."""


@dataclass(frozen=True, kw_only=True)
class Told(Config):
    """The equation that a network is told.

    Attributes:
        equation: A shipped equation, or ``my_file:NAME``.
        trained: Whether the coefficients that it calls trained are; otherwise they stay as
            stated.
    """

    equation: str = static("low_pass")
    trained: bool = static(True)


@dataclass(frozen=True, kw_only=True)
class Stated:
    """An equation beside the data it is stated for.

    Attributes:
        equation: Checked against the data.
        scale: Of its states.
        signals: Of the data's train part.
        supervised: How many outputs the data loss counts, from the first on.
        identity: Equal for equal contents of its file.
    """

    equation: Equation
    scale: StateScale
    signals: Signals
    supervised: int
    identity: tuple[str, str]

    @property
    def rate(self) -> float:
        """Samples per second."""
        return self.signals.rate

    def rest(
        self, u: Float[Array, "batch input"], coefficients: Values
    ) -> Float[Array, "batch state"]:
        """The states in which records begin of which only the first input is known.

        As the equation's `start` says, else the steady state.

        Args:
            u: The first inputs, in physical units.
            coefficients: By name; they learn nothing from this.
        """
        equation = self.equation
        coefficients = jax.lax.stop_gradient(coefficients)
        if equation.start is not None:
            return jax.vmap(equation.start, (0, None))(u, coefficients)
        low, high = equation.limits()
        guess = jnp.asarray(self.scale.mean, u.dtype)
        return steady_state(
            lambda c, x, v: equation.derivative(x, v, c),
            coefficients,
            u,
            jnp.broadcast_to(guess[None], (u.shape[0], *guess.shape)),
            rate=self.rate,
            limits=(low, high),
        )

    def outputs(
        self,
        states: Float[Array, "batch time state"],
        u: Float[Array, "batch time input"],
        coefficients: Values,
    ) -> Float[Array, "batch time output"]:
        """What is measured of states; all in physical units."""
        every = jax.vmap(jax.vmap(self.equation.output, (0, 0, None)), (0, 0, None))
        return every(states, u, coefficients)


def stated(
    told: Told, *, data: TaskData, n_y_supervised: int | None, order: int = 1
) -> Stated:
    """The equation of a trial.

    Args:
        told: Which.
        data: Of the task.
        n_y_supervised: Outputs that the data loss counts; None for all.
        order: Of the derivative that residuals compare.

    Raises:
        ConfigError: The equation is unknown or does not fit the data, its right-hand side is
            not finite, the data tells no sampling rate, or more outputs are to be supervised
            than there are.
        DataError: Records come at several rates.
    """
    outputs = data.channels["y"]
    if n_y_supervised is not None and n_y_supervised > outputs:
        raise ConfigError(
            f"`model.n_y_supervised` must be at most the {outputs} outputs of the data, "
            f"got {n_y_supervised}",
            hint="unmeasured states are no outputs of the data: the equation adds them",
        )
    reference = told.equation
    equation = equation_for(reference, data, trained=told.trained)
    statistics = data.statistics
    signals = Signals(
        u_mean=tuple(map(float, statistics.mean["u"])),
        u_std=tuple(map(float, statistics.std["u"])),
        y_mean=tuple(map(float, statistics.mean["y"])),
        y_std=tuple(map(float, statistics.std["y"])),
        rate=float(data.sampling_rate or 0.0),
    )
    return Stated(
        equation=equation,
        scale=state_scale(reference, signals, order=order),
        signals=signals,
        supervised=outputs if n_y_supervised is None else n_y_supervised,
        identity=(reference, content_of(reference)),
    )


def handed_over(data: TaskData, *, warm_up: int, window: int) -> int:
    """The first sample of the prognosis in training and scoring.

    Args:
        data: Of the task.
        warm_up: Outputs that the start of a training window is found from in simulation.
        window: Samples of a training window.

    Raises:
        ConfigError: A window is not longer than what it begins with.
    """
    task = data.task
    assert isinstance(task, SequenceTask), "families are only asked for their TASKS"
    first = task.known_outputs or warm_up
    if first >= window:
        what = "known outputs" if task.known_outputs else "samples of `model.warm_up`"
        raise ConfigError(
            f"`data.window` must be longer than the {first} {what}, got {window}",
            hint="cut longer windows: the prognosis is trained on what is behind them",
        )
    return first


def handover_of(
    known: Batch | None, batch: Batch, *, first: int, scored: bool
) -> Handover:
    """Where in a batch the prognosis begins.

    Args:
        known: See `known_part`.
        batch: What is given.
        first: Its first sample where outputs are known, in training and scoring.
        scored: Whether this is one of those; a prediction may know any number of outputs.
    """
    if known is None:
        return Handover(1, batch["u"].shape[1])
    return handover(known["given.y"], known=first if scored else None)


def supervised_loss(
    *, config: SequenceLoss, stated: Stated, data: TaskData, start: int
) -> Term:
    """The error of the supervised outputs, in their standard deviations; weight `data`.

    Args:
        config: Which error, after how many samples.
        stated: Says how many outputs are supervised.
        data: Of the task.
        start: First sample of a window that is scored.
    """
    width = stated.supervised
    std = data.statistics.std["y"][:width]
    error = sequence_loss(config=config, std=std, start=start).terms[config.kind]

    def chosen(batch: Batch) -> Batch:
        found = {n: batch[n] for n in ("y", "seen.y") if n in batch}
        return {name: array[..., :width] for name, array in found.items()}

    def term(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        given = {"y": outputs["y"][..., :width]}
        return error.function(given, chosen(batch), hyper)

    def count(batch: Batch, hyper: Hyper) -> Array | float | None:
        if error.count is None or "seen.y" not in batch:
            return None  # without gaps the samples tell
        return error.count(chosen(batch), hyper)

    return Term(function=term, weight="weights.data", count=count, whole=error.whole)


def mean_square(name: str) -> Callable[[Outputs, Batch, Hyper], Float[Array, ""]]:
    """The mean square of an output."""

    def term(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        return jnp.mean(jnp.square(outputs[name]))

    return term


def around(
    states: Float[Array, "batch time state"], first: int
) -> Float[Array, "batch time state"]:
    """Second differences of standardized states, three on either side of a handover.

    Args:
        states: Joined there.
        first: First sample of the prognosis.
    """
    near = states[:, max(first - _AROUND, 0) : first + _AROUND]
    return near[:, 2:] - 2.0 * near[:, 1:-1] + near[:, :-2]


def informed_loss(data: Term, *names: str) -> Loss:
    """The data term, and the mean squares of outputs under weights of their names."""
    terms = {n: Term(function=mean_square(n), weight=f"weights.{n}") for n in names}
    return Loss(terms={"data": data, **terms})


def described(outputs: Outputs, batch: Batch) -> dict[str, Array]:
    """Every state of the equation, measured or not, in physical units ``[B, T, S]``."""
    del batch
    return {"states": outputs["states"]}


def excitations(config: Collocation, stated: Stated, *, hidden: int) -> Transform:
    """What adds fresh excitations to every batch of training and scoring.

    Args:
        config: What is drawn.
        stated: The equation beside its data.
        hidden: Numbers of a flat hidden state.
    """

    def draw(key: Array, batch: Batch, step: Array, **values: Array) -> Batch:
        del step
        return batch | config.draw(
            key,
            equation=stated.equation,
            scale=stated.scale,
            signals=stated.signals,
            hidden=hidden,
            values=values,
        )

    return Transform(
        function=draw, values={name: f"collocation.{name}" for name in TRACED}
    )
