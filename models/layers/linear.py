"""A linear map over the channels of a sequence."""

from __future__ import annotations

import math

import jax
from flax import nnx
from jaxtyping import Array, Float, Key


def uniform(key: Key[Array, ""], shape: tuple[int, ...], fan_in: int) -> Array:
    """Draw from U(-1/√fan_in, 1/√fan_in), torch's start for linear and recurrent layers.

    Args:
        key: Randomness of this draw.
        shape: Shape of the result.
        fan_in: How many numbers are summed into one output.
    """
    bound = 1 / math.sqrt(fan_in)
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


class Linear(nnx.Module):
    """``y = x W + b`` at every time step.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        key: Randomness of the initial weights.
        bias: Whether to add a bias.
    """

    def __init__(
        self, *, inputs: int, outputs: int, key: Key[Array, ""], bias: bool = True
    ) -> None:
        weight_key, bias_key = jax.random.split(key)
        self.weight = nnx.Param(uniform(weight_key, (inputs, outputs), inputs))
        self.bias = nnx.Param(uniform(bias_key, (outputs,), inputs)) if bias else None

    def __call__(self, inputs: Float[Array, "batch time channel"]) -> Array:
        """Map ``[B, T, I]`` to ``[B, T, O]``."""
        outputs = inputs @ self.weight[...]
        if self.bias is None:
            return outputs
        return outputs + self.bias[...][None, None]
