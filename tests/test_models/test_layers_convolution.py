"""Causal convolutions against scipy and torch; the stack's memory is what it says."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from flax import nnx

from models.layers.convolution import (
    ACTIVATIONS,
    CausalConvolution,
    ConvolutionStack,
    causal_convolution,
    micro_batch,
    mish,
    receptive_field,
)
from models.layers.initialization import initialize
from models.layers.kernels import compiled


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["float64", "off", "on"])
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


@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_scipy(float64, dilation, channels):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 20, channels))
    kernel = rng.normal(size=(4, channels, 2))
    spread = np.zeros((3 * dilation + 1, channels, 2))
    spread[::dilation] = kernel
    wanted = np.zeros((2, 20, 2))
    for b in range(2):
        for c in range(channels):
            for d in range(2):  # scipy's filter has its first tap at the present sample
                taps = spread[::-1, c, d]
                wanted[b, :, d] += scipy.signal.lfilter(taps, 1.0, x[b, :, c])
    got = causal_convolution(jnp.asarray(x), jnp.asarray(kernel), dilation=dilation)
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.oracles
@pytest.mark.parametrize("weight_norm", [False, True])
@pytest.mark.parametrize("inputs", [1, 3])
def test_equals_torch(float64, inputs, weight_norm):
    torch = pytest.importorskip("torch")
    taps, outputs, dilation = 3, 4, 2
    layer = CausalConvolution(
        inputs=inputs,
        outputs=outputs,
        kernel=taps,
        dilation=dilation,
        weight_norm=weight_norm,
    )
    rng = np.random.default_rng(1)
    x, cotangent = rng.normal(size=(2, 15, inputs)), rng.normal(size=(2, 15, outputs))
    names = ["direction", "bias"] + ["length"] * weight_norm
    weights = {n: jnp.asarray(rng.normal(size=getattr(layer, n).shape)) for n in names}

    definition, state = nnx.split(layer)

    def run(weights, x):
        copy = nnx.merge(definition, state, copy=True)
        for name in names:
            getattr(copy, name)[...] = weights[name]
        return copy(x)

    @jax.jit
    def both(weights, x, cotangent):
        values, pull = jax.vjp(run, weights, x)
        return values, pull(cotangent)

    got, (d_weights, d_x) = both(weights, x, cotangent)

    other = torch.nn.Conv1d(
        inputs, outputs, taps, dilation=dilation, dtype=torch.float64
    )
    kernel = torch.tensor(np.asarray(weights["direction"]).transpose(2, 1, 0))
    with torch.no_grad():
        other.bias.copy_(torch.tensor(np.asarray(weights["bias"])))
        if not weight_norm:
            other.weight.copy_(kernel)
    if weight_norm:
        other = torch.nn.utils.parametrizations.weight_norm(other)
        with torch.no_grad():
            lengths = torch.tensor(np.asarray(weights["length"]))
            other.parametrizations.weight.original0.copy_(lengths[:, None, None])
            other.parametrizations.weight.original1.copy_(kernel)
    x_torch = torch.tensor(x.transpose(0, 2, 1), requires_grad=True)
    padded = torch.nn.functional.pad(x_torch, ((taps - 1) * dilation, 0))
    wanted = other(padded).transpose(1, 2)
    (wanted * torch.tensor(cotangent)).sum().backward()

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)

    close(got, wanted.detach().numpy())
    close(d_x, x_torch.grad.numpy().transpose(0, 2, 1))
    close(d_weights["bias"], other.bias.grad.numpy())
    if weight_norm:
        parts = other.parametrizations.weight
        close(d_weights["length"], parts.original0.grad.numpy()[:, 0, 0])
        close(d_weights["direction"], parts.original1.grad.numpy().transpose(2, 1, 0))
    else:
        close(d_weights["direction"], other.weight.grad.numpy().transpose(2, 1, 0))


@pytest.mark.oracles
@pytest.mark.parametrize(
    "activation,weight_norm",
    list(zip(ACTIVATIONS, (True, False, True, False), strict=True)),
)
def test_stack_equals_torch(way, activation, weight_norm):
    """Outputs, and the gradients of the inputs and of every parameter."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    stack = ConvolutionStack(
        inputs=2,
        channels=5,
        depth=3,
        kernel=3,
        activation=activation,
        weight_norm=weight_norm,
        dropout_name="model.dropout",
    )
    initialize(stack, jax.random.key(0))
    rng = np.random.default_rng(1)
    x, cotangent = rng.normal(size=(3, 17, 2)), rng.normal(size=(3, 17, 5))
    definition, params, rest = nnx.split(stack, nnx.Param, ...)

    @jax.jit
    def both(params, x, cotangent):
        def run(params, x):
            return nnx.merge(definition, params, rest, copy=True)(x)

        values, pull = jax.vjp(run, params, x)
        return values, *pull(cotangent)

    dtype = jnp.result_type(float)
    got, d_params, d_x = both(
        params, jnp.asarray(x, dtype), jnp.asarray(cotangent, dtype)
    )

    activations = {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "mish": functional.mish,
        "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    }

    def tensor(value):
        return torch.tensor(np.float64(value), requires_grad=True)

    weights = jax.tree.map(tensor, nnx.to_pure_dict(params))
    x_torch = tensor(x)
    hidden = x_torch.transpose(1, 2)
    for i in range(3):
        own = weights["layers"][i]
        kernel = own["direction"].permute(2, 1, 0)
        if weight_norm:
            size = kernel.flatten(1).norm(dim=1)
            kernel = kernel * (own["length"] / size)[:, None, None]
        padded = functional.pad(hidden, (2 * 2**i, 0))
        change = functional.conv1d(padded, kernel, own["bias"], dilation=2**i)
        change = activations[activation](change)
        hidden = hidden + change if i else change
    wanted = hidden.transpose(1, 2)
    (wanted * torch.tensor(cotangent)).sum().backward()

    def close(a, b):
        b = b.detach().numpy()
        tolerance = 1e-9 if way == "float64" else 4e-6 * max(1, np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)

    close(got, wanted)
    close(d_x, x_torch.grad)
    gradients = nnx.to_pure_dict(d_params)
    jax.tree.map(lambda g, w: close(g, w.grad), gradients, weights)


@pytest.mark.parametrize("depth,kernel", [(1, 2), (3, 2), (2, 4)])
def test_receptive_field_is_exact(way, depth, kernel):
    """The last output feels the oldest sample inside the field and none before it."""
    stack = ConvolutionStack(
        inputs=1,
        channels=4,
        depth=depth,
        kernel=kernel,
        activation="tanh",
        weight_norm=False,
        dropout_name="model.dropout",
    )
    initialize(stack, jax.random.key(0))
    field = receptive_field(depth=depth, kernel=kernel)
    del way
    x = jax.random.normal(jax.random.key(1), (1, field + 5, 1))
    slope = jax.jit(jax.grad(lambda x: jnp.sum(stack(x)[0, -1])))(x)[0, :, 0]
    felt = np.flatnonzero(np.asarray(slope))
    assert felt.min() == len(slope) - field
    assert felt.max() == len(slope) - 1


@pytest.mark.parametrize(
    "batch_size,window,channels,expected",
    [(16, 200, 32, None), (64, 500, 32, 4), (64, 250, 16, 16), (7, 10_000, 64, 1)],
)
def test_micro_batch_keeps_activations_in_cache(batch_size, window, channels, expected):
    part = micro_batch(batch_size=batch_size, window=window, channels=channels)
    assert part == expected


def test_mish_equals_the_library_with_a_closer_slope():
    z = np.concatenate([np.linspace(-40, 40, 20_001), [-1e4, 1e4, 1e30]])
    single = np.float32(z)
    double = np.float64(single)

    def both(f, x):
        return map(np.asarray, jax.jit(jax.vmap(jax.value_and_grad(f)))(x))

    got = both(mish, single)
    with jax.enable_x64(True):
        values, slopes = both(jax.nn.mish, double)
        exact = both(mish, double)
    for (value, slope), tolerance in ((got, 4e-7), (exact, 1e-12)):
        off = np.abs(value - values) / np.maximum(1, np.abs(values))
        assert off.max() < tolerance
        assert np.abs(slope - slopes).max() < tolerance
