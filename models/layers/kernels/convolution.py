"""A block of causal convolution as a compiled kernel, with its gradients, in single precision.

The kernel's twin in pure JAX is in `models.layers.convolution`, which decides between the two.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from models.layers.kernels import compiled

# In the order of the kernel's own enumeration.
ACTIVATIONS = ("relu", "tanh", "mish", "gelu")


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def block(
    inputs: Array,
    kernel: Array,
    bias: Array,
    scale: Array,
    dilation: int,
    activation: str,
    skip: bool,
) -> Array:
    """``skip·x + scale · a(conv(x) + b)``, shape ``[B, T, D]``.

    Args:
        inputs: ``[B, T, C]``.
        kernel: ``[K, C, D]``; the last tap meets the present sample.
        bias: ``[D]``.
        scale: Of every channel of every window, ``[B, D]``; no gradient reaches it. Where it
            is 0 the result is exactly ``skip·x``, whatever the convolution gives.
        dilation: Samples between two taps.
        activation: One of `ACTIVATIONS`.
        skip: Whether the inputs are added; needs ``C = D``.

    Raises:
        TypeError: The shapes do not fit together.
    """
    outputs, _ = _forward(
        inputs, kernel, bias, scale, dilation, activation, skip, save=False
    )
    return outputs


def _forward(
    inputs: Array,
    kernel: Array,
    bias: Array,
    scale: Array,
    dilation: int,
    activation: str,
    skip: bool,
    *,
    save: bool,
) -> list[Array]:
    batch, length, channels = inputs.shape
    outputs = kernel.shape[2]
    # The kernel trusts every shape.
    for name, array, shape in (
        ("kernel", kernel, (kernel.shape[0], channels, outputs)),
        ("bias", bias, (outputs,)),
        ("scale", scale, (batch, outputs)),
    ):
        if array.shape != shape:
            raise TypeError(f"{name} must be {shape}, got {array.shape}")
    if skip and channels != outputs:
        raise TypeError(f"a skip needs equal channels, got {channels} and {outputs}")
    shape = (batch, length, outputs)
    saved = jax.ShapeDtypeStruct(shape, jnp.float32)  # the activation's slope
    if activation == "relu":  # one bit of every channel
        bits = (batch, length, -(-outputs // 16) * 2)
        saved = jax.ShapeDtypeStruct(bits, jnp.uint8)
    if not save:
        saved = jax.ShapeDtypeStruct((0,), saved.dtype)
    return compiled.call(
        "convolution_forward",
        [shape, saved],
        *(inputs, kernel, bias, scale),
        dilation=np.int64(dilation),
        activation=np.int64(ACTIVATIONS.index(activation)),
        skip=np.bool_(skip),
    )


def _save(
    inputs: Any,
    kernel: Any,
    bias: Any,
    scale: Any,
    dilation: int,
    activation: str,
    skip: bool,
) -> tuple[Array, Any]:
    # False for data: its gradient is work for nothing. What the structure of the residuals
    # says is known while tracing, unlike a saved bool.
    flag = () if inputs.perturbed else None
    inputs, kernel, bias, scale = (p.value for p in (inputs, kernel, bias, scale))
    outputs, saved = _forward(
        inputs, kernel, bias, scale, dilation, activation, skip, save=True
    )
    return outputs, (inputs, kernel, scale, saved, flag)


def _backward(
    dilation: int, activation: str, skip: bool, kept: Any, cotangent: Any
) -> tuple[Array | None, ...]:
    del activation  # its slopes are saved
    inputs, kernel, scale, saved, flag = kept
    if isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
        cotangent = jnp.zeros(cotangent.aval.shape, cotangent.aval.dtype)
    d_inputs, d_kernel, d_bias = compiled.call(
        "convolution_backward",
        [(0,) if flag is None else inputs.shape, kernel.shape, kernel.shape[2:]],
        *(inputs, kernel, scale, saved, cotangent),
        dilation=np.int64(dilation),
        skip=np.bool_(skip),
    )
    return None if flag is None else d_inputs, d_kernel, d_bias, None


block.defvjp(_save, _backward, symbolic_zeros=True)
