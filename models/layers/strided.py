"""Convolutions that shorten or lengthen a sequence, as one matrix product each.

A convolution of stride s over C channels is one of stride 1 and ⌈k/s⌉ taps over s·C channels: s
samples lie beside one another. Its mirror image gives s·D channels at every step, which are s
samples of D. The taps' views are put side by side, so that one product does it all; a product for
each tap is as fast and takes 2.7 times as long to compile (branches of `models.layers.multiscale`).

Views that no cache holds are slow to write and to read: then every step is multiplied with all taps
first, and the products of a window are added (255 taps over 745 × 14: 64 ms against 7, with the
kernel's gradient 115 against 20, one core). Below some megabytes views are up to twice as fast.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.layers.initialization import parameter

_CACHED = 4 * 2**20  # bytes of views that are still quick to read


def strided_convolution(
    inputs: Float[Array, "batch time channel"],
    kernel: Float[Array, "tap channel output"],
    *,
    stride: int,
) -> Float[Array, "batch short output"]:
    """``y[t] = Σ_j x[s t + j - ⌊k/2⌋] W[j]``; what lies outside the sequence counts as 0.

    Args:
        inputs: ``[B, T, C]``.
        kernel: ``[k, C, D]``, k odd.
        stride: s.

    Returns:
        ``[B, ⌈T/s⌉, D]``: torch's ``Conv1d(k, stride=s, padding=k//2)``.
    """
    taps, channels, outputs = kernel.shape
    batch, length, _ = inputs.shape
    wide, steps = -(-taps // stride), -(-length // stride)
    whole = (steps + wide - 1) * stride
    left = taps // 2
    right = max(0, whole - length - left)
    padded = jnp.pad(inputs, ((0, 0), (left, right), (0, 0)))[:, :whole]
    folded = padded.reshape(batch, steps + wide - 1, stride * channels)
    filled = jnp.pad(kernel, ((0, wide * stride - taps), (0, 0), (0, 0)))
    filled = filled.reshape(wide, stride * channels, outputs)
    if batch * steps * wide * stride * channels * inputs.dtype.itemsize > _CACHED:
        side = filled.transpose(1, 0, 2).reshape(stride * channels, wide * outputs)
        products = (folded @ side).reshape(batch, -1, wide, outputs)
        first, *others = (products[:, i : i + steps, i] for i in range(wide))
        return sum(others, start=first)
    views = jnp.concatenate([folded[:, i : i + steps] for i in range(wide)], axis=-1)
    return views @ filled.reshape(-1, outputs)


def mirrored_convolution(
    inputs: Float[Array, "batch short channel"],
    kernel: Float[Array, "tap channel output"],
    *,
    stride: int,
) -> Float[Array, "batch time output"]:
    """``y[o] = Σ_{s t + j - ⌊k/2⌋ = o} x[t] W[j]``: the transpose of `strided_convolution`.

    Args:
        inputs: ``[B, L, C]``.
        kernel: ``[k, C, D]``, k odd.
        stride: s.

    Returns:
        ``[B, s L, D]``: torch's ``ConvTranspose1d(k, s, padding=k//2, output_padding=s-1)``.
    """
    taps, channels, outputs = kernel.shape
    batch, steps, _ = inputs.shape
    wide = -(-taps // stride)
    filled = jnp.pad(kernel, ((0, wide * stride - taps), (0, 0), (0, 0)))
    filled = filled.reshape(wide, stride, channels, outputs).transpose(0, 2, 1, 3)
    # As many steps behind as the crop below may begin late, and those that one step reaches.
    padded = jnp.pad(inputs, ((0, 0), (wide - 1, wide - 1), (0, 0)))
    total = steps + wide - 1
    starts = range(wide - 1, -1, -1)
    views = jnp.concatenate([padded[:, i : i + total] for i in starts], axis=-1)
    out = views @ filled.reshape(wide * channels, stride * outputs)
    left = taps // 2
    long = out.reshape(batch, total * stride, outputs)
    missing = max(0, left + steps * stride - total * stride)
    long = jnp.pad(long, ((0, 0), (0, missing), (0, 0)))
    return long[:, left : left + steps * stride]


class StridedConvolution(nnx.Module):
    """A `strided_convolution` with bias.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Taps, an odd number.
        stride: Samples between two outputs.

    Source of the initial weights: He et al. 2015, "Delving deep into rectifiers", equation 15.
    """

    def __init__(self, *, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        terms = kernel * inputs
        self.stride = stride
        self.kernel = parameter((kernel, inputs, outputs), fan_in=max(1, terms // 6))
        self.bias = parameter((outputs,), fan_in=terms)

    def __call__(self, inputs: Float[Array, "batch time channel"]) -> Array:
        """Map ``[B, T, I]`` to ``[B, ⌈T/s⌉, O]``."""
        found = strided_convolution(inputs, self.kernel[...], stride=self.stride)
        return found + self.bias[...][None, None]


class MirroredConvolution(nnx.Module):
    """A `mirrored_convolution` with bias; see `StridedConvolution`."""

    def __init__(self, *, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        terms = -(-kernel // stride) * inputs
        self.stride = stride
        self.kernel = parameter((kernel, inputs, outputs), fan_in=max(1, terms // 6))
        self.bias = parameter((outputs,), fan_in=terms)

    def __call__(self, inputs: Float[Array, "batch short channel"]) -> Array:
        """Map ``[B, L, I]`` to ``[B, s L, O]``."""
        found = mirrored_convolution(inputs, self.kernel[...], stride=self.stride)
        return found + self.bias[...][None, None]
