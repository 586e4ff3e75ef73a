"""Cascaded tanks as the rig of the benchmark needs them: losses, free exponents, soft brims.

What the stated equations (`cascaded_tanks`) leave out and the record asks for: outflows that
do not follow a root exactly, and water that leaves a full tank the faster the higher it
stands, instead of a level that stops. The upper level has no sensor, so its unit is free: its
brim is 10. A record begins in the steady state whose lower level is `begin`: both records of
the benchmark share their first state, and the first one stands still at 5.2 V.

Source: after Schoukens, Mattsson, Wigren and Noël, "Cascaded tanks benchmark combining soft
and hard nonlinearities", 2016; Rogers, Holmes, Cross and Worden, "On a grey box modelling
framework for nonlinear system identification", 2017, for the linear losses.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.physics.equation import Coefficient, Equation, Quantity, Values

BRIM = 10.0


def derivative(
    state: Float[Array, " state"], inputs: Float[Array, " input"], c: Values
) -> Float[Array, " state"]:
    """Change of both levels per second for a pump voltage.

    ``upper' = pump u - outflow₁ upper^e₁ - spill`` and ``lower' = ratio · outflow₁ upper^e₁ +
    caught · spill - outflow₂ lower^e₂ - loss``.
    """
    upper, lower = state
    flow = c["upper_outflow"] * power(upper, c["upper_exponent"])
    spill = c["upper_spill"] * jnp.maximum(upper - BRIM, 0.0)
    loss = c["lower_spill"] * jnp.maximum(lower - c["brim"], 0.0)
    out = c["lower_outflow"] * power(lower, c["lower_exponent"])
    fill = c["ratio"] * flow + c["caught"] * spill
    return jnp.stack([c["pump"] * inputs[0] - flow - spill, fill - out - loss])


def measured(
    state: Float[Array, " state"], inputs: Float[Array, " input"], c: Values
) -> Float[Array, " output"]:
    """The lower level in V; the sensor ends at 10 V."""
    return jnp.minimum(state[1:], 10.0)


def start(inputs: Float[Array, " input"], c: Values) -> Float[Array, " state"]:
    """At rest with the lower level at `begin`: what flows in flows out."""
    out = c["lower_outflow"] * power(c["begin"], c["lower_exponent"])
    flow = out / (c["ratio"] * c["upper_outflow"])
    upper = power(flow, 1.0 / c["upper_exponent"])
    return jnp.stack([jnp.clip(upper, 0.0, BRIM), c["begin"]])


def power(values: Array, exponent: Array) -> Array:
    """``values`` to a power, 0 with a slope of 0 where there is none."""
    least = 1e-3
    safe = jnp.maximum(values, least)
    return jnp.where(values > least, safe**exponent, jnp.zeros_like(safe))


def _between(value: float, low: float, high: float, unit: str = "") -> Coefficient:
    return Coefficient(value=value, unit=unit, low=low, high=high, trained=True)


EQUATION = Equation(
    states=(
        Quantity(name="upper", low=0.0, high=20.0),
        Quantity(name="lower", unit="V", low=0.0, high=20.0),
    ),
    inputs=(Quantity(name="pump", unit="V"),),
    outputs=(Quantity(name="lower", unit="V"),),
    coefficients={
        "pump": _between(0.04, 0.005, 0.15, "1/(V s)"),
        "upper_outflow": _between(0.05, 0.001, 0.2),
        "lower_outflow": _between(0.05, 0.01, 0.2),
        "upper_exponent": _between(0.5, 0.25, 1.0),
        "lower_exponent": _between(0.5, 0.25, 1.0),
        "ratio": _between(1.0, 0.2, 5.0, "V"),
        "caught": _between(0.5, 0.05, 5.0, "V"),
        "upper_spill": _between(0.1, 0.01, 1.0, "1/s"),
        "lower_spill": _between(0.1, 0.01, 1.0, "1/s"),
        "brim": _between(10.0, 9.0, 12.0, "V"),
        "begin": Coefficient(value=5.2, unit="V"),
    },
    derivative=derivative,
    measured=measured,
    start=start,
)
