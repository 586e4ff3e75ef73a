"""The compiled block of convolution against autodiff in double precision, over odd sizes."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers.convolution import ConvolutionStack, causal_convolution
from models.layers.initialization import initialize
from models.layers.kernels import compiled
from models.layers.kernels.convolution import block

LIBRARY = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "mish": jax.nn.mish,
    "gelu": jax.nn.gelu,
}
# Channels, taps, dilation (60 is longer than every window), batch, samples.
SIZES = list(
    itertools.product((1, 5, 16, 33), (2, 3, 5), (1, 4, 60), (1, 3, 17), (1, 7, 50))
)
# Every size of every axis, and the awkward ones together; activations take turns.
FEW = {
    "relu": (33, 5, 4, 3, 50),
    "tanh": (1, 2, 1, 1, 1),
    "mish": (5, 3, 4, 3, 7),
    "gelu": (16, 5, 60, 17, 50),
}


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    monkeypatch.delenv("HPO_KERNELS", raising=False)
    if compiled.choice() == "off":
        pytest.skip(compiled.reason())


def by_the_book(x, kernel, bias, scale, dilation, activation, skip):
    """The block in plain operations that JAX differentiates itself."""
    z = causal_convolution(x, kernel, dilation=dilation) + bias[None, None]
    change = LIBRARY[activation](z) * scale[:, None]
    return x + change if skip else change


def draw(channels, taps, batch, length, *, inputs=None, seed=0):
    """Inputs, kernel, bias, scale of one block (a third dropped), and a cotangent."""
    rng = np.random.default_rng(seed)
    inputs = inputs or channels
    scale = np.where(rng.random((batch, channels)) < 1 / 3, 0, 1.5)
    case = (
        rng.normal(size=(batch, length, inputs)),
        rng.normal(size=(taps, inputs, channels)) / np.sqrt(taps * inputs),
        rng.normal(size=channels),
        scale,
        rng.normal(size=(batch, length, channels)),
    )
    return [np.float32(a) for a in case]


def results(run, x, kernel, bias, scale, cotangent):
    """Values, and the gradients of inputs, kernel and bias."""

    @jax.jit
    def both(x, kernel, bias, scale, cotangent):
        values, pull = jax.vjp(lambda *a: run(*a, scale), x, kernel, bias)
        return values, *pull(cotangent)

    return both(x, kernel, bias, scale, cotangent)


def error(got, wanted):
    """The largest error, on the scale of the array but at least of 1."""
    wanted = np.float64(wanted)
    return np.abs(np.float64(got) - wanted).max() / max(1, np.abs(wanted).max())


def bound(batch, length):
    """Weight gradients sum over all samples: their rounding grows with the root of the count."""
    return 4e-6 * max(1, (batch * length) ** 0.5 / 16)


def compare(sizes, activation, *, skip, inputs=None):
    channels, taps, dilation, batch, length = sizes
    case = draw(channels, taps, batch, length, inputs=inputs)
    got = results(lambda *a: block(*a, dilation, activation, skip), *case)
    with jax.enable_x64(True):
        double = [jnp.asarray(np.float64(a)) for a in case]
        wanted = results(
            lambda *a: by_the_book(*a, dilation, activation, skip), *double
        )
    assert all(a.dtype == jnp.float32 for a in got)
    for name, a, b in zip(("y", "dx", "dw", "db"), got, wanted, strict=True):
        limit = bound(batch, length) if name in ("dw", "db") else 4e-6
        assert error(a, b) <= limit, name


@pytest.mark.parametrize("activation,sizes", list(FEW.items()))
def test_any_size(activation, sizes):
    compare(sizes, activation, skip=True)


@pytest.mark.parametrize("activation,inputs", [("relu", 9), ("mish", 1)])
def test_another_number_of_inputs(activation, inputs):
    compare(FEW[activation], activation, skip=False, inputs=inputs)


def torch_block(x, kernel, bias, scale, cotangent, *, dilation, activation):
    """The block with a skip in torch, in double precision: values and gradients."""
    import torch

    f = {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "mish": torch.nn.functional.mish,
        "gelu": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
    }[activation]
    x, kernel, bias, scale, cotangent = (
        torch.tensor(np.float64(a)) for a in (x, kernel, bias, scale, cotangent)
    )
    for one in (x, kernel, bias):
        one.requires_grad_()
    before = (kernel.shape[0] - 1) * dilation
    z = torch.nn.functional.conv1d(
        torch.nn.functional.pad(x.transpose(1, 2), (before, 0)),
        kernel.permute(2, 1, 0),
        bias,
        dilation=dilation,
    )
    y = x + f(z.transpose(1, 2)) * scale[:, None]
    (y * cotangent).sum().backward()
    return [a.detach().numpy() for a in (y, x.grad, kernel.grad, bias.grad)]


def compare_with_torch(sizes, activation):
    channels, taps, dilation, batch, length = sizes
    case = draw(channels, taps, batch, length)
    got = results(lambda *a: block(*a, dilation, activation, True), *case)
    wanted = torch_block(*case, dilation=dilation, activation=activation)
    for name, a, b in zip(("y", "dx", "dw", "db"), got, wanted, strict=True):
        limit = bound(batch, length) if name in ("dw", "db") else 4e-6
        assert error(a, b) <= limit, (name, sizes, activation)


@pytest.mark.oracles
@pytest.mark.parametrize("activation,sizes", list(FEW.items()))
def test_equals_torch(activation, sizes):
    pytest.importorskip("torch")
    compare_with_torch(sizes, activation)


@pytest.mark.oracles
@pytest.mark.slow
@pytest.mark.parametrize("channels", (1, 5, 16, 33))
@pytest.mark.parametrize("taps", (2, 3, 5))
def test_every_size_equals_torch(channels, taps):
    """Activations take turns: the shapes are what is proven here."""
    pytest.importorskip("torch")
    turns = itertools.cycle(LIBRARY)
    for sizes in SIZES:
        if sizes[:2] == (channels, taps):
            compare_with_torch(sizes, next(turns))


@pytest.mark.parametrize("activation", list(LIBRARY))
def test_activations_and_slopes_over_their_whole_range(activation):
    """One channel, one tap of weight 1: values and slopes where they are hard to compute."""
    z = np.concatenate(
        [np.linspace(-30, 30, 4001), [-1e30, -1e4, -100, 100, 1e4, 1e30, 0, 1e-20]]
    ).astype(np.float32)
    one, x = np.ones((1, 1), np.float32), z.reshape(1, -1, 1)
    bias, cotangent = np.zeros(1, np.float32), np.ones_like(x)
    got = results(
        lambda *a: block(*a, 1, activation, False),
        *(x, one[None], bias, one, cotangent),
    )
    with jax.enable_x64(True):
        f = LIBRARY[activation]
        values, slopes = jax.vmap(jax.value_and_grad(f))(jnp.asarray(np.float64(z)))
    values, slopes = np.asarray(values), np.asarray(slopes)
    off = np.abs(np.float64(got[0]).ravel() - values) / np.maximum(1, np.abs(values))
    assert off.max() < 5e-7
    assert np.abs(np.float64(got[1]).ravel() - slopes).max() < 4e-6


def test_what_is_dropped_is_exactly_nothing():
    """Not even an overflow inside a dropped channel reaches the outputs or a gradient."""
    x, kernel, bias, scale, cotangent = draw(5, 3, 2, 9)
    scale[:] = 1
    scale[:, 2] = 0
    kernel[:, :, 2] = 3e38
    for activation in ("relu", "mish"):
        y, dx, dw, db = results(
            lambda *a, f=activation: block(*a, 2, f, True),
            *(x, kernel, bias, scale, cotangent),
        )
        np.testing.assert_array_equal(y[..., 2], x[..., 2])
        assert not np.any(dw[..., 2])
        assert db[2] == 0
        assert np.isfinite(dx).all()


def test_without_a_gradient_nothing_is_saved():
    case = draw(5, 3, 3, 7)[:4]
    lowered = jax.jit(lambda *a: block(*a, 1, "tanh", True)).lower(*case).as_text()
    assert "tensor<3x7x5xf32>, tensor<0xf32>" in lowered


def test_gradients_of_data_are_not_computed():
    x, kernel, bias, scale, _ = draw(5, 3, 3, 7)

    def loss(kernel, x):
        return (block(x, kernel, bias, scale, 1, "relu", True) ** 2).sum()

    def backward(arguments):
        lowered = jax.jit(jax.grad(loss, arguments)).lower(kernel, x).as_text()
        return next(line for line in lowered.splitlines() if "_backward" in line)

    assert "-> (tensor<0xf32>" in backward(0)
    assert "-> (tensor<3x7x5xf32>" in backward((0, 1))
    only, (also, _) = (jax.grad(loss, a)(kernel, x) for a in (0, (0, 1)))
    np.testing.assert_array_equal(only, also)


@pytest.mark.parametrize("activation", ["relu", "mish"])
def test_lanes_give_the_bits_of_each_alone(activation):
    lanes = [draw(5, 3, 2, 7, seed=s) for s in range(3)]

    def both(x, kernel, bias, scale, cotangent):
        values, pull = jax.vjp(
            lambda *a: block(*a, scale, 2, activation, True), x, kernel, bias
        )
        return values, *pull(cotangent)

    together = jax.jit(jax.vmap(both))(*map(np.stack, zip(*lanes, strict=True)))
    for k, lane in enumerate(lanes):
        for a, b in zip(together, jax.jit(both)(*lane), strict=True):
            np.testing.assert_array_equal(a[k], b)


def test_windows_of_a_batch_do_not_touch_each_other():
    x, kernel, bias, scale, _ = draw(33, 3, 5, 20)
    whole = block(x, kernel, bias, scale, 4, "tanh", True)
    for k in (0, 4):
        own = slice(k, k + 1)
        one = block(x[own], kernel, bias, scale[own], 4, "tanh", True)
        np.testing.assert_array_equal(whole[k], one[0])


def test_no_samples_and_no_windows():
    x, kernel, bias, scale, _ = draw(5, 3, 3, 7)
    assert block(x[:, :0], kernel, bias, scale, 1, "relu", True).shape == (3, 0, 5)
    assert block(x[:0], kernel, bias, scale[:0], 1, "mish", True).shape == (0, 7, 5)


@pytest.mark.parametrize("wrong", ["kernel", "bias", "scale", "skip"])
def test_shapes_that_do_not_fit_are_refused(wrong):
    """A kernel trusts its shapes; a wrong one must never reach it."""
    x, kernel, bias, scale, _ = draw(5, 3, 3, 7, inputs=2 if wrong == "skip" else 5)
    kernel = kernel[:, :4] if wrong == "kernel" else kernel
    bias = bias[:4] if wrong == "bias" else bias
    scale = scale[:2] if wrong == "scale" else scale
    with pytest.raises(TypeError, match=wrong):
        block(x, kernel, bias, scale, 1, "relu", True)


def stack(**changes):
    options = {"depth": 3, "kernel": 3, "activation": "tanh", "weight_norm": True}
    layers = ConvolutionStack(
        inputs=2, channels=20, dropout_name="model.dropout", **(options | changes)
    )
    initialize(layers, jax.random.key(0))
    return layers


def test_the_kernel_computes_and_only_in_single_precision(monkeypatch):
    x = np.zeros((2, 9, 2))

    def text(dtype):
        return jax.jit(stack()).lower(jnp.asarray(x, dtype)).as_text()

    assert text(jnp.float32).count("hpo_convolution_forward") == 3
    with jax.enable_x64(True):
        assert "hpo_" not in text(jnp.float64)
    monkeypatch.setenv("HPO_KERNELS", "off")
    assert "hpo_" not in text(jnp.float32)


@pytest.mark.parametrize("activation,rate", [("relu", 0.4), ("tanh", 0.0)])
def test_drops_the_channels_that_pure_jax_drops(activation, rate, monkeypatch):
    layers = stack(activation=activation)
    layers.rate[...] = jnp.float32(rate)
    x = jax.random.normal(jax.random.key(1), (4, 30, 2))
    fused = jax.jit(layers)(x, key=jax.random.key(2))
    if rate == 0:
        np.testing.assert_array_equal(fused, jax.jit(layers)(x))
    monkeypatch.setenv("HPO_KERNELS", "off")
    pure = jax.jit(layers)(x, key=jax.random.key(2))
    assert error(fused, pure) < 2e-6
