"""Where the states of an equation lie and how fast they change, before anything is learned."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from models.errors import ConfigError
from models.physics.equation import Equation, Values
from models.physics.excitation import Excitation
from models.physics.found import content_of, find_equation
from models.physics.residual import total_derivative
from models.physics.solve import rk4

_DRAWS = 1024
_SOLVED = 1000
"""Samples of the solution that tells of states without range; a quarter is forgotten."""


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What is known of the measured signals: numbers per channel, in physical units.

    Attributes:
        u_mean: Means of the inputs.
        u_std: Their standard deviations.
        y_mean: Means of the outputs.
        y_std: Their standard deviations.
        rate: Samples per second.
    """

    u_mean: tuple[float, ...]
    u_std: tuple[float, ...]
    y_mean: tuple[float, ...]
    y_std: tuple[float, ...]
    rate: float


@dataclass(frozen=True, kw_only=True)
class StateScale:
    """Numbers per state ``[S]``, in physical units.

    A state that is measured has the mean and deviation of its output; one with a declared
    range is spread evenly over it; one with neither has those of a solution of the stated
    equation that is driven by multisines of the inputs' mean and deviation.

    Attributes:
        mean: Where states lie.
        std: How far they lie from it.
        low: From where on states are drawn: √3 deviations, cut to the declared range.
        high: Up to where.
        rates: Root mean square of what the equation says of a derivative, over states and
            inputs drawn from there; per s for the first.
    """

    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rates: np.ndarray


def state_scale(reference: str, signals: Signals, *, order: int = 1) -> StateScale:
    """The scale of an equation's states, worked out once for each content of its file.

    Args:
        reference: The equation's name.
        signals: Of the train part.
        order: Of the derivative that `StateScale.rates` tells of.

    Raises:
        ConfigError: The right-hand side is not finite where states and inputs lie, or a
            state has neither output, range nor finite solution.
    """
    return _scale(reference, content_of(reference), signals, order)


@lru_cache(maxsize=64)
def _scale(reference: str, content: str, signals: Signals, order: int) -> StateScale:
    del content  # of the key alone
    equation = find_equation(reference)
    mean, std = _center(equation, signals)
    low = np.maximum(mean - np.sqrt(3) * std, [q.low for q in equation.states])
    high = np.minimum(mean + np.sqrt(3) * std, [q.high for q in equation.states])
    rates = _rates(equation, signals, low, high, order)
    return StateScale(mean=mean, std=std, low=low, high=high, rates=rates)


def _center(equation: Equation, signals: Signals) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of every state."""
    mean = np.full(len(equation.states), np.nan)
    std = mean.copy()
    for i, (state, output) in enumerate(
        zip(equation.states, equation.measured_states(), strict=True)
    ):
        if output is not None:
            mean[i], std[i] = signals.y_mean[output], signals.y_std[output]
        elif state.bounded:
            mean[i] = (state.low + state.high) / 2
            std[i] = (state.high - state.low) / np.sqrt(12)
    missing = np.isnan(mean)
    if missing.any():
        start = np.where(missing, 0.0, mean)
        solved = _solution(equation, signals, start)
        if np.isfinite(solved).all():
            mean[missing] = solved.mean(axis=0)[missing]
            std[missing] = solved.std(axis=0)[missing]
        for i in np.flatnonzero(missing):
            if not (np.isfinite(std[i]) and std[i] > 0):
                name = equation.states[i].name
                raise ConfigError(
                    f"the state `{name}` is not measured and has no declared range, and a "
                    f"solution of the stated equation gives it a deviation of {std[i]:g}",
                    hint=f'state it: `Quantity(name="{name}", low=…, high=…)`',
                )
    return mean, std


def _solution(equation: Equation, signals: Signals, start: np.ndarray) -> np.ndarray:
    """States ``[N, S]`` of solutions under inputs like the data's."""

    @jax.jit
    def solve(start: Array, coefficients: Values) -> Array:
        multisine = Excitation(
            kind="multisine",
            rate=signals.rate,
            amplitude=(1.4, 1.4),
            frequency=(0.0, 0.1 * signals.rate),
        )
        size = len(signals.u_mean)
        drawn = multisine.draw(jax.random.key(0), rows=4, samples=_SOLVED, inputs=size)
        mean, std = (
            jnp.asarray(values, drawn.dtype)[None, None]
            for values in (signals.u_mean, signals.u_std)
        )
        u = cut_inputs(equation, mean + std * drawn)
        return rk4(
            lambda x, v: equation.derivative(x, v, coefficients),
            jnp.broadcast_to(start[None], (4, *start.shape)),
            u,
            rate=signals.rate,
            steps=4,
        )

    found = solve(jnp.asarray(start, jnp.zeros(()).dtype), _stated(equation))
    return np.asarray(found[:, _SOLVED // 4 :], np.float64).reshape(-1, len(start))


def _rates(
    equation: Equation,
    signals: Signals,
    low: np.ndarray,
    high: np.ndarray,
    order: int,
) -> np.ndarray:
    """See `StateScale.rates`.

    Raises:
        ConfigError: The right-hand side is not finite somewhere.
    """
    random = np.random.default_rng(0)
    dtype = jnp.zeros(()).dtype
    spread = np.sqrt(3) * np.asarray(signals.u_std)
    x = random.uniform(low, high, (_DRAWS, len(low)))
    u = signals.u_mean + random.uniform(-spread, spread, (_DRAWS, len(spread)))
    said = total_derivative(equation, order)

    @jax.jit
    def rates(x: Array, u: Array, coefficients: Values) -> tuple[Array, Array]:
        u = cut_inputs(equation, u[None])[0]
        inputs = (u, *[jnp.zeros_like(u)] * (order - 1))
        return u, jax.vmap(said, (0, 0, None))(x, inputs, coefficients)

    cut, found = rates(jnp.asarray(x, dtype), jnp.asarray(u, dtype), _stated(equation))
    squares = np.square(np.asarray(found, np.float64))
    for bad in np.flatnonzero(~np.isfinite(squares).all(axis=1))[:1]:
        equation.check_finite(x[bad], np.asarray(cut)[bad])
    seen = np.isfinite(squares)
    count = np.maximum(seen.sum(axis=0), 1)
    found_rates = np.sqrt(np.sum(squares, axis=0, where=seen) / count)
    return np.where(found_rates > 0, found_rates, (high - low) / np.sqrt(12))


def _stated(equation: Equation) -> dict[str, Array]:
    dtype = jnp.zeros(()).dtype
    return {name: jnp.asarray(value, dtype) for name, value in equation.values.items()}


def cut_inputs(equation: Equation, u: Array) -> Array:
    """Inputs ``[B, T, U]`` cut to their declared ranges."""
    low = jnp.asarray([q.low for q in equation.inputs], u.dtype)
    high = jnp.asarray([q.high for q in equation.inputs], u.dtype)
    return jnp.clip(u, low[None, None], high[None, None])
