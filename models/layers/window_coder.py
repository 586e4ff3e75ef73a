"""Whole windows to the features of a code, and a code to whole windows again.

A family says what becomes of the features (a Gaussian code, tokens); everything around that is
here. Windows come with gaps: what reads them is given zeros there, and a mask beside.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from models.config import Config, static, traced
from models.data.statistics import Statistics
from models.errors import ConfigError
from models.layers.dropout import split_key
from models.layers.linear import Linear
from models.layers.multiscale import (
    Layout,
    MultiscaleDecoder,
    MultiscaleEncoder,
    Pool,
)
from models.layers.normalization import Standardize
from models.layers.stack import CellName, RecurrentStack
from models.layers.traced import Traced

_ACTS_WITH = {
    "layout": "multiscale",
    "pool": "multiscale",
    "channels": "multiscale",
    "branch_weight": "multiscale",
    "cell": "recurrent",
    "hidden_size": "recurrent",
    "layers": "recurrent",
}


@dataclass(frozen=True, kw_only=True)
class Coder(Config):
    """What reads whole windows and writes them again.

    Attributes:
        kind: Branches of convolutions, each for its own span of time (``multiscale``), or
            recurrent layers (``recurrent``).
        layout: Of ``multiscale`` (`models.layers.multiscale`).
        pool: Of ``multiscale``: keep all that its branches give, or means over time.
        channels: Of ``multiscale``: base number of channels.
        branch_weight: Of ``multiscale``: weight of the mean squared error of what every
            branch makes of the code alone.
        cell: Kind of recurrent layer.
        hidden_size: Its channels.
        layers: How many read, and how many write.
        dropout: Probability that a channel is dropped; behind every convolution, or between
            two recurrent layers.
        hidden: Fraction of what is seen of a window that is not shown in training, though it
            has to be given back.

    Source of ``hidden``: Vincent et al. 2008, "Extracting and composing robust features with
    denoising autoencoders".
    """

    kind: str = static("multiscale", choices=("multiscale", "recurrent"))
    layout: Layout = static("fitted")
    pool: Pool = static("flatten")
    channels: int = static(16, low=2)
    branch_weight: float = traced(0.0, low=0.0)
    cell: CellName = static("lstm")
    hidden_size: int = static(64, low=1)
    layers: int = static(1, low=1)
    dropout: float = traced(0.0, low=0.0, high=0.9)
    hidden: float = traced(0.0, low=0.0, high=0.9)

    def validate(self) -> None:
        """Refuse what acts on nothing."""
        for item in dataclasses.fields(self):
            kind, value = _ACTS_WITH.get(item.name, self.kind), getattr(self, item.name)
            if kind != self.kind and value != item.default:
                raise ConfigError(
                    f"`coder.{item.name}` acts where `coder.kind` is `{kind}`, got "
                    f"{value!r} with `{self.kind}`",
                    hint=f"leave `coder.{item.name}` out, or choose the other kind",
                )
        if self.dropout and self.kind == "recurrent" and self.layers < 2:
            raise ConfigError(
                "`coder.dropout` acts between two recurrent layers, got dropout "
                f"{self.dropout:g} with 1 layer",
                hint="set `coder.layers` to at least 2, or the dropout to 0",
            )


class Written(NamedTuple):
    """What became of codes.

    Attributes:
        values: Windows ``[B, T, C]`` in physical units.
        branches: What every branch alone makes of the codes, likewise; none of recurrent
            layers.
    """

    values: Float[Array, "batch time channel"]
    branches: list[Float[Array, "batch time channel"]]


class WindowCoder(nnx.Module):
    """Reads windows, and writes such of a length.

    Args:
        config: How.
        role: Of the windows.
        length: Time steps of a window.
        features: Numbers that are read from a window.
        code: Numbers that one is written from.
        statistics: Mean and standard deviation of the train part.
    """

    def __init__(
        self,
        *,
        config: Coder,
        role: str,
        length: int,
        features: int,
        code: int,
        statistics: Statistics,
    ) -> None:
        self.length = length
        self.normalize = Standardize.of(statistics, role)
        self.hidden = Traced(0.0, name="coder.hidden")
        channels = self.normalize.channels
        self.reader: MultiscaleEncoder | RecurrentReader
        self.writer: MultiscaleDecoder | RecurrentWriter
        if config.kind == "multiscale":
            self.reader = MultiscaleEncoder(
                inputs=2 * channels,
                length=length,
                channels=config.channels,
                features=features,
                pool=config.pool,
                layout=config.layout,
                dropout_name="coder.dropout",
            )
            self.writer = MultiscaleDecoder(
                code=code,
                outputs=channels,
                length=length,
                channels=config.channels,
                layout=config.layout,
                dropout_name="coder.dropout",
            )
        else:
            self.reader = RecurrentReader(
                config=config, inputs=2 * channels, features=features
            )
            self.writer = RecurrentWriter(
                config=config, code=code, outputs=channels, length=length
            )

    def read(
        self,
        values: Float[Array, "batch time channel"],
        shown: Bool[Array, "batch time channel"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch feature"]:
        """The features of windows in physical units.

        Args:
            values: Whatever they hold where they are not shown.
            shown: Which of them are.
            key: Of training: hides some, and switches dropout on.
        """
        hiding, dropping = split_key(key, 2)
        if hiding is not None:
            drawn = jax.random.uniform(hiding, values.shape, values.dtype)
            shown = shown & (drawn >= self.hidden[...])
        plain = self.normalize(values)
        plain = jnp.where(shown, plain, jnp.zeros_like(plain))
        inputs = jnp.concatenate([plain, shown.astype(plain.dtype)], axis=-1)
        return self.reader(inputs, key=dropping)

    def write(
        self, codes: Float[Array, "batch code"], *, key: Key[Array, ""] | None = None
    ) -> Written:
        """The windows that codes stand for; a key switches dropout on."""
        values, branches = self.writer(codes, key=key)
        inverse = self.normalize.inverse
        return Written(inverse(values), [inverse(branch) for branch in branches])


class RecurrentReader(nnx.Module):
    """The last state of recurrent layers, and a linear map of it."""

    def __init__(self, *, config: Coder, inputs: int, features: int) -> None:
        self.layers = _layers(config, inputs)
        self.head = Linear(inputs=config.hidden_size, outputs=features)

    def __call__(
        self,
        inputs: Float[Array, "batch time channel"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch feature"]:
        """The features; a key switches dropout on."""
        return self.head(self.layers(inputs, key=key)[0][:, -1:])[:, 0]


class RecurrentWriter(nnx.Module):
    """Recurrent layers that are shown the code at every time step."""

    def __init__(self, *, config: Coder, code: int, outputs: int, length: int) -> None:
        self.length = length
        self.widen = Linear(inputs=code, outputs=config.hidden_size)
        self.layers = _layers(config, config.hidden_size)
        self.head = Linear(inputs=config.hidden_size, outputs=outputs)

    def __call__(
        self, codes: Float[Array, "batch code"], *, key: Key[Array, ""] | None = None
    ) -> tuple[Array, list[Array]]:
        """The windows; there are no branches. A key switches dropout on."""
        wide = jnp.tanh(self.widen(codes[:, None]))
        every = jnp.broadcast_to(wide, (len(codes), self.length, wide.shape[-1]))
        return self.head(self.layers(every, key=key)[0]), []


def _layers(config: Coder, inputs: int) -> RecurrentStack:
    return RecurrentStack(
        cell=config.cell,
        inputs=inputs,
        hidden_size=config.hidden_size,
        layers=config.layers,
        dropout_name="coder.dropout",
    )
