"""How far a Gaussian code is from N(0, 1), in nats, and what of that a loss counts."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

FreeForm = Literal["mean", "each"]


def gaussian_divergence(
    mean: Float[Array, "*shape"], log_variance: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``KL(N(μ, σ²) ‖ N(0, 1)) = ½ (μ² + σ² - 1 - log σ²)`` of every number, in nats.

    Source: Kingma and Welling 2014, "Auto-encoding variational Bayes", appendix B.
    """
    return 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1.0 - log_variance)


def counted(
    divergence: Float[Array, "row latent"],
    *,
    free: Float[Array, ""] | float,
    form: FreeForm,
) -> Float[Array, ""]:
    """The part of a batch's divergence that a loss counts, summed over the latents.

    Args:
        divergence: Of every row and latent, in nats.
        free: Nats per latent that cost nothing.
        form: ``mean``: ``Σ_j max(free, mean over the rows)``; ``each``: the mean over the rows
            of ``Σ_j relu(divergence - free)``. Both are the mean sum where nothing is free.

    Source: Kingma et al. 2016, "Improved variational inference with inverse autoregressive
    flow", equation 15, for the first.
    """
    if form == "mean":
        return jnp.sum(jnp.maximum(jnp.mean(divergence, axis=0), free))
    return jnp.mean(jnp.sum(jnp.maximum(divergence - free, 0.0), axis=1))
