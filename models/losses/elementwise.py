"""Elementwise errors of a prediction; nothing here broadcasts and nothing is averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def require_same_shape(prediction: Array, target: Array) -> None:
    """Refuse to compare arrays that would broadcast.

    ``[B, T]`` against ``[B, T, 1]`` silently gives ``[B, T, T]`` errors otherwise.

    Raises:
        ValueError: The shapes differ; both are named.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            "prediction and target must have the same shape, got "
            f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        )


def only(
    mask: Bool[Array, "*shape"],
    prediction: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Both arrays with zeros where the mask is false, so that no error is left there.

    Masking the error instead would let a NaN of a hidden target into the gradient.

    Raises:
        ValueError: The shapes differ.
    """
    require_same_shape(prediction, target)
    zero = jnp.zeros_like(target)
    return jnp.where(mask, prediction, zero), jnp.where(mask, target, zero)


def squared_error(
    prediction: Float[Array, "*shape"], target: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``(prediction - target)²``, in squared units of the target.

    Raises:
        ValueError: The shapes differ.
    """
    require_same_shape(prediction, target)
    return jnp.square(prediction - target)


def absolute_error(
    prediction: Float[Array, "*shape"], target: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``|prediction - target|``, in units of the target.

    Raises:
        ValueError: The shapes differ.
    """
    require_same_shape(prediction, target)
    return jnp.abs(prediction - target)


def huber_error(
    prediction: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    *,
    delta: float = 1.0,
) -> Float[Array, "*shape"]:
    """Half the squared error up to `delta`, linear beyond it.

    Raises:
        ValueError: The shapes differ.

    Source: Huber 1964, "Robust estimation of a location parameter".
    """
    require_same_shape(prediction, target)
    size = jnp.abs(prediction - target)
    quadratic = jnp.minimum(size, delta)
    # Written with the capped size so that the gradient is finite everywhere.
    return 0.5 * jnp.square(quadratic) + delta * (size - quadratic)


ErrorKind = Literal["mse", "mae", "huber"]
"""Names of the errors that a configuration may ask for."""
ERRORS: dict[ErrorKind, Callable[..., Array]] = {
    "mse": squared_error,
    "mae": absolute_error,
    "huber": huber_error,
}
"""By that name; a mean of them is the loss."""
