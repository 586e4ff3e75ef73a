"""Recurrent layers against torch with copied weights and against autodiff of a plain scan."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers.kernels import compiled
from models.layers.recurrence import (
    GRUWeights,
    LSTMWeights,
    PlainWeights,
    gru,
    lstm,
    plain,
)

CELLS = {
    "gru": (gru, GRUWeights, 3),
    "lstm": (lstm, LSTMWeights, 4),
    "plain": (plain, PlainWeights, 1),
}


WAYS = ("float64", "off", "on")


@pytest.fixture(params=WAYS, autouse=True)
def way(request, monkeypatch):
    """Double precision, single precision in pure JAX, and single precision in kernels."""
    if request.param == "float64":
        with jax.enable_x64(True):
            yield request.param
        return
    monkeypatch.delenv("HPO_KERNELS", raising=False)
    if request.param == "off":
        monkeypatch.setenv("HPO_KERNELS", "off")
    elif compiled.choice() == "off":
        pytest.skip(compiled.reason())
    yield request.param


def draw(cell, inputs, size, batch=3, length=11, seed=0):
    """Random weights, inputs, initial state and cotangents of both results."""
    rng = np.random.default_rng(seed)
    _, kind, gates = CELLS[cell]
    shapes = {
        "input_weight": (inputs, gates * size),
        "input_bias": (gates * size,),
        "hidden_weight": (size, gates * size),
        "hidden_bias": (size,),
    }
    weights = kind(**{n: rng.normal(size=shapes[n]) * 0.5 for n in kind._fields})

    def state():
        one = rng.normal(size=(batch, size))
        return (one, rng.normal(size=(batch, size))) if cell == "lstm" else one

    x = rng.normal(size=(batch, length, inputs))
    return weights, x, state(), rng.normal(size=(batch, length, size)), state()


def sigmoid(a):
    return 1 / (1 + jnp.exp(-a))


def by_the_book(cell, weights, x, state):
    """The textbook equations in an ordinary scan that JAX differentiates itself."""
    first = state[0] if cell == "lstm" else state
    size = first.shape[-1]

    def step(state, x):
        given = x @ weights.input_weight + weights.input_bias[None]
        if cell == "plain":
            h = jnp.tanh(given + state @ weights.hidden_weight)
            return h, h
        if cell == "gru":
            r_in, z_in, n_in = jnp.split(given, 3, -1)
            r_h, z_h, n_h = jnp.split(state @ weights.hidden_weight, 3, -1)
            r, z = sigmoid(r_in + r_h), sigmoid(z_in + z_h)
            n = jnp.tanh(n_in + r * (n_h + weights.hidden_bias[None]))
            h = (1 - z) * n + z * state
            return h, h
        i, f, g, o = jnp.split(given + state[0] @ weights.hidden_weight, 4, -1)
        c = sigmoid(f) * state[1] + sigmoid(i) * jnp.tanh(g)
        h = sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    assert first.shape == (x.shape[0], size)
    final, outputs = jax.lax.scan(step, state, x.swapaxes(0, 1))
    return outputs.swapaxes(0, 1), final


def results(run, cotangents, *arguments):
    """The outputs of `run` and the gradients it pulls back, compiled in one piece."""

    def both(cotangents, *arguments):
        values, pull = jax.vjp(run, *arguments)
        return values, pull(cotangents)

    return jax.jit(both)(cotangents, *arguments)


def close(got, wanted, tolerance=1e-9):
    """Equal up to the tolerance, or what single precision allows on the array's scale."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        scale = 1.0
        if a.dtype == np.float32:
            tolerance, scale = 2e-6, max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("inputs", [1, 4])
@pytest.mark.parametrize("cell", CELLS)
def test_equals_autodiff_of_a_plain_scan(cell, inputs):
    weights, x, state, d_outputs, d_final = draw(cell, inputs, 5)
    weights, x, state, d_outputs, d_final = jax.tree.map(
        jnp.asarray, (weights, x, state, d_outputs, d_final)
    )
    cotangents = (d_outputs, d_final)
    got, gradients = results(CELLS[cell][0], cotangents, weights, x, state)
    wanted, by_autodiff = results(
        lambda *a: by_the_book(cell, *a), cotangents, weights, x, state
    )
    close(got, wanted, 1e-12)
    close(gradients, by_autodiff)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradients))


@pytest.mark.parametrize("cell", CELLS)
def test_state_carries_over(cell):
    """Two halves in a row are the whole, so truncated back-propagation loses nothing."""
    weights, x, state, _, _ = jax.tree.map(jnp.asarray, draw(cell, 2, 4))
    run = jax.jit(lambda *a, run=CELLS[cell][0]: run(*a))  # traced anew for every way
    whole, final = run(weights, x, state)
    left, middle = run(weights, x[:, :6], state)
    right, end = run(weights, x[:, 6:], middle)
    close((jnp.concatenate([left, right], 1), end), (whole, final), 1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_lanes_equal_each_alone(cell):
    run = CELLS[cell][0]
    lanes = [jax.tree.map(jnp.asarray, draw(cell, 1, 4, seed=s)) for s in range(3)]

    @jax.jit
    def gradients(weights, x, state, d_outputs, d_final):
        return jax.vjp(run, weights, x, state)[1]((d_outputs, d_final))

    stacked = jax.tree.map(lambda *a: jnp.stack(a), *lanes)
    together = jax.jit(jax.vmap(gradients))(*stacked)
    for k, lane in enumerate(lanes):
        close(jax.tree.map(lambda a, k=k: a[k], together), gradients(*lane), 1e-11)


@pytest.mark.oracles
@pytest.mark.parametrize("inputs", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_equals_torch(cell, inputs):
    torch = pytest.importorskip("torch")
    kinds = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM, "plain": torch.nn.RNN}
    size = 6
    weights, x, state, d_outputs, d_final = draw(cell, inputs, size, seed=3)
    layer = kinds[cell](inputs, size, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor(weights.input_weight.T))
        layer.weight_hh_l0.copy_(torch.tensor(weights.hidden_weight.T))
        layer.bias_ih_l0.copy_(torch.tensor(weights.input_bias))
        layer.bias_hh_l0.zero_()
        if cell == "gru":
            layer.bias_hh_l0[2 * size :] = torch.tensor(weights.hidden_bias)

    def tensors(tree):
        return jax.tree.map(lambda a: torch.tensor(a, requires_grad=True), tree)

    x_torch, state_torch = tensors(x), tensors(state)
    first = jax.tree.map(lambda a: a[None], state_torch)
    outputs, final = layer(x_torch, first)
    score = (outputs * torch.tensor(d_outputs)).sum()
    for a, b in zip(jax.tree.leaves(final), jax.tree.leaves(d_final), strict=True):
        score = score + (a[0] * torch.tensor(b)).sum()
    score.backward()

    weights, x, state, d_outputs, d_final = jax.tree.map(
        jnp.asarray, (weights, x, state, d_outputs, d_final)
    )
    cotangents = (d_outputs, d_final)
    got, gradients = results(CELLS[cell][0], cotangents, weights, x, state)
    plain_final = jax.tree.map(lambda a: a[0].detach().numpy(), final)
    close(got, (outputs.detach().numpy(), plain_final))
    d_weights, d_x, d_state = gradients
    close(d_x, x_torch.grad.numpy())
    close(d_state, jax.tree.map(lambda a: a.grad.numpy(), state_torch))
    close(d_weights.input_weight, layer.weight_ih_l0.grad.numpy().T)
    close(d_weights.hidden_weight, layer.weight_hh_l0.grad.numpy().T)
    close(d_weights.input_bias, layer.bias_ih_l0.grad.numpy())
    if cell == "gru":
        close(d_weights.hidden_bias, layer.bias_hh_l0.grad.numpy()[2 * size :])
    else:
        close(d_weights.input_bias, layer.bias_hh_l0.grad.numpy())
