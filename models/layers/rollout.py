"""A prognosis: from a start state, driven by inputs, to outputs.

What families that hold a start differ in is how they come to the state in which a prediction
begins (an encoder, an equation, a code); what goes on from there is the same for all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from models.layers.linear import Linear
from models.layers.stack import CellName, RecurrentStack


class Rolled(NamedTuple):
    """What a rollout gives.

    Attributes:
        y: Outputs ``[B, T, Y]``, standardized.
        hidden: Hidden states of every layer side by side, ``[B, T, L·H]``; an LSTM's cell
            states are no part of it.
        final: The flat state behind the last sample, ``[B, S]``.
    """

    y: Float[Array, "batch time output"]
    hidden: Float[Array, "batch time hidden"]
    final: Float[Array, "batch state"]


class Rollout(nnx.Module):
    """Recurrent layers that begin in a given state, and a linear head.

    A *flat* state is one vector: of every layer the hidden state, for an LSTM with the cell
    state behind it.

    Args:
        cell: ``gru``, ``lstm`` or ``plain``.
        inputs: Input channels.
        outputs: Output channels.
        hidden_size: Hidden channels H of every layer.
        layers: Number of layers L.
        dropout_name: Configuration key that the dropout rate between layers follows.
        skip: Whether the inputs also reach the outputs directly, through a linear map.
    """

    def __init__(
        self,
        *,
        cell: CellName,
        inputs: int,
        outputs: int,
        hidden_size: int,
        layers: int,
        dropout_name: str,
        skip: bool = False,
    ) -> None:
        self.hidden_size = hidden_size
        self.depth = layers
        self.parts = 2 if cell == "lstm" else 1
        self.recurrent = RecurrentStack(
            cell=cell,
            inputs=inputs,
            hidden_size=hidden_size,
            layers=layers,
            dropout_name=dropout_name,
        )
        self.head = Linear(inputs=hidden_size, outputs=outputs)
        self.skip = Linear(inputs=inputs, outputs=outputs, bias=False) if skip else None

    @property
    def state_size(self) -> int:
        """Numbers of a flat state."""
        return self.depth * self.parts * self.hidden_size

    def states(self, flat: Float[Array, "batch state"]) -> tuple[Any, ...]:
        """A flat state as the states of a `RecurrentStack`, one per layer."""
        pieces = jnp.split(flat, self.depth * self.parts, axis=-1)
        if self.parts == 1:
            return tuple(pieces)
        return tuple(zip(pieces[::2], pieces[1::2], strict=True))

    def flatten(self, state: tuple[Any, ...]) -> Float[Array, "batch state"]:
        """The inverse of `states`."""
        pieces = [state] if self.parts == 1 else state
        return jnp.concatenate([part for layer in pieces for part in layer], axis=-1)

    def hidden(
        self, flat: Float[Array, "batch time state"]
    ) -> Float[Array, "batch time hidden"]:
        """The part of flat states that `Rolled.hidden` has too."""
        if self.parts == 1:
            return flat
        return jnp.concatenate(
            jnp.split(flat, self.depth * self.parts, axis=-1)[::2], axis=-1
        )

    def read(
        self,
        hidden: Float[Array, "batch time hidden"],
        u: Float[Array, "batch time input"],
    ) -> Float[Array, "batch time output"]:
        """The outputs that belong to hidden states (of every layer) and inputs."""
        outputs = self.head(hidden[..., -self.hidden_size :])
        return outputs if self.skip is None else outputs + self.skip(u)

    def __call__(
        self,
        u: Float[Array, "batch time input"],
        start: Float[Array, "batch state"] | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Rolled:
        """Run over ``[B, T, I]``.

        Args:
            u: Inputs, standardized.
            start: The flat state before the first sample; None is rest.
            key: Switches dropout on.
        """
        before = None if start is None else self.states(start)
        found, after = self.recurrent.every_layer(u, before, key=key)
        hidden = jnp.concatenate(found, axis=-1)
        return Rolled(self.read(hidden, u), hidden, self.flatten(after))

    def one_step(
        self,
        u: Float[Array, "batch time input"],
        flat: Float[Array, "batch time state"],
    ) -> Rolled:
        """One step from every one of many states, each with the input of its own sample.

        Args:
            u: Inputs at the samples *after* the states.
            flat: A flat state for each.

        Returns:
            Outputs, hidden states and flat states ``[B, T, …]`` one sample later.
        """
        batch, length = u.shape[:2]
        found = self(u.reshape(batch * length, 1, -1), flat.reshape(batch * length, -1))
        return Rolled(
            found.y.reshape(batch, length, -1),
            found.hidden.reshape(batch, length, -1),
            found.final.reshape(batch, length, -1),
        )

    def follow(
        self,
        u: Float[Array, "batch time input"],
        diagnosed: Float[Array, "batch time state"],
        mask: Bool[Array, "batch time 1"],
        flat: Float[Array, "batch state"],
    ) -> Float[Array, "batch time state"]:
        """Flat states of a prognosis that takes over a diagnosed state wherever it may.

        Args:
            u: Inputs, standardized.
            diagnosed: A flat state for every sample.
            mask: The samples at which it is taken over.
            flat: The state before the first sample.
        """

        def step(flat: Array, item: tuple[Array, ...]) -> tuple[Array, Array]:
            u, diagnosed, mask = item
            _, after = self.recurrent.step(u, self.states(flat))
            flat = jnp.where(mask, diagnosed, self.flatten(after))
            return flat, flat

        items = tuple(jnp.swapaxes(a, 0, 1) for a in (u, diagnosed, mask))
        return jnp.swapaxes(jax.lax.scan(step, flat, items)[1], 0, 1)
