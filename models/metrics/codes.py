"""How many numbers of a code tell rows apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.metrics.accumulators import Moments, empty_moments, merge, moments

ACTIVE = 0.01
"""Variance of a latent's mean over rows above which it is active."""


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
