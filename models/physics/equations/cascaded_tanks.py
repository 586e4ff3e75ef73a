"""Two tanks, one above the other, with overflow: pump voltage to the lower level.

Source: Schoukens, Mattsson, Wigren and Noël, "Cascaded tanks benchmark combining soft and
hard nonlinearities", 2016, equations 1 to 3 (the spill is written as what exceeds the
outflow, which keeps the inflow continuous). Levels are in cm, the sensor gives 1 V per cm.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.physics.equation import Coefficient, Equation, Quantity, Values, root


def derivative(
    state: Float[Array, " state"], inputs: Float[Array, " input"], c: Values
) -> Float[Array, " state"]:
    """Change of both levels in cm/s for a pump voltage.

    ``upper' = pump u - outflow₁ √upper`` and ``lower' = outflow₁ √upper - outflow₂ √lower +
    caught · spill`` while a level is below the brim; at the brim it does not rise and
    ``spill`` is what flows in beyond what flows out.
    """
    upper, lower = jnp.clip(state, 0.0, c["brim"])
    flow = c["upper_outflow"] * root(upper)
    rise = c["pump"] * inputs[0] - flow
    spill = jnp.where(state[0] >= c["brim"], jnp.maximum(rise, 0.0), 0.0)
    fill = flow + c["caught"] * spill - c["lower_outflow"] * root(lower)
    full = state[1] >= c["brim"]
    return jnp.stack([rise - spill, jnp.where(full, jnp.minimum(fill, 0.0), fill)])


def measured(
    state: Float[Array, " state"], inputs: Float[Array, " input"], c: Values
) -> Float[Array, " output"]:
    """The level of the lower tank, which is never above the brim."""
    return jnp.clip(state[1:], 0.0, c["brim"])


def _outflow(value: float) -> Coefficient:
    return Coefficient(value=value, unit="√cm/s", low=0.01, high=0.2, trained=True)


EQUATION = Equation(
    states=(
        Quantity(name="upper", unit="cm", low=0.0, high=10.0),
        Quantity(name="lower", unit="cm", low=0.0, high=10.0),
    ),
    inputs=(Quantity(name="pump", unit="V"),),
    outputs=(Quantity(name="lower", unit="V"),),
    coefficients={
        "pump": Coefficient(
            value=0.04, unit="cm/(V s)", low=0.01, high=0.2, trained=True
        ),
        "upper_outflow": _outflow(0.05),
        "lower_outflow": _outflow(0.05),
        "caught": Coefficient(value=0.4, low=0.01, high=0.99, trained=True),
        "brim": Coefficient(value=10.0, unit="cm", low=8.0, high=12.0, trained=True),
    },
    derivative=derivative,
    measured=measured,
)
