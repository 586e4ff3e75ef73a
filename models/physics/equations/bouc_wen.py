"""Bouc–Wen's hysteretic oscillator: force to displacement.

Source: Noël and Schoukens, "Hysteretic benchmark with a dynamic nonlinearity", 2016,
equations 1 to 4, and the values of its table 1.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.physics.equation import Coefficient, Equation, Quantity, Values


def derivative(
    state: Float[Array, " state"], inputs: Float[Array, " input"], c: Values
) -> Float[Array, " state"]:
    """``mass y'' + damping y' + stiffness y + z = force`` with a force z that remembers.

    ``z' = alpha y' - beta (gamma |y'| z + delta y' |z|)`` (an exponent ν of 1).
    """
    y, v, z = state
    push = inputs[0] - c["damping"] * v - c["stiffness"] * y - z
    loop = c["gamma"] * jnp.abs(v) * z + c["delta"] * v * jnp.abs(z)
    return jnp.stack([v, push / c["mass"], c["alpha"] * v - c["beta"] * loop])


EQUATION = Equation(
    states=(
        Quantity(name="displacement", unit="m"),
        Quantity(name="velocity", unit="m/s"),
        Quantity(name="hysteretic", unit="N"),
    ),
    inputs=(Quantity(name="force", unit="N"),),
    outputs=(Quantity(name="displacement", unit="m"),),
    coefficients={
        "mass": Coefficient(value=2.0, unit="kg"),
        "damping": Coefficient(
            value=10.0, unit="N s/m", low=1.0, high=100.0, trained=True
        ),
        "stiffness": Coefficient(
            value=5e4, unit="N/m", low=1e4, high=5e5, trained=True
        ),
        "alpha": Coefficient(value=5e4, unit="N/m", low=1e3, high=5e5, trained=True),
        "beta": Coefficient(value=1e3, unit="1/m", low=10.0, high=1e4, trained=True),
        # β, γ and δ appear in two products only.
        "gamma": Coefficient(value=0.8),
        "delta": Coefficient(value=-1.1, low=-5.0, high=5.0, trained=True),
    },
    derivative=derivative,
)
