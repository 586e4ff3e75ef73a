"""A diagnosis: the state of a prognosis, from inputs and outputs that were measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from models.config import Config, static
from models.layers.convolution import ConvolutionStack
from models.layers.linear import Linear
from models.layers.stack import CellName, RecurrentStack

_TAPS = 3


@dataclass(frozen=True, kw_only=True)
class Encoder(Config):
    """What reads the known part of a window.

    Attributes:
        kind: Recurrent layers (``rnn``), or causal convolutions (``tcn``).
        hidden_size: Channels of every layer.
        layers: Recurrent layers of an ``rnn``.
        depth: Convolutions of a ``tcn``, of 3 taps each; every one doubles the dilation of
            the one before.
    """

    kind: str = static("rnn", choices=("rnn", "tcn"))
    hidden_size: int = static(32, low=1)
    layers: int = static(1, low=1)
    depth: int = static(5, low=1, high=24)

    @property
    def drops(self) -> bool:
        """Whether there are layers between which dropout acts."""
        return self.kind == "tcn" or self.layers > 1


class SequenceEncoder(nnx.Module):
    """From the measured samples up to each one to a flat state of a `Rollout`; causal.

    Args:
        config: Its layers.
        cell: Kind of the recurrent layers.
        inputs: Channels of what it reads, such as those of `measured`.
        state_size: Numbers of a flat state.
        dropout_name: Configuration key that the dropout rate follows.
    """

    def __init__(
        self,
        *,
        config: Encoder,
        cell: CellName,
        inputs: int,
        state_size: int,
        dropout_name: str,
    ) -> None:
        self.layers: RecurrentStack | ConvolutionStack
        if config.kind == "rnn":
            self.layers = RecurrentStack(
                cell=cell,
                inputs=inputs,
                hidden_size=config.hidden_size,
                layers=config.layers,
                dropout_name=dropout_name,
            )
        else:
            self.layers = ConvolutionStack(
                inputs=inputs,
                channels=config.hidden_size,
                depth=config.depth,
                kernel=_TAPS,
                activation="tanh",
                weight_norm=False,
                dropout_name=dropout_name,
            )
        self.head = Linear(inputs=config.hidden_size, outputs=state_size)

    def __call__(
        self,
        inputs: Float[Array, "batch time channel"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch time state"]:
        """The flat state at every sample; a key switches dropout on."""
        if isinstance(self.layers, RecurrentStack):
            return self.head(self.layers(inputs, key=key)[0])
        return self.head(self.layers(inputs, key=key))

    def initial_state(self, batch_size: int) -> Any:
        """What it remembers before anything was seen."""
        return self.layers.initial_state(batch_size)

    def advance(
        self, inputs: Float[Array, "batch time channel"], state: Any
    ) -> tuple[Float[Array, "batch time state"], Any]:
        """As a call without dropout, from what it remembers; and what it does after."""
        found, state = self.layers.advance(inputs, state)
        return self.head(found), state


def measured(
    u: Float[Array, "batch time input"],
    y: Float[Array, "batch time output"],
    mask: Bool[Array, "batch time 1"],
) -> Float[Array, "batch time channel"]:
    """What an encoder reads: ``[u, y·known, known]``.

    Args:
        u: Inputs, standardized.
        y: Outputs, standardized; whatever they hold where they are not known.
        mask: Which are known.
    """
    shown = jnp.where(mask, y, jnp.zeros_like(y))
    return jnp.concatenate([u, shown, mask.astype(u.dtype)], axis=-1)
