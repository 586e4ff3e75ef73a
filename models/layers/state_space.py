"""A small nonlinear state space, and how its outputs depend on its parameters.

With ``h = tanh(N [x, u, 1])``:

    x⁺ = M [x, u, h] + L m (y - ŷ),    ŷ = K [x, u, h, 1]

in units of standard deviation; m says where outputs are known, and without them there is no L.
Wiener, Hammerstein and feedback structures are all of this form.

Source: Paduart et al. 2010, "Identification of nonlinear systems using polynomial nonlinear state
space models" (with a tanh layer for the polynomials); the innovations form in Ljung 1999, section
4.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

Signal = Float[Array, "batch time channel"]


class Known(NamedTuple):
    """Outputs that a model is given.

    Attributes:
        y: In units of standard deviation; anything where the mask is false.
        mask: ``[B, T, 1]``.
    """

    y: Float[Array, "batch time output"]
    mask: Bool[Array, "batch time 1"]


class Trajectory(NamedTuple):
    """What a run passes through, ``[B, T, …]``.

    Attributes:
        states: The state before every sample.
        hidden: The hidden layer.
        outputs: ŷ.
    """

    states: Float[Array, "batch time state"]
    hidden: Float[Array, "batch time hidden"]
    outputs: Float[Array, "batch time output"]


class NonlinearStateSpace(nnx.Module):
    """The recursion, from rest.

    Args:
        states: Entries of x.
        inputs: Channels of u.
        outputs: Channels of y.
        hidden: Entries of h.
        known: Whether outputs are given up to some sample.
    """

    def __init__(
        self, *, states: int, inputs: int, outputs: int, hidden: int, known: bool
    ) -> None:
        self.sizes = (states, inputs, hidden)
        self.transition = nnx.Param(jnp.zeros((states, states + inputs + hidden)))
        self.output = nnx.Param(jnp.zeros((outputs, states + inputs + hidden + 1)))
        self.hidden = nnx.Param(jnp.zeros((hidden, states + inputs + 1)))
        self.gain = nnx.Param(jnp.zeros((states, outputs))) if known else None

    def __call__(self, u: Signal, known: Known | None = None) -> Trajectory:
        """Run from the state zero.

        Args:
            u: ``[B, T, n_u]`` in units of standard deviation.
            known: Given outputs, where the model knows how to use them.
        """
        n, inputs, _ = self.sizes
        into, out, inner = self._weights()
        x_in, x_hidden = into[:, :n], inner[:, :n]
        driven = _matmul(u, into[:, n : n + inputs])
        excited = _matmul(u, inner[:, n:-1]) + inner[:, -1][None, None]
        direct = _matmul(u, out[:, n : n + inputs]) + out[:, -1][None, None]
        h_in, h_out = into[:, n + inputs :], out[:, n + inputs : -1]
        gain = None if known is None else self._gain()

        def step(x: Array, now: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
            push, excite, *rest = now
            h = jnp.tanh(_matmul(x, x_hidden) + excite)
            following = _matmul(x, x_in) + push + _matmul(h, h_in)
            if gain is not None:
                straight, y, mask = rest
                predicted = _matmul(x, out[:, :n]) + straight + _matmul(h, h_out)
                error = jnp.where(mask, y - predicted, jnp.zeros_like(y))
                following = following + _matmul(error, gain)
            return following, (x, h)

        series = (driven, excited)
        if known is not None:
            series += (direct, known.y, known.mask)
        start = jnp.zeros((u.shape[0], n), u.dtype)
        _, (x, h) = jax.lax.scan(step, start, tuple(map(_turned, series)))
        x, h = _turned(x), _turned(h)
        y = _matmul(x, out[:, :n]) + direct + _matmul(h, h_out)
        return Trajectory(x, h, y)

    def sensitivities(
        self, u: Signal, known: Known | None = None
    ) -> tuple[Signal, dict[str, Float[Array, "batch time output ..."]]]:
        """Outputs ``[B, T, n_y]`` and their derivatives by every parameter.

        One matrix ∂x⁺/∂x a sample serves all parameters: a column of the Jacobian costs n²
        multiplications a sample, where forward derivatives of the whole recursion repeat
        all of it for each.

        Args:
            u: As for a run.
            known: Likewise.

        Returns:
            The outputs, and by parameter's name ``[B, T, n_y, *shape]``.
        """
        run = self(u, known)
        n = self.sizes[0]
        into, out, inner = self._weights()
        slope = 1 - jnp.square(run.hidden)
        ones = jnp.ones_like(u[..., :1])
        z = jnp.concatenate([run.states, u, run.hidden], axis=-1)
        w = jnp.concatenate([run.states, u, ones], axis=-1)
        z1 = jnp.concatenate([z, ones], axis=-1)
        through = into[:, -self.sizes[2] :][None, None] * slope[:, :, None]
        seen = out[:, -self.sizes[2] - 1 : -1][None, None] * slope[:, :, None]
        forward = into[:, :n][None, None] + _matmul(through, inner[:, :n].T)
        outward = out[:, :n][None, None] + _matmul(seen, inner[:, :n].T)
        eye = jnp.eye(n, dtype=u.dtype)[None, None]
        pushed = {"transition": (eye, z), "hidden": (through, w)}
        if known is not None:
            error = jnp.where(
                known.mask, known.y - run.outputs, jnp.zeros_like(known.y)
            )
            mask = known.mask[..., None].astype(u.dtype)
            corrected = mask * self._gain()[None, None]
            forward = forward - corrected @ outward
            pushed["hidden"] = (through - corrected @ seen, w)
            pushed |= {"output": (-corrected, z1), "gain": (eye, error)}
        found = _propagated(forward, outward, pushed)
        eye = jnp.eye(run.outputs.shape[-1], dtype=u.dtype)[None, None, :, :, None]
        straight = eye * z1[:, :, None, None, :]
        found["output"] = found["output"] + straight if known is not None else straight
        found["hidden"] = found["hidden"] + seen[..., None] * w[:, :, None, None, :]
        return run.outputs, found

    def _weights(self) -> tuple[Array, Array, Array]:
        return self.transition[...], self.output[...], self.hidden[...]

    def _gain(self) -> Array:
        assert self.gain is not None, "only models that know outputs are given some"
        return self.gain[...]


def _propagated(
    forward: Float[Array, "batch time state state"],
    outward: Float[Array, "batch time output state"],
    pushed: Mapping[str, tuple[Array, Array]],
) -> dict[str, Float[Array, "batch time output row column"]]:
    """Outputs' derivatives through the states, by every parameter that moves them.

    ``S⁺ = F S + G`` from zero; what comes out is ``∂y/∂x S``.

    Args:
        forward: F = ∂x⁺/∂x.
        outward: ∂y/∂x.
        pushed: By parameter the two factors of G, the derivative of x⁺ with the states
            held: ``[B, T, n, rows]`` and ``[B, T, columns]``, outer products of which it
            is. Leading axes of size one stand for all.
    """
    batch, _, n, _ = forward.shape
    sizes = {
        k: (left.shape[-1], right.shape[-1]) for k, (left, right) in pushed.items()
    }
    still = {k: left[0] for k, (left, _) in pushed.items() if left.shape[:2] == (1, 1)}
    moving = {k: _turned(left) for k, (left, _) in pushed.items() if k not in still}
    rights = {k: _turned(right) for k, (_, right) in pushed.items()}

    def step(before: dict[str, Array], now: Any) -> tuple[dict[str, Array], Any]:
        f, o, left, right = now
        left = {**still, **left}
        after, seen = {}, {}
        for name, s in before.items():
            rows, columns = sizes[name]
            # Both factors as long as a row of S: no index is divided in the inner loop.
            wide = jnp.tile(right[name], (1, rows))[:, None]
            after[name] = _product(f, s) + jnp.repeat(left[name], columns, -1) * wide
            seen[name] = _product(o, s)
        return after, seen

    series = (_turned(forward), _turned(outward), moving, rights)
    zero = {
        k: jnp.zeros((batch, n, r * c), forward.dtype) for k, (r, c) in sizes.items()
    }
    _, found = jax.lax.scan(step, zero, series)
    outputs = outward.shape[2]
    return {
        k: _turned(s).reshape(batch, -1, outputs, *sizes[k]) for k, s in found.items()
    }


def _product(
    first: Float[Array, "batch row middle"], second: Float[Array, "batch middle column"]
) -> Float[Array, "batch row column"]:
    """Products of small matrices, as sums that XLA fuses with what is around them."""
    total = first[:, :, 0, None] * second[:, None, 0, :]
    for k in range(1, second.shape[1]):
        total = total + first[:, :, k, None] * second[:, None, k, :]
    return total


def _matmul(x: Array, weight: Array) -> Array:
    """``weight`` ``[out, in]`` applied to the last axis."""
    return x @ weight.T


def _turned(array: Array) -> Array:
    """Batch and time exchanged."""
    return jnp.swapaxes(array, 0, 1)
