"""How far trajectories are from obeying an equation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from models.physics.differences import difference
from models.physics.equation import Equation, Values

Rate = Callable[[Array, tuple[Array, ...], Values], Array]
"""``(state [S], input and its first derivatives [U] each, coefficients) -> [S]``."""


@dataclass(frozen=True, kw_only=True)
class Residual:
    """``(dⁿx/dtⁿ - what the equation says of it) / unit`` at every sample.

    For the first derivative the equation says ``f(x, u)``. For a higher one it says the
    derivative of that along its own solutions (`total_derivative`), the input's slope being its
    central difference: so each of the nine differences can be held against it.

    A state outside its declared range counts with the right-hand side of the nearest state
    inside, so that a root of a negative level gives no NaN.

    Attributes:
        equation: Checked.
        difference: Name of the operator that differentiates trajectories.
        rate: Samples per second.
        unit: Per state, the size of 1: see `StateScale.rates`.
    """

    equation: Equation
    difference: str
    rate: float
    unit: np.ndarray

    def __call__(
        self,
        states: Float[Array, "batch time state"],
        u: Float[Array, "batch time input"],
        coefficients: Values,
    ) -> Float[Array, "batch time state"]:
        """The residual of trajectories, without unit.

        Args:
            states: In physical units.
            u: In physical units.
            coefficients: By name, in their units.
        """
        operator = difference(self.difference)
        step = 1.0 / self.rate
        got = operator(states, step=step)
        inputs = [u]
        for order in range(1, operator.derivative):
            inputs.append(difference(f"diff{order}_central")(u, step=step))
        said = total_derivative(self.equation, operator.derivative)
        wanted = jax.vmap(jax.vmap(said, (0, 0, None)), (0, 0, None))
        inside = within(self.equation, states)
        unit = jnp.asarray(self.unit, states.dtype)[None, None]
        return (got - wanted(inside, tuple(inputs), coefficients)) / unit


def total_derivative(equation: Equation, order: int) -> Rate:
    """What an equation says of a derivative of its states, by order.

    Args:
        equation: ``x' = f(x, u)``.
        order: 1 for f itself; every further one differentiates along the solution,
            ``d/dt g(x, u, u', …) = ∂g/∂x f(x, u) + ∂g/∂u u' + ∂g/∂u' u'' + …``.

    Returns:
        A function that takes as many derivatives of the input as `order`, the input itself
        being the first.
    """

    def first(x: Array, inputs: tuple[Array, ...], c: Values) -> Array:
        return equation.derivative(x, inputs[0], c)

    def along(function: Rate) -> Rate:
        def next_one(x: Array, inputs: tuple[Array, ...], c: Values) -> Array:
            change = (equation.derivative(x, inputs[0], c), inputs[1:])
            start = (x, inputs[:-1])
            return jax.jvp(lambda a, b: function(a, b, c), start, change)[1]

        return next_one

    found: Rate = first
    for _ in range(order - 1):
        found = along(found)
    return found


def within(
    equation: Equation, states: Float[Array, "batch time state"]
) -> Float[Array, "batch time state"]:
    """States cut to their declared ranges."""
    low = jnp.asarray([q.low for q in equation.states], states.dtype)
    high = jnp.asarray([q.high for q in equation.states], states.dtype)
    return jnp.clip(states, low[None, None], high[None, None])
