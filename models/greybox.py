"""Grey box: a stated equation solved, its coefficients trained, perhaps with a correction.

``dx/dt = f(x, u, c) + s ⊙ MLP(x, u)``, ``y = g(x, u, c)`` by Runge and Kutta's method. The
coefficients c stay within their bounds and are reported every epoch in their units. Where
the first outputs are given (task `prediction`, and every window of training), the state that
a window begins in is the one that fits them best; a record of which nothing but u is known
begins as the equation says (`Equation.start`), by default in the steady state of its first
input.

Source: Bohlin, "Practical Grey-box Process Identification", 2006, chapter 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Key

from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.windows import Windows
from models.equations import (
    FIRST,
    broadcast_coefficients,
    coefficient_metrics,
    equation_for,
    known_part,
    revealed,
)
from models.example import Example
from models.family import creator
from models.layers.initialization import initialize
from models.layers.linear import Linear
from models.layers.normalization import Standardize, Statistic
from models.physics.coefficients import Coefficients
from models.physics.equation import Equation
from models.physics.found import content_of
from models.physics.solve import rk4
from models.physics.starts import fitted_start, steady_state
from models.sequences import SequenceLoss, check_windows, sequence_problem
from models.tasks.base import TaskData
from models.tasks.prediction import GIVEN
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Hyper, Outputs, Problem

TASKS = ("simulation", "prediction")
CLOSED_FORM = False
CAUSAL = True


@dataclass(frozen=True, kw_only=True)
class Physics(BaseConfig):
    """The equation, and how it is solved.

    Attributes:
        equation: A shipped one's name, or ``my_file:NAME``.
        steps: Steps of the solver from one sample to the next.
        between: What the input is between samples: a straight ``linear``, or ``held``.
        spread: How far from the stated values training begins: standard deviation of
            the coefficients' place between their bounds, on the scale of a logistic curve.
    """

    equation: str = static("mass_spring_damper")
    steps: int = static(1, low=1)
    between: str = static("linear", choices=("linear", "held"))
    spread: float = traced(0.0, low=0.0, high=5.0, start=True)


@dataclass(frozen=True, kw_only=True)
class GreyBox(BaseConfig):
    """What is around the equation.

    Attributes:
        residual: Hidden units of the network that corrects the derivative; 0 for none.
        first: Outputs at the start of a training window that its start is fitted to, in
            tasks that give none.
        start_steps: Iterations of that fit.
    """

    residual: int = static(0, low=0)
    first: int = static(50, low=1)
    start_steps: int = static(8, low=1)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `greybox`."""

    physics: Physics = field(default_factory=Physics)
    model: GreyBox = field(default_factory=GreyBox)
    data: Windows = field(
        default_factory=lambda: Windows(window=200, batch_size=16, batches=20)
    )
    loss: SequenceLoss = field(default_factory=SequenceLoss)
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(learning_rate=0.03))

    def validate(self) -> None:
        """Refuse a loss that leaves nothing of a window, and windows in a row."""
        check_windows(data=self.data, loss=self.loss)


class Model(nnx.Module):
    """An equation with trained coefficients and, where asked for, a network beside it.

    Args:
        config: The family's configuration.
        equation: Checked against the data.
        data: Of the task; gives units, channels and the sampling rate.
        key: Randomness of the network's initial weights.
    """

    def __init__(
        self,
        *,
        config: Config,
        equation: Equation,
        data: TaskData,
        key: Key[Array, ""],
    ) -> None:
        self.equation = equation
        self.rate = float(data.sampling_rate or 0.0)
        self.steps, self.between = config.physics.steps, config.physics.between
        self.first, self.start_steps = config.model.first, config.model.start_steps
        self.normalize_u = Standardize.of(data.statistics, "u")
        self.normalize_y = Standardize.of(data.statistics, "y")
        self.coefficients = Coefficients(equation)
        size, hidden = len(equation.states), config.model.residual
        dtype = jnp.zeros(()).dtype
        self.center = Statistic(jnp.zeros((size,), dtype))
        self.scale = Statistic(jnp.ones((size,), dtype))
        self.slope = Statistic(jnp.ones((size,), dtype))
        inputs = size + len(equation.inputs)
        self.hidden = Linear(inputs=inputs, outputs=hidden) if hidden else None
        self.correction = Linear(inputs=hidden, outputs=size) if hidden else None
        initialize(self, key)
        if self.correction is not None:  # training begins at the equation itself
            weight = self.correction.weight
            weight.set_value(0.01 * weight[...])

    def __call__(self, given: Mapping[str, Array]) -> tuple[Array, Array]:
        """Outputs ``[B, T, Y]`` and states ``[B, T, S]`` in physical units.

        Args:
            given: ``u`` ``[B, T, U]``; with first outputs also ``y`` and ``given.y`` as the
                task gives them, or ``first.y`` and ``first.given``.
        """
        parameters = self._parameters()
        u = given["u"]
        states = self.solve(parameters, self.start(parameters, given), u)
        return self._measured(parameters, states, u), states

    def start(self, parameters: Any, given: Mapping[str, Array]) -> Array:
        """The states at the first sample, ``[B, S]``."""
        u = given["u"]
        known = known_part(given)
        if known is None:
            return self.rest(parameters, u[:, 0])
        # Nothing is known of a training window behind its first outputs.
        count = self.first if FIRST[0] in given else u.shape[1]
        u, y, mask = u[:, :count], known["y"][:, :count], known[GIVEN][:, :count]

        def outputs(parameters: Any, start: Array) -> Array:
            states = self.solve(parameters, start, u)
            return self._measured(parameters, states, u)

        return fitted_start(
            outputs,
            parameters,
            self._guesses(parameters, u, y, mask),
            y=y,
            given=mask,
            std=self.normalize_y.std[...],
            limits=self.equation.limits(),
            steps=self.start_steps,
        )

    def rest(self, parameters: Any, u: Float[Array, "batch input"]) -> Array:
        """The states in which records begin of which only the first input is known."""
        begin = self.equation.start
        if begin is not None:
            values, _ = parameters
            return jax.vmap(begin, (0, None))(u, values)
        return self._steady(parameters, u)

    def solve(self, parameters: Any, start: Array, u: Array) -> Array:
        """States ``[B, T, S]`` from a start ``[B, S]``."""
        return rk4(
            partial(self._derivative, parameters),
            start,
            u,
            rate=self.rate,
            steps=self.steps,
            between="held" if self.between == "held" else "linear",
        )

    def settle(self, batch: Mapping[str, Array]) -> None:
        """Take the size of states and derivatives from a first batch, for the network.

        Args:
            batch: ``u`` ``[B, T, U]``.
        """
        parameters = self._parameters()
        states = self.solve(
            parameters, self.rest(parameters, batch["u"][:, 0]), batch["u"]
        )
        slopes = jnp.diff(states, axis=1) * self.rate

        def kept(values: Array, instead: Array) -> Array:
            return jnp.where(jnp.isfinite(values) & (values != 0), values, instead)

        self.center.set_value(kept(jnp.mean(states, axis=(0, 1)), self.center[...]))
        self.scale.set_value(kept(jnp.std(states, axis=(0, 1)), self.scale[...]))
        self.slope.set_value(kept(jnp.std(slopes, axis=(0, 1)), self.slope[...]))

    def _parameters(self) -> Any:
        """Everything that is trained, as the functions of one sample take it."""
        if self.hidden is None or self.correction is None:
            return self.coefficients(), ()
        layers = (self.hidden, self.correction)
        return self.coefficients(), tuple(
            array[...] for layer in layers for array in (layer.weight, layer.bias)
        )

    def _derivative(self, parameters: Any, state: Array, level: Array) -> Array:
        """The right-hand side of one sample, the network's correction included."""
        values, network = parameters
        slope = self.equation.derivative(state, level, values)
        if not network:
            return slope
        first, first_bias, second, second_bias = network
        x = (state - self.center[...]) / self.scale[...]
        u = (level - self.normalize_u.mean[...]) / self.normalize_u.std[...]
        hidden = jnp.tanh(jnp.concatenate([x, u]) @ first + first_bias)
        return slope + self.slope[...] * (hidden @ second + second_bias)

    def _measured(self, parameters: Any, states: Array, u: Array) -> Array:
        values, _ = parameters
        each = jax.vmap(jax.vmap(self.equation.output, (0, 0, None)), (0, 0, None))
        return each(states, u, values)

    def _steady(self, parameters: Any, u: Array) -> Array:
        low, high = self.equation.limits()
        bounded = jnp.isfinite(low) & jnp.isfinite(high)
        middle = jnp.where(bounded, (low + high) / 2, jnp.clip(0.0, low, high))
        guess = jnp.broadcast_to(middle[None], (len(u), len(low)))
        return steady_state(
            self._derivative, parameters, u, guess, rate=self.rate, limits=(low, high)
        )

    def _guesses(
        self, parameters: Any, u: Array, y: Array, mask: Array
    ) -> tuple[Array, ...]:
        """Where the fit of a start may begin; measured states are as first given.

        The others are in the steady state under the mean input of what is given. Where they
        have a range they also begin in its middle: at its end, as in a tank that is full,
        a fit may see no way back.
        """
        frozen = jax.tree.map(stop_gradient, parameters)
        weight = mask.astype(u.dtype)
        count = jnp.maximum(jnp.sum(weight, axis=1), 1.0)
        steady = self._steady(frozen, jnp.sum(weight * u, axis=1) / count)
        first = jnp.take_along_axis(y, jnp.argmax(mask, axis=1)[:, None], axis=1)[:, 0]
        low, high = self.equation.limits()
        measured = self.equation.measured_states()

        def known(guess: Array) -> Array:
            columns = [
                guess[:, i]
                if output is None
                else jnp.clip(first[:, output], low[i], high[i])
                for i, output in enumerate(measured)
            ]
            return jnp.stack(columns, axis=-1)

        pairs = zip(self.equation.states, measured, strict=True)
        if not any(q.bounded and output is None for q, output in pairs):
            return (known(steady),)
        bounded = jnp.isfinite(low) & jnp.isfinite(high)
        middle = jnp.where(bounded[None], ((low + high) / 2)[None], steady)
        return known(steady), known(middle)


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: The equation does not fit the data, or the loss leaves nothing of a
            window.
        DataError: Records come at several rates.
    """
    reference = config.physics.equation
    equation = equation_for(reference, data)

    def build(*, config: Any, data: TaskData, key: Key[Array, ""]) -> nnx.Module:
        return Model(config=whole, equation=equation, data=data, key=key)

    whole = config
    shared = sequence_problem(build, config=config, data=data)
    return replace(
        shared,
        signature=(shared.signature, "equation", content_of(reference)),
        forward=_forward,
        metrics=(*shared.metrics, *coefficient_metrics(equation)),
        augmentations=revealed(data, count=config.model.first),
        start=_begin,
        micro_batch=None,
    )


def _forward(
    model: Model,
    batch: Batch,
    *,
    key: Key[Array, ""],
    training: bool,
    carry: Any,
    hyper: Hyper,
) -> tuple[Outputs, Any]:
    """The solution, the states behind it, and every trained coefficient, once a row."""
    y, states = model(batch)
    found = broadcast_coefficients(model.coefficients.trained(), len(y))
    return {"y": y, "states": states, "coefficients": found}, carry


def _begin(model: Model, batch: Batch, *, key: Key[Array, ""], hyper: Hyper) -> None:
    """Coefficients off their stated values, and the sizes that the network needs."""
    model.coefficients.scatter(key, hyper["physics.spread"])
    if model.hidden is not None:
        model.settle(batch)


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(
        task=task,
        config={
            "physics.equation": "low_pass",
            "model.first": 8,
            "model.start_steps": 2,
            "data.window": 20,
            "data.batch_size": 8,
            "data.batches": 2,
            "loss.n_skip": 4,
        },
    )
