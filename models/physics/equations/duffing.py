"""Duffing's oscillator: a mass on a spring that hardens, force to displacement."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.physics.equation import Coefficient, Equation, Quantity, Values


def derivative(
    state: Float[Array, " state"], inputs: Float[Array, " input"], c: Values
) -> Float[Array, " state"]:
    """``mass y'' + damping y' + stiffness y + cubic y³ = force``."""
    y, v = state
    spring = c["stiffness"] * y + c["cubic"] * y**3
    return jnp.stack([v, (inputs[0] - c["damping"] * v - spring) / c["mass"]])


EQUATION = Equation(
    states=(
        Quantity(name="displacement", unit="m"),
        Quantity(name="velocity", unit="m/s"),
    ),
    inputs=(Quantity(name="force", unit="N"),),
    outputs=(Quantity(name="displacement", unit="m"),),
    coefficients={
        "mass": Coefficient(value=1.0, unit="kg"),
        "damping": Coefficient(
            value=0.8, unit="N s/m", low=0.01, high=100.0, trained=True
        ),
        "stiffness": Coefficient(
            value=40.0, unit="N/m", low=0.1, high=1e4, trained=True
        ),
        "cubic": Coefficient(value=400.0, unit="N/m³", low=1.0, high=1e5, trained=True),
    },
    derivative=derivative,
)
