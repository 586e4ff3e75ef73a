"""Initial weights of a whole model from one random draw.

Layers declare their parameters with `parameter`, empty but for how they are to be drawn;
the model's constructor ends with ``initialize(self, key)``. Every call of a random
generator costs about 0.3 s of compiling on a CPU, so eight layers drawn one by one would
cost more than the rest of the model together.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key


def parameter(
    shape: tuple[int, ...], *, fan_in: int | tuple[int, ...]
) -> nnx.Param[Array]:
    """A parameter that `initialize` will draw from U(-1/√fan_in, 1/√fan_in).

    Args:
        shape: Its shape.
        fan_in: How many numbers are summed into one output; the hidden size for recurrent
            layers. Several for layers side by side, one for each entry of the first axis.

    Source: the initial weights of torch's linear, convolutional and recurrent layers.
    """
    if isinstance(fan_in, int):
        return nnx.Param(jnp.zeros(shape), bound=1 / math.sqrt(fan_in))
    bounds = tuple(1 / math.sqrt(fan) for fan in fan_in)
    return nnx.Param(jnp.zeros(shape), bound=bounds)


class Drawn(nnx.Variable):
    """Numbers that are drawn like a parameter, and then never trained."""


def normal_parameter(
    shape: tuple[int, ...], *, deviation: float, trained: bool = True
) -> nnx.Variable[Array]:
    """A parameter that `initialize` will draw from N(0, deviation²).

    Args:
        shape: Its shape.
        deviation: Standard deviation.
        trained: Whether it is one; else it stays as drawn.
    """
    kind = nnx.Param if trained else Drawn
    return kind(jnp.zeros(shape), bound=deviation, normal=True)


def initialize(model: nnx.Module, key: Key[Array, ""]) -> None:
    """Draw every parameter that was declared with one of these functions, from one key.

    Args:
        model: Changed in place.
        key: The only randomness.
    """
    declared = [
        variable
        for _, variable in nnx.iter_graph(model)
        if isinstance(variable, nnx.Variable) and "bound" in variable.get_metadata()
    ]
    sizes = [variable[...].size for variable in declared]
    numbers = jax.random.uniform(key, (sum(sizes),), minval=-1.0, maxval=1.0)
    start = 0
    for variable, size in zip(declared, sizes, strict=True):
        piece = numbers[start : start + size].reshape(variable[...].shape)
        if "normal" in variable.get_metadata():
            inside = jnp.finfo(piece.dtype).epsneg - 1  # the smallest number above -1
            piece = jnp.sqrt(2.0) * jax.lax.erf_inv(jnp.maximum(piece, inside))
        bound = variable.get_metadata()["bound"]
        if isinstance(bound, tuple):
            bound = jnp.asarray(bound).reshape(-1, *(1,) * (piece.ndim - 1))
        variable.set_value(piece * bound)
        start += size
