"""An equation beside the data it is stated for: what every family shares that knows physics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from models.data.rates import require_one_rate
from models.errors import ConfigError
from models.metrics.accumulators import Average
from models.physics.equation import Equation
from models.physics.found import find_equation
from models.tasks.base import TaskData
from models.training.problem import Batch, Transforms

FIRST = ("first.y", "first.given")
"""Outputs and mask of a training window that its start is found from, in simulation."""


def equation_for(reference: str, data: TaskData, *, trained: bool = True) -> Equation:
    """A stated equation, held against the data.

    Args:
        reference: A shipped equation's name, or ``my_file:NAME``.
        data: What is known of data and task.
        trained: Whether the coefficients that it calls trained are; otherwise they stay as
            stated.

    Raises:
        ConfigError: The equation is unknown, channels differ, the data tells no sampling
            rate, its outputs lie outside the declared range of what they measure, or the
            right-hand side is not finite where the data is.
        DataError: Records come at several rates.
    """
    equation = find_equation(reference)
    if not trained:
        fixed = {
            name: replace(c, trained=False) for name, c in equation.coefficients.items()
        }
        equation = replace(equation, coefficients=fixed)
    _check(equation, data, where=reference)
    return equation


def first_outputs(
    key: Array, batch: Batch, step: Array, *, count: int, means: np.ndarray
) -> Batch:
    """Show the outputs at the start of a training window, which simulation gives no model.

    Args:
        key: Not used.
        batch: Of training.
        step: Not used.
        count: How many.
        means: Of the outputs, which take the place of what is not shown.
    """
    del key, step
    y = batch["y"]
    mask = jnp.broadcast_to(
        (jnp.arange(y.shape[1]) < count)[None, :, None], (*y.shape[:2], 1)
    )
    if "seen.y" in batch:
        mask = mask & jnp.all(batch["seen.y"], axis=-1, keepdims=True)
    instead = jnp.asarray(means, y.dtype)[None, None]
    return {**batch, FIRST[0]: jnp.where(mask, y, instead), FIRST[1]: mask}


def revealed(data: TaskData, *, count: int) -> Transforms:
    """What shows training windows their first outputs, where the task gives none.

    Args:
        data: Of the task.
        count: How many.
    """
    if "y" in data.takes:
        return ()
    return (partial(first_outputs, count=count, means=data.statistics.mean["y"]),)


def known_part(batch: Mapping[str, Array]) -> Batch | None:
    """The batch with the outputs that are known; None where none is.

    Args:
        batch: What is given.
    """
    if FIRST[0] in batch:
        return {**batch, "y": batch[FIRST[0]], "given.y": batch[FIRST[1]]}
    return dict(batch) if "given.y" in batch else None


def broadcast_coefficients(
    trained: Mapping[str, Float[Array, ""]], rows: int
) -> dict[str, Any]:
    """Trained coefficients as outputs ``[B, 1]`` by name, for `coefficient_metrics`."""
    return {n: jnp.broadcast_to(v[None, None], (rows, 1)) for n, v in trained.items()}


def coefficient_metrics(equation: Equation) -> tuple[Average, ...]:
    """``coefficient.NAME`` of every trained coefficient, in its unit."""

    def value(name: str) -> Callable[..., Array]:
        return lambda outputs, batch: outputs["coefficients"][name]

    return tuple(
        Average(name=f"coefficient.{name}", function=value(name))
        for name in equation.trained
    )


def _check(equation: Equation, data: TaskData, *, where: str) -> None:
    """Refuse an equation that does not fit the data."""
    channels, statistics = data.channels, data.statistics
    equation.check(inputs=channels["u"], outputs=channels["y"], where=where)
    if not data.sampling_rate:
        raise ConfigError(
            f"the equation `{where}` runs in seconds, but the data tells no sampling rate",
            hint="write the attribute `fs` (samples per second) into its files",
        )
    require_one_rate(data.reference, what=f"the equation `{where}`")
    state = []
    for quantity, output in zip(
        equation.states, equation.measured_states(), strict=True
    ):
        value = (quantity.low + quantity.high) / 2 if quantity.bounded else 0.0
        value = min(max(value, quantity.low), quantity.high)
        if output is not None:
            value = float(statistics.mean["y"][output])
            if not quantity.holds(value):
                raise ConfigError(
                    f"the outputs have a mean of {value:g}, outside the range "
                    f"{quantity.low:g} to {quantity.high:g} of the state "
                    f"`{quantity.name}` of `{where}`",
                    hint="are they in the equation's units? else widen the range",
                )
        state.append(value)
    mean = [float(m) for m in statistics.mean["u"]]
    equation.check_finite(state, mean)
    equation.check_start(mean)
