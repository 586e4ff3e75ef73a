"""GRU and LSTM as compiled kernels, with all their gradients, in single precision.

Time-major twins of what `models.layers.recurrence` computes in pure JAX; that module decides
which of the two is used. The projection of the inputs is part of the kernel: it extends the
sums of the recurrent product by a few terms and needs no memory of its own.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero

from models.layers.kernels import compiled


def _values(tree: Any) -> Any:
    """The arrays of what a forward rule with symbolic zeros gets."""
    return jax.tree.map(
        lambda p: p.value, tree, is_leaf=lambda p: isinstance(p, CustomVJPPrimal)
    )


def _dense(cotangent: Any) -> Array:
    if isinstance(cotangent, SymbolicZero):
        return jnp.zeros(cotangent.aval.shape, cotangent.aval.dtype)
    return cotangent


def _check(gates: int, weights: Any, inputs: Array, *states: Array) -> tuple[int, ...]:
    """Time, batch, input and hidden channels; a kernel itself trusts every shape.

    Raises:
        TypeError: The shapes do not fit together.
    """
    length, batch, channels = inputs.shape
    size = weights.hidden_weight.shape[0]
    shapes = {
        "input_weight": (channels, gates * size),
        "input_bias": (gates * size,),
        "hidden_weight": (size, gates * size),
        "hidden_bias": (size,),
    }
    for name in weights._fields:
        if getattr(weights, name).shape != shapes[name]:
            raise TypeError(
                f"{name} must be {shapes[name]}, got {getattr(weights, name).shape}"
            )
    for state in states:
        if state.shape != (batch, size):
            raise TypeError(f"a state must be {(batch, size)}, got {state.shape}")
    return length, batch, channels, size


# --- GRU -------------------------------------------------------------------------------


def _gru_forward(weights: Any, inputs: Array, initial: Array, *, save: bool) -> Any:
    length, batch, _, size = _check(3, weights, inputs, initial)
    saved = (length, batch, 4 * compiled.padded(size)) if save else (0,)
    shapes = [(length, batch, size), (batch, size), saved]
    return compiled.call("gru_forward", shapes, inputs, *weights, initial)


@jax.custom_vjp
def gru(weights: Any, inputs: Array, initial: Array) -> tuple[Array, Array]:
    """Hidden states ``[T, B, H]`` and the last of them.

    Args:
        weights: `models.layers.recurrence.GRUWeights`.
        inputs: ``[T, B, I]``.
        initial: ``[B, H]``.
    """
    states, final, _ = _gru_forward(weights, inputs, initial, save=False)
    return states, final


def _gru_save(weights: Any, inputs: Any, initial: Any) -> tuple[Any, Any]:
    # Not perturbed is data: its gradient would be work for nothing. The structure of what is
    # kept is known while tracing the way back, which a truth value would not be.
    flag = () if inputs.perturbed else None
    weights, inputs, initial = _values((weights, inputs, initial))
    states, final, saved = _gru_forward(weights, inputs, initial, save=True)
    return (states, final), (weights, inputs, initial, states, saved, flag)


def _gru_backward(kept: Any, cotangents: Any) -> tuple[Any, ...]:
    weights, inputs, initial, states, saved, flag = kept
    dstates, dfinal = map(_dense, cotangents)
    shapes = [
        (0,) if flag is None else inputs.shape,
        *(w.shape for w in weights),
        initial.shape,
    ]
    dinputs, *dweights, dinitial = compiled.call(
        "gru_backward",
        shapes,
        *(inputs, weights.input_weight, weights.hidden_weight, initial),
        *(states, saved, dstates, dfinal),
    )
    return type(weights)(*dweights), None if flag is None else dinputs, dinitial


gru.defvjp(_gru_save, _gru_backward, symbolic_zeros=True)


# --- LSTM ------------------------------------------------------------------------------


def _lstm_forward(
    weights: Any, inputs: Array, initial: tuple[Array, Array], *, save: bool
) -> Any:
    length, batch, _, size = _check(4, weights, inputs, *initial)
    saved = (length, batch, 5 * compiled.padded(size)) if save else (0,)
    shapes = [(length, batch, size), (batch, size), (batch, size), saved]
    states, hidden, cell, saved = compiled.call(
        "lstm_forward", shapes, inputs, *weights, *initial
    )
    return states, (hidden, cell), saved


@jax.custom_vjp
def lstm(
    weights: Any, inputs: Array, initial: tuple[Array, Array]
) -> tuple[Array, tuple[Array, Array]]:
    """Hidden states ``[T, B, H]`` and the last hidden and cell state.

    Args:
        weights: `models.layers.recurrence.LSTMWeights`.
        inputs: ``[T, B, I]``.
        initial: Hidden and cell state, ``[B, H]`` each.
    """
    states, final, _ = _lstm_forward(weights, inputs, initial, save=False)
    return states, final


def _lstm_save(weights: Any, inputs: Any, initial: Any) -> tuple[Any, Any]:
    flag = () if inputs.perturbed else None
    weights, inputs, initial = _values((weights, inputs, initial))
    states, final, saved = _lstm_forward(weights, inputs, initial, save=True)
    return (states, final), (weights, inputs, initial, states, saved, flag)


def _lstm_backward(kept: Any, cotangents: Any) -> tuple[Any, ...]:
    weights, inputs, initial, states, saved, flag = kept
    dstates, dhidden, dcell = map(_dense, (cotangents[0], *cotangents[1]))
    shapes = [
        (0,) if flag is None else inputs.shape,
        *(w.shape for w in weights),
        *(s.shape for s in initial),
    ]
    dinputs, *dweights, dhidden, dcell = compiled.call(
        "lstm_backward",
        shapes,
        *(inputs, weights.input_weight, weights.hidden_weight, *initial),
        *(states, saved, dstates, dhidden, dcell),
    )
    wanted = None if flag is None else dinputs
    return type(weights)(*dweights), wanted, (dhidden, dcell)


lstm.defvjp(_lstm_save, _lstm_backward, symbolic_zeros=True)
