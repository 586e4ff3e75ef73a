"""Layers of several groups side by side, in one program: arrays are ``[group, batch, number]``.

Groups of fewer numbers than the largest are padded with zeros, whose weights no gradient reaches.
The group comes first, so that a product of all groups is one product of matrices after another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.layers.initialization import parameter
from models.layers.layer_normalization import normalized

Grouped = Float[Array, "group batch number"]
Activation = Literal["relu", "gelu", "tanh"]

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "gelu": lambda values: jax.nn.gelu(values, approximate=False),
    "tanh": jnp.tanh,
}


class GroupedLinear(nnx.Module):
    """``y = x W + b`` with weights of every group's own.

    Args:
        inputs: Numbers that each group really has; the largest is the width of the input.
        outputs: Of every group.
        bias: Whether to add one.
    """

    def __init__(
        self, *, inputs: tuple[int, ...], outputs: int, bias: bool = True
    ) -> None:
        groups = len(inputs)
        self.weight = parameter((groups, max(inputs), outputs), fan_in=inputs)
        self.bias = parameter((groups, outputs), fan_in=inputs) if bias else None

    def __call__(self, inputs: Grouped) -> Grouped:
        """Map ``[G, B, I]`` to ``[G, B, O]``."""
        outputs = jnp.einsum("gbi,gio->gbo", inputs, self.weight[...])
        return outputs if self.bias is None else outputs + self.bias[...][:, None]


class GroupedLayerNorm(nnx.Module):
    """Every row of every group to mean 0 and variance 1, then a trained scale and shift.

    Args:
        groups: Groups.
        size: Numbers of each.

    Source: Ba, Kiros and Hinton 2016, "Layer normalization"; ε as in torch.
    """

    def __init__(self, *, groups: int, size: int) -> None:
        self.scale = nnx.Param(jnp.ones((groups, size)))
        self.shift = nnx.Param(jnp.zeros((groups, size)))

    def __call__(self, inputs: Grouped) -> Grouped:
        """``[G, B, D]`` both."""
        scaled = normalized(inputs) * self.scale[...][:, None]
        return scaled + self.shift[...][:, None]
