"""A prognosis that begins in a code: what was measured is read, and little of it handed on.

A family says what becomes of the numbers that the diagnosis gives (a Gaussian code, tokens);
everything around that is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from models.config import Config, static, traced
from models.data.statistics import Statistics
from models.errors import ConfigError
from models.layers.encoder import Encoder, SequenceEncoder, measured
from models.layers.handover import Handover, handover
from models.layers.linear import Linear
from models.layers.normalization import Standardize
from models.layers.rollout import Rollout
from models.layers.stack import CellName

MASK = "given.y"


@dataclass(frozen=True, kw_only=True)
class Prognosis(Config):
    """The network that is driven by u behind the known outputs.

    Attributes:
        cell: Kind of recurrent layer, of the encoder too where that is recurrent.
        hidden_size: Hidden channels of every layer.
        layers: Number of layers.
        dropout: Probability that a channel is dropped between two layers; needs at least two.
        skip: Whether inputs also reach the outputs directly, through a linear map.
    """

    cell: CellName = static("gru")
    hidden_size: int = static(32, low=1)
    layers: int = static(1, low=1)
    dropout: float = traced(0.0, low=0.0, high=0.9)
    skip: bool = static(True)

    def validate(self) -> None:
        """Refuse a dropout that would act nowhere."""
        if self.dropout and self.layers < 2:
            raise ConfigError(
                "`rollout.dropout` acts between two recurrent layers, got dropout "
                f"{self.dropout:g} with 1 layer",
                hint="set `rollout.layers` to at least 2, or the dropout to 0",
            )


class Diagnosis(NamedTuple):
    """What was read of a batch.

    Attributes:
        features: ``[B, F]``, all that the code is made of.
        u: Inputs of the whole window, standardized.
        y: Outputs as they are given, in physical units.
        handover: Where the known outputs end.
    """

    features: Float[Array, "batch feature"]
    u: Float[Array, "batch time input"]
    y: Float[Array, "batch time output"]
    handover: Handover


class CodedStart(nnx.Module):
    """Reads the known part of a window, and goes on from a code of it.

    Args:
        encoder: What reads.
        rollout: What goes on.
        features: Numbers F that the encoder gives.
        code: Numbers that the start is made of.
        statistics: Mean and standard deviation of the train part.
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        rollout: Prognosis,
        features: int,
        code: int,
        statistics: Statistics,
    ) -> None:
        self.normalize_u = Standardize.of(statistics, "u")
        self.normalize_y = Standardize.of(statistics, "y")
        inputs, outputs = self.normalize_u.channels, self.normalize_y.channels
        self.encoder = SequenceEncoder(
            config=encoder,
            cell=rollout.cell,
            inputs=inputs + outputs + 1,
            state_size=features,
            dropout_name="rollout.dropout",
        )
        self.rollout = Rollout(
            cell=rollout.cell,
            inputs=inputs,
            outputs=outputs,
            hidden_size=rollout.hidden_size,
            layers=rollout.layers,
            dropout_name="rollout.dropout",
            skip=rollout.skip,
        )
        self.widen = Linear(inputs=code, outputs=rollout.hidden_size)
        self.begin = Linear(inputs=rollout.hidden_size, outputs=self.rollout.state_size)

    def read(
        self,
        given: Mapping[str, Array],
        *,
        known: int | None,
        key: Key[Array, ""] | None = None,
    ) -> Diagnosis:
        """Read the known part of a batch; nothing behind it is looked at.

        Args:
            given: ``u`` ``[B, T, n_u]``, ``y`` ``[B, T, n_y]`` and its mask ``[B, T, 1]``.
            known: Outputs that every row knows, where that is certain before compiling.
            key: Switches dropout on.
        """
        u, y, mask = self.normalize_u(given["u"]), given["y"], given[MASK]
        where = handover(mask, known=known)
        inputs = measured(u, self.normalize_y(y), mask)
        if known is not None:
            inputs = inputs[:, :known]
        return Diagnosis(where.start(self.encoder(inputs, key=key)), u, y, where)

    def predict(
        self,
        seen: Diagnosis,
        codes: Sequence[Float[Array, "batch code"]],
        *,
        key: Key[Array, ""] | None = None,
    ) -> list[Float[Array, "batch time output"]]:
        """The outputs of the whole window in physical units, once for each kind of code.

        Up to the handover they are those that are known.

        Args:
            seen: What was read.
            codes: A code of every row; several of them are run side by side.
            key: Switches dropout on.
        """
        count = len(codes)
        widened = jnp.tanh(self.widen(jnp.stack(codes)))
        start = self.begin(widened)
        u = jnp.tile(seen.handover.behind(seen.u), (count, 1, 1))
        rolled = self.rollout(u, start.reshape(u.shape[0], -1), key=key)
        y = self.normalize_y.inverse(rolled.y)
        return [seen.handover.joined(seen.y, part) for part in jnp.split(y, count)]
