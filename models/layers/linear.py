"""A linear map over the channels of a sequence."""

from __future__ import annotations

from flax import nnx
from jaxtyping import Array, Float

from models.layers.initialization import parameter


class Linear(nnx.Module):
    """``y = x W + b`` at every time step.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        bias: Whether to add a bias.
    """

    def __init__(self, *, inputs: int, outputs: int, bias: bool = True) -> None:
        self.weight = parameter((inputs, outputs), fan_in=inputs)
        self.bias = parameter((outputs,), fan_in=inputs) if bias else None

    def __call__(self, inputs: Float[Array, "batch time channel"]) -> Array:
        """Map ``[B, T, I]`` to ``[B, T, O]``."""
        outputs = inputs @ self.weight[...]
        if self.bias is None:
            return outputs
        return outputs + self.bias[...][None, None]
