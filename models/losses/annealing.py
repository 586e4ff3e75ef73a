"""Weights that rise over training, as functions of the fraction of the horizon."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

Number = Float[Array, ""]


def warm_up(fraction: Number, *, ramp: Number) -> Number:
    """From 0 to 1 over the first `ramp` of the horizon, then 1.

    Source: Bowman et al. 2016, "Generating sentences from a continuous space", section 3.1.
    """
    return jnp.minimum(fraction / ramp, 1.0)


def cyclical(fraction: Number, *, ramp: Number, cycles: Number) -> Number:
    """In each of equal cycles from 0 to 1 over the first `ramp` of it, then 1.

    Source: Fu et al. 2019, "Cyclical annealing schedule: a simple approach to mitigating KL
    vanishing", equation 6.
    """
    return warm_up(jnp.mod(fraction * cycles, 1.0), ramp=ramp)
