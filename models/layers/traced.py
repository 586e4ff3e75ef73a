"""Hyperparameters that live in a model as arrays, so that changing them compiles nothing.

A layer declares ``self.rate = Traced(0.0, name="model.dropout")``. After the model is built
the training engine writes the trial's value into every `Traced` variable by its name; the
value then travels in the training state like any other array and can differ between lanes.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class Traced(nnx.Variable):
    """A traced hyperparameter inside a model: no parameter, never differentiated.

    Args:
        value: The value until the engine sets the trial's own.
        name: The dotted configuration key it follows, such as ``model.dropout``.
    """

    def __init__(self, value: float | Float[Array, ""], *, name: str) -> None:
        super().__init__(jnp.asarray(value, jnp.zeros(()).dtype), name=name)
