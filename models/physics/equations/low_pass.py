"""A linear low-pass of second order, by its gain, its frequency and its damping."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.physics.equation import Coefficient, Equation, Quantity, Values


def derivative(
    state: Float[Array, " state"], inputs: Float[Array, " input"], c: Values
) -> Float[Array, " state"]:
    """``y'' + 2 damping frequency y' + frequency² y = frequency² (gain u + offset)``.

    The second state is ``y'`` over the frequency, so that both are of one size.
    """
    y, v = state
    push = c["gain"] * inputs[0] + c["offset"] - y - 2.0 * c["damping"] * v
    return c["frequency"] * jnp.stack([v, push])


EQUATION = Equation(
    states=(Quantity(name="output"), Quantity(name="rate")),
    inputs=(Quantity(name="input"),),
    outputs=(Quantity(name="output"),),
    coefficients={
        "gain": Coefficient(value=0.5, low=0.01, high=100.0, trained=True),
        "offset": Coefficient(value=0.0, low=-10.0, high=10.0, trained=True),
        "frequency": Coefficient(
            value=50.0, unit="1/s", low=1.0, high=1e3, trained=True
        ),
        "damping": Coefficient(value=1.0, low=0.01, high=10.0, trained=True),
    },
    derivative=derivative,
)
