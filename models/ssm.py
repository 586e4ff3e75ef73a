"""A small nonlinear state space, begun at the best linear approximation.

``x⁺ = A x + B u + W₂ h``, ``y = C x + D u + c + V₂ h`` with ``h = tanh(W₁ [x, u] + b₁)``,
trained by least squares (`models.training.least_squares`), which is what makes it strong: a
structured start and a second-order method. Where outputs are given, their errors correct the state
(``x⁺ += L (y - ŷ)``), so that a window's start comes from its first given samples.

Sources: Paduart et al. 2010, "Identification of nonlinear systems using polynomial nonlinear state
space models"; Schoukens and Ljung 2019, "Nonlinear System Identification", section "best linear
approximation". Weights of the start: measured in this project.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from models.config import Config as BaseConfig
from models.config import static
from models.data.dataset import open_dataset
from models.data.windows import Windows
from models.example import Example
from models.family import creator
from models.layers.linear_approximation import (
    Approximation,
    Records,
    best_linear_approximation,
)
from models.layers.normalization import Standardize
from models.layers.realization import observer_gain
from models.layers.state_space import Known, NonlinearStateSpace
from models.sequences import SequenceLoss, check_windows, sequence_problem
from models.tasks.base import TaskData
from models.tasks.prediction import GIVEN
from models.training.optimizer import LEVENBERG_MARQUARDT, Optimizer
from models.training.problem import Batch, Hyper, Outputs, Problem

TASKS = ("simulation", "prediction")
CLOSED_FORM = False
CAUSAL = True

# Spread of the weights into the hidden layer, of its constants, and of the weights out of it.
_INTO, _CONSTANT, _OUT = 1.5, 1.5, 0.02
# A simulation forgets its start only if no pole is on the unit circle; a start from given
# outputs lets a plant integrate.
_RADIUS = {False: 0.9995, True: 1.0}
_DISTURBANCE = 10.0
_KEPT = 32


@dataclass(frozen=True, kw_only=True)
class SSM(BaseConfig):
    """The model.

    Attributes:
        order: States of the linear approximation that training begins with.
        extra_states: States beside them, lags of the inputs at first; they help where a
            system remembers by its nonlinearity (hysteresis).
        hidden_size: Units of the hidden layer.
        ridge: Penalty of the regressions behind the linear approximation, relative to the
            variance of y.
    """

    order: int = static(6, low=1, high=20)
    extra_states: int = static(0, low=0, high=10)
    hidden_size: int = static(15, low=1)
    ridge: float = static(1e-3, low=0.0)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `ssm`."""

    model: SSM = field(default_factory=SSM)
    data: Windows = field(default_factory=lambda: Windows(window=500, batch_size=32))
    loss: SequenceLoss = field(
        default_factory=lambda: SequenceLoss(kind="mse", n_skip=100)
    )
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(kind=LEVENBERG_MARQUARDT, scale_floor=1e-12)
    )

    def validate(self) -> None:
        """Refuse a loss that leaves nothing of a window, and windows in a row."""
        check_windows(data=self.data, loss=self.loss)


class Model(nnx.Module):
    """Standardize, the recursion, back to physical units.

    Args:
        config: The model's configuration.
        data: Of the task; gives units, channels, and whether outputs are known.
        key: Randomness of the hidden layer's weights; the linear part begins at zero and
            is set by `begin`.
    """

    def __init__(self, *, config: SSM, data: TaskData, key: Key[Array, ""]) -> None:
        self.normalize_u = Standardize.of(data.statistics, "u")
        self.normalize_y = Standardize.of(data.statistics, "y")
        self.space = NonlinearStateSpace(
            states=config.order + config.extra_states,
            inputs=self.normalize_u.channels,
            outputs=self.normalize_y.channels,
            hidden=config.hidden_size,
            known="y" in data.takes,
        )
        _draw(self.space, key)

    def __call__(
        self, given: Mapping[str, Array], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "batch time output"]:
        """The outputs in physical units.

        Args:
            given: ``u`` ``[B, T, n_u]``, and where outputs are known ``y`` ``[B, T, n_y]``
                with the mask ``given.y`` ``[B, T, 1]``.
            key: Nothing here is random.
        """
        del key
        return self.normalize_y.inverse(self.space(*self._read(given)).outputs)

    def sensitivities(
        self, given: Mapping[str, Array]
    ) -> tuple[Float[Array, "batch time output"], dict[str, Any]]:
        """The outputs, and their derivatives by every parameter; see `Problem`."""
        outputs, found = self.space.sensitivities(*self._read(given))
        std = self.normalize_y.std[...][None, None, :, None, None]
        tree = {name: values * std for name, values in found.items()}
        return self.normalize_y.inverse(outputs), {"space": tree}

    def begin(self, start: Approximation) -> None:
        """Take over a linear approximation; the hidden layer stays as it is."""
        system, space = start.system, self.space
        linear = np.concatenate([system.a, system.b], axis=1)
        space.transition.set_value(_begun(space.transition, 0, linear))
        readout = np.concatenate([system.c, system.d], axis=1)
        output = _begun(space.output, 0, readout)
        constant = jnp.asarray(start.constant, output.dtype)
        space.output.set_value(output.at[:, -1].set(constant))
        if space.gain is not None:
            gain = observer_gain(system, disturbance=_DISTURBANCE)
            space.gain.set_value(_begun(space.gain, 0, gain))

    def _read(
        self, given: Mapping[str, Array]
    ) -> tuple[Float[Array, "batch time input"], Known | None]:
        u = self.normalize_u(given["u"])
        if self.space.gain is None:
            return u, None
        return u, Known(self.normalize_y(given["y"]), given[GIVEN])


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: The loss leaves nothing of a window.
    """

    def start(model: Model, batch: Batch, *, key: Any, hyper: Hyper) -> None:
        del batch, key, hyper
        model.begin(_approximation(config.model, data))

    def sensitivities(
        model: Model, batch: Batch, *, hyper: Hyper
    ) -> tuple[Outputs, dict[str, Any]]:
        del hyper
        y, tree = model.sensitivities(batch)
        return {"y": y}, tree

    shared = sequence_problem(Model, config=config, data=data)
    return dataclasses.replace(shared, start=start, sensitivities=sensitivities)


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(
        task=task,
        config={
            "model.order": 2,
            "model.extra_states": 1,
            "model.hidden_size": 3,
            "data.window": 80,
            "data.batch_size": 8,
            "data.batches": 2,
            "loss.n_skip": 8 if task == "simulation" else 0,
            "optimizer.stage_windows": [6],
            "optimizer.stage_epochs": [2],
            # Short steps: what rounding changes stays as small as it is.
            "optimizer.damping": 10.0,
            "optimizer.damping_down": 1.0,
        },
    )


def _draw(space: NonlinearStateSpace, key: Key[Array, ""]) -> None:
    """The hidden layer's weights, uniform with the wanted spreads."""
    n, inputs, hidden = space.sizes
    inner, outer = space.hidden[...], space.output[...]
    rows = len(space.transition[...]) + len(outer)
    numbers = jax.random.uniform(
        key, (inner.size + rows * hidden,), minval=-1.0, maxval=1.0
    )
    spread = np.full(inner.shape[1], math.sqrt(3) * _INTO / math.sqrt(n + inputs))
    spread[-1] = _CONSTANT
    space.hidden.set_value(
        numbers[: inner.size].reshape(inner.shape)
        * jnp.asarray(spread, inner.dtype)[None]
    )
    out = math.sqrt(3) * _OUT * numbers[inner.size :].reshape(rows, hidden)
    place = n + inputs
    transition = space.transition[...].at[:, place:].set(out[:n])
    space.transition.set_value(transition)
    space.output.set_value(outer.at[:, place:-1].set(out[n:]))


def _begun(parameter: nnx.Param[Array], column: int, values: np.ndarray) -> Array:
    """A parameter with some columns replaced."""
    whole: Array = parameter[...]
    new = jnp.asarray(values, whole.dtype)
    return whole.at[:, column : column + values.shape[1]].set(new)


def _approximation(config: SSM, data: TaskData) -> Approximation:
    """The best linear approximation, computed once a process."""
    reference = json.dumps(data.reference.to_json(), sort_keys=True, default=str)
    return _approximated(
        reference,
        config.order,
        config.extra_states,
        config.ridge,
        _RADIUS["y" in data.takes],
    )


@lru_cache(maxsize=_KEPT)
def _approximated(
    reference: str, order: int, extra: int, ridge: float, radius: float
) -> Approximation:
    train, valid = _records(reference)
    return best_linear_approximation(
        train, valid, order=order, extra=extra, ridge=ridge, radius=radius
    )


@lru_cache(maxsize=4)
def _records(reference: str) -> tuple[Records, Records]:
    """Train and validation part in units of standard deviation."""
    dataset = open_dataset(json.loads(reference))
    mean, std = dataset.statistics.mean, dataset.statistics.std

    def scaled(values: np.ndarray, role: str) -> np.ndarray:
        return (np.asarray(values, float) - mean[role]) / std[role]

    def records(name: str) -> Records:
        part = dataset.part(name)
        loaded = (part.load(i) for i in range(len(part.lengths)))
        return [(scaled(r["u"], "u"), scaled(r["y"], "y")) for r in loaded]

    return records("train"), records("valid")
