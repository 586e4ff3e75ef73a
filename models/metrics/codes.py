"""How many numbers of a code tell rows apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.metrics.accumulators import (
    Mean,
    Moments,
    add,
    empty_mean,
    empty_moments,
    merge,
    moments,
)

ACTIVE = 0.01
"""Variance of a latent's mean over rows above which it is active: a deviation above 0.1."""
INFORMED = 0.01
"""Nats of a latent, in the mean over rows, above which it tells something."""


class ActiveUnits:
    """Latents whose posterior mean ``outputs["code"]["mean"]`` ``[B, L]`` varies over rows.

    Source: Burda et al. 2016, "Importance weighted autoencoders", section 5.2: the variance
    over the data of the posterior mean is above 0.01.
    """

    name = "active_units"

    def init(self, outputs: Mapping[str, Any], batch: Mapping[str, Array]) -> Moments:
        """The empty accumulator."""
        mean = outputs["code"]["mean"]
        return empty_moments(mean.shape[-1], mean.dtype)

    def update(
        self, state: Moments, outputs: Mapping[str, Any], batch: Mapping[str, Array]
    ) -> Moments:
        """Add the rows of one batch."""
        return merge(state, moments(outputs["code"]["mean"]))

    def finish(self, state: Moments) -> Float[Array, ""]:
        """How many are active."""
        count = jnp.maximum(state.count, 1).astype(state.deviation.dtype)
        active = state.deviation / count > ACTIVE
        return jnp.sum(active, dtype=jnp.int32).astype(state.deviation.dtype)


class InformedUnits:
    """Latents whose mean divergence from N(0, 1) over rows is above 0.01 nats.

    The criterion of the LSTM-VAE that this family follows, beside `ActiveUnits`.

    Args:
        divergence: Outputs → nats ``[B, L]``.
    """

    name = "informed_units"

    def __init__(self, divergence: Callable[[Mapping[str, Any]], Array]) -> None:
        self.divergence = divergence

    def init(self, outputs: Mapping[str, Any], batch: Mapping[str, Array]) -> Mean:
        """The empty accumulator."""
        nats = self.divergence(outputs)
        return empty_mean(nats.shape[-1], nats.dtype)

    def update(
        self, state: Mean, outputs: Mapping[str, Any], batch: Mapping[str, Array]
    ) -> Mean:
        """Add the rows of one batch."""
        return add(state, self.divergence(outputs))

    def finish(self, state: Mean) -> Float[Array, ""]:
        """How many tell something."""
        informed = state.value > INFORMED
        return jnp.sum(informed, dtype=jnp.int32).astype(state.total.dtype)
