"""Gradients through a choice of codes, which has none of its own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Vectors = Float[Array, "*shape code"]


def straight_through(latents: Vectors, codes: Vectors) -> Vectors:
    """The codes, with the gradient of the latents.

    Source: Bengio, Léonard and Courville 2013, "Estimating or propagating gradients through
    stochastic neurons for conditional computation".
    """
    return latents + jax.lax.stop_gradient(codes - latents)


def rotated(latents: Vectors, codes: Vectors) -> Vectors:
    """The codes, as the latents turned and stretched onto them by a constant map.

    A gradient is turned back by the same angle: latents in different corners of a code's
    cell are told different things. With ``λ = |q|/|e|``, ``r = (ê + q̂)/|ê + q̂|`` the map is
    ``λ (I - 2 r rᵀ + 2 q̂ êᵀ)``, all of it held constant. It is no rotation where a code lies
    opposite its latent, which a code of one number often does.

    Source: Fifty et al. 2024, "Restructuring vector quantization with the rotation trick",
    equation 4.
    """
    fixed, wanted = map(jax.lax.stop_gradient, (latents, codes))
    length, reach = _length(fixed), _length(wanted)
    ahead, aim = fixed / length, wanted / reach
    between = ahead + aim
    between = between / _length(between)
    turned = (
        latents
        - 2.0 * between * _product(latents, between)
        + 2.0 * aim * _product(latents, ahead)
    )
    turned = turned * (reach / length)
    # Forward exactly the code, whatever the products above round to.
    return turned + jax.lax.stop_gradient(wanted - turned)


def _product(first: Vectors, second: Vectors) -> Float[Array, "*shape 1"]:
    return jnp.sum(first * second, axis=-1, keepdims=True)


def _length(vectors: Vectors) -> Float[Array, "*shape 1"]:
    """Euclidean length, kept from zero."""
    tiny = jnp.asarray(1e-12, vectors.dtype)
    return jnp.sqrt(jnp.maximum(_product(vectors, vectors), tiny))
