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
from jaxtyping import Array, Float, Key

from models.layers.initialization import parameter

Grouped = Float[Array, "group batch number"]
Activation = Literal["relu", "gelu", "tanh"]

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "gelu": lambda values: jax.nn.gelu(values, approximate=False),
    "tanh": jnp.tanh,
}
_EPSILON = 1e-5


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
        centred = inputs - jnp.mean(inputs, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        scaled = centred * jax.lax.rsqrt(variance + _EPSILON)
        return scaled * self.scale[...][:, None] + self.shift[...][:, None]


def grouped_dropout(
    inputs: Grouped, rate: Float[Array, ""], key: Key[Array, ""] | None
) -> Grouped:
    """Drop single numbers; a rate of 0 changes nothing.

    Args:
        inputs: ``[G, B, D]``.
        rate: Probability in ``[0, 1)``; may be traced.
        key: Randomness, or None to leave the input as it is (evaluation).

    Source: Srivastava et al. 2014, "Dropout".
    """
    if key is None:
        return inputs
    kept = jax.random.uniform(key, inputs.shape, rate.dtype) >= rate
    return jnp.where(kept, inputs / (1 - rate), jnp.zeros_like(inputs))
