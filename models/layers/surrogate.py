"""A network for the state at any time within one sampling interval."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from models.layers.linear import Linear
from models.layers.normalization import Statistic

States = Float[Array, "batch time state"]
Inputs = Float[Array, "batch time input"]


class Surrogate(nnx.Module):
    """The state within one interval; states and inputs standardized.

    Args:
        states: State channels S.
        inputs: Input channels U.
        hidden_size: Channels of every hidden layer.
        layers: Hidden layers.
        reach: How far states typically get within an interval, ``[S]``.
    """

    def __init__(
        self,
        *,
        states: int,
        inputs: int,
        hidden_size: int,
        layers: int,
        reach: np.ndarray,
    ) -> None:
        self.reach = Statistic(jnp.asarray(reach, jnp.zeros(()).dtype))
        widths = [states + 2 * inputs + 1, *[hidden_size] * layers]
        self.hidden = nnx.List(
            Linear(inputs=a, outputs=b)
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.head = Linear(inputs=hidden_size, outputs=states)

    def __call__(
        self,
        state: States,
        left: Inputs,
        right: Inputs,
        share: Float[Array, "batch time 1"],
    ) -> States:
        """The state after a share of the interval, from 0 to 1.

        Args:
            state: At its beginning.
            left: The inputs at its beginning.
            right: The inputs at its end.
            share: Of the interval.
        """
        values = jnp.concatenate([state, left, right, share], axis=-1)
        for layer in self.hidden:
            values = jnp.tanh(layer(values))
        return state + share * self.reach[...][None, None] * self.head(values)

    def moving(
        self,
        state: States,
        left: Inputs,
        right: Inputs,
        share: Float[Array, "batch time 1"],
    ) -> tuple[States, States]:
        """The state after a share of the interval, and its exact derivative by the share."""
        return jax.jvp(
            lambda s: self(state, left, right, s), (share,), (jnp.ones_like(share),)
        )

    def rollout(self, start: Float[Array, "batch state"], u: Inputs) -> States:
        """The states at every sample, from `start` at the first, ``[B, T, S]``."""
        inputs = jnp.swapaxes(u, 0, 1)[:, :, None]
        whole = jnp.ones((*inputs.shape[1:3], 1), u.dtype)

        def advance(state: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            after = self(state, *ends, whole)
            return after, after[:, 0]

        _, later = jax.lax.scan(advance, start[:, None], (inputs[:-1], inputs[1:]))
        return jnp.concatenate([start[:, None], jnp.swapaxes(later, 0, 1)], axis=1)
