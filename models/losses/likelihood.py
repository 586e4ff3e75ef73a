"""The negative log likelihood of errors under a Gaussian, in nats a value."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

_CONSTANT = math.log(2.0 * math.pi)


def gaussian_nll(
    squared: Float[Array, "*shape"], variance: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``½ (log 2πv + e²/v)`` of squared errors ``e²`` and variances ``v``; may broadcast.

    It is linear in the squared error, so that a mean of it is that of a mean.
    """
    return 0.5 * (_CONSTANT + jnp.log(variance) + squared / variance)


def optimal_nll(mean_squared: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`gaussian_nll` under the variance that suits the errors best: their mean square.

    Source: Rybkin et al. 2021, "Simple and effective VAE training with calibrated decoders"
    (optimal σ-VAE), equation 6.
    """
    tiny = jnp.finfo(mean_squared.dtype).tiny
    return 0.5 * (_CONSTANT + 1.0 + jnp.log(jnp.maximum(mean_squared, tiny)))
