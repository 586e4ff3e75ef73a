"""Windows to features and back by branches of convolutions, each for its own span of time.

Local, hourly, daily and multi-day branches (of hourly samples) have kernels of 3 to 255 taps and
strides of 2 to 16.

Two layouts. ``original`` is that of the network followed: kernels as they are, each convolution
normalized over the batch, a decoder that gives 512 or 1,024 samples whatever is wanted, whose last
one is repeated (or whose end is cut off). In ``fitted``, kernels are no longer than what they are
applied to, every branch of the decoder begins with as many steps as its strides need, and what is
too much is cut off on both sides. Nothing is normalized there: no branch is deeper than six layers,
and statistics of a batch would mix what is filled in with what was seen.

Follows an unpublished multi-scale Conv1D VAE for air quality, whose shapes ``original`` keeps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from models.layers.batch_normalization import BatchNormalization
from models.layers.dropout import dropout_scale
from models.layers.linear import Linear
from models.layers.strided import MirroredConvolution, StridedConvolution
from models.layers.traced import Traced

Layout = Literal["fitted", "original"]
Pool = Literal["flatten", "mean"]


class Branch(NamedTuple):
    """The layers of one branch.

    Attributes:
        kernels: Taps of each.
        strides: Of each.
        divisors: What the base number of channels is divided by for its outputs.
    """

    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    divisors: tuple[int, ...]


ENCODER = (
    Branch((3, 5, 5), (2, 2, 2), (2, 1, 1)),
    Branch((15, 31), (4, 4), (2, 1)),
    Branch((63, 127), (8, 8), (2, 1)),
    Branch((255,), (16,), (1,)),
)
"""Local, hourly, daily and multi-day, from a window to features."""

DECODER = (
    Branch((5,) * 6, (2,) * 6, (1, 2, 2, 4, 4, 4)),
    Branch((15,) * 3, (4,) * 3, (1, 2, 4)),
    Branch((31,) * 2, (8,) * 2, (1, 2)),
    Branch((63,) * 2, (16, 8), (2, 4)),
)
"""The same, from a code to a window."""

_ORIGINAL_STEPS = 8
_LAST_TAPS = 3


class MultiscaleEncoder(nnx.Module):
    """Windows ``[B, T, I]`` to features ``[B, F]``.

    Args:
        inputs: Channels of a window.
        length: Its time steps T.
        channels: Base number of channels.
        features: F.
        pool: What is kept of every branch: all of it, or its mean over time, which loses when
            anything was.
        layout: See the module.
        dropout_name: Configuration key that the dropout rate follows.
    """

    def __init__(
        self,
        *,
        inputs: int,
        length: int,
        channels: int,
        features: int,
        pool: Pool,
        layout: Layout,
        dropout_name: str,
    ) -> None:
        self.pool = pool
        self.rate = Traced(0.0, name=dropout_name)
        self.branches = nnx.List([])
        width = 0
        for branch in ENCODER:
            layers, before, steps = nnx.List([]), inputs, length
            for kernel, stride, divisor in zip(*branch, strict=True):
                outputs = max(1, channels // divisor)
                layers.append(
                    StridedConvolution(
                        inputs=before,
                        outputs=outputs,
                        kernel=kernel
                        if layout == "original"
                        else fitting(kernel, steps),
                        stride=stride,
                    )
                )
                before, steps = outputs, -(-steps // stride)
            self.branches.append(layers)
            width += before * (steps if pool == "flatten" else 1)
        self.norms = _norms(self.branches, layout)
        self.narrow = Linear(inputs=width, outputs=2 * channels)
        self.head = Linear(inputs=2 * channels, outputs=features)

    def __call__(
        self,
        inputs: Float[Array, "batch time channel"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch feature"]:
        """The features; a key is of training: dropout, and statistics of the batch."""
        scales = _scales(self.branches, self.rate[...], key, inputs.shape[0])
        found = []
        for layers, norms in zip(self.branches, self.norms, strict=True):
            outputs = _through(layers, norms, inputs, scales, training=key is not None)
            if self.pool == "mean":
                found.append(jnp.mean(outputs, axis=1))
            else:
                found.append(outputs.reshape(len(outputs), -1))
        joined = jnp.concatenate(found, axis=-1)[:, None]
        return self.head(_leaky(self.narrow(joined)))[:, 0]


class MultiscaleDecoder(nnx.Module):
    """Codes ``[B, Z]`` to windows ``[B, T, O]``, by each branch and by all together.

    Args:
        code: Numbers Z.
        outputs: Channels of a window.
        length: Its time steps T.
        channels: Base number of channels.
        layout: See the module.
        dropout_name: Configuration key that the dropout rate follows.
    """

    def __init__(
        self,
        *,
        code: int,
        outputs: int,
        length: int,
        channels: int,
        layout: Layout,
        dropout_name: str,
    ) -> None:
        self.length, self.layout = length, layout
        self.rate = Traced(0.0, name=dropout_name)
        self.steps = tuple(_first_steps(branch, length, layout) for branch in DECODER)
        self.channels = channels
        self.widen = Linear(inputs=code, outputs=channels * sum(self.steps))
        self.branches, self.last = nnx.List([]), nnx.List([])
        for branch, steps in zip(DECODER, self.steps, strict=True):
            layers, before = nnx.List([]), channels
            for kernel, stride, divisor in zip(*branch, strict=True):
                steps *= stride
                after = max(1, channels // divisor)
                layers.append(
                    MirroredConvolution(
                        inputs=before,
                        outputs=after,
                        kernel=kernel
                        if layout == "original"
                        else fitting(kernel, steps),
                        stride=stride,
                    )
                )
                before = after
            self.branches.append(layers)
            self.last.append(
                StridedConvolution(
                    inputs=before, outputs=outputs, kernel=_LAST_TAPS, stride=1
                )
            )
        self.norms = _norms(self.branches, layout)
        self.merge = Linear(inputs=len(DECODER) * outputs, outputs=outputs)

    def __call__(
        self, codes: Float[Array, "batch code"], *, key: Key[Array, ""] | None = None
    ) -> tuple[Array, list[Array]]:
        """The window, and what each branch makes of the code; a key is of training."""
        scales = _scales(self.branches, self.rate[...], key, codes.shape[0])
        wide = self.widen(codes[:, None])[:, 0]
        found, start = [], 0
        for layers, norms, last, steps in zip(
            self.branches, self.norms, self.last, self.steps, strict=True
        ):
            piece = wide[:, start : start + steps * self.channels]
            begin = piece.reshape(-1, steps, self.channels)
            outputs = _through(layers, norms, begin, scales, training=key is not None)
            found.append(self._cut(last(outputs)))
            start += steps * self.channels
        return self.merge(jnp.concatenate(found, axis=-1)), found

    def _cut(self, values: Array) -> Array:
        extra = values.shape[1] - self.length
        if self.layout == "fitted":
            return values[:, extra // 2 : extra // 2 + self.length]
        if extra >= 0:
            return values[:, : self.length]
        return jnp.pad(values, ((0, 0), (0, -extra), (0, 0)), mode="edge")


def fitting(kernel: int, length: int) -> int:
    """The largest odd number of taps that is neither above `kernel` nor above `length`."""
    most = min(kernel, length)
    return max(1, most - (most % 2 == 0))


def _first_steps(branch: Branch, length: int, layout: Layout) -> int:
    if layout == "original":
        return _ORIGINAL_STEPS
    return -(-length // math.prod(branch.strides))


def _norms(branches: Sequence[Sequence[nnx.Module]], layout: Layout) -> nnx.List:
    """A normalization behind every layer of every branch; none of them in ``fitted``."""
    made = nnx.List([])
    for layers in branches:
        widths = [layer.bias[...].shape[0] for layer in layers]
        made.append(
            nnx.List([BatchNormalization(w) for w in widths if layout == "original"])
        )
    return made


def _through(
    layers: Sequence[nnx.Module],
    norms: Sequence[BatchNormalization],
    inputs: Array,
    scales: list[Array],
    *,
    training: bool,
) -> Array:
    """Layer by layer, each with its share of the dropout's factors, which are used up."""
    for number, layer in enumerate(layers):
        inputs = layer(inputs)
        if norms:
            inputs = norms[number](inputs, training=training)
        inputs = _leaky(inputs)
        if scales:
            inputs = inputs * scales.pop(0)[:, None]
    return inputs


def _scales(
    branches: Sequence[Sequence[nnx.Module]],
    rate: Array,
    key: Key[Array, ""] | None,
    batch: int,
) -> list[Array]:
    """The dropout's factors of every layer in turn, from one draw; none without a key.

    A draw costs a third of a second of compiling, and there are up to 21 layers.
    """
    if key is None:
        return []
    widths = [layer.bias[...].shape[0] for layers in branches for layer in layers]
    whole = dropout_scale(rate, key, batch=batch, channels=sum(widths))
    ends = [sum(widths[: i + 1]) for i in range(len(widths))]
    return [whole[:, end - w : end] for end, w in zip(ends, widths, strict=True)]


def _leaky(values: Array) -> Array:
    return jax.nn.leaky_relu(values, 0.2)
