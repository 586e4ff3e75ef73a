"""Strided convolutions by torch's, and codes of whole windows: shapes, gaps, what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.data.statistics import Statistics
from models.errors import ConfigError
from models.layers import strided
from models.layers.batch_normalization import BatchNormalization
from models.layers.initialization import initialize
from models.layers.multiscale import MultiscaleDecoder, MultiscaleEncoder, fitting
from models.layers.strided import mirrored_convolution, strided_convolution
from models.layers.window_coder import Coder, WindowCoder

SHAPES = [
    (3, 2, 745),
    (5, 2, 48),
    (15, 4, 187),
    (127, 8, 94),
    (255, 16, 745),
    (1, 8, 3),
]


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("kernel,stride,length", [*SHAPES, (3, 8, 5), (5, 1, 9)])
def test_strided_convolutions_are_torchs(kernel, stride, length):
    torch = pytest.importorskip("torch")
    x, w = numbers(2, length, 3), numbers(kernel, 3, 4, seed=1)
    plain, padding = torch.nn.functional, kernel // 2
    seen = torch.tensor(x).transpose(1, 2)
    there = plain.conv1d(
        seen, torch.tensor(w).permute(2, 1, 0), stride=stride, padding=padding
    )
    found = jax.jit(strided_convolution, static_argnames="stride")(x, w, stride=stride)
    assert found.shape[1] == -(-length // stride)
    np.testing.assert_allclose(found, there.transpose(1, 2), rtol=2e-4, atol=2e-4)
    if length > 200:
        x = x[:, :12]
        seen = seen[..., :12]
    back = plain.conv_transpose1d(
        seen,
        torch.tensor(w).permute(1, 2, 0),
        stride=stride,
        padding=padding,
        output_padding=stride - 1,
    )
    found = jax.jit(mirrored_convolution, static_argnames="stride")(x, w, stride=stride)
    assert found.shape[1] == x.shape[1] * stride
    np.testing.assert_allclose(found, back.transpose(1, 2), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("kernel,stride,length", [*SHAPES, (3, 8, 5), (5, 1, 9)])
def test_views_that_no_cache_holds_give_the_same(kernel, stride, length, monkeypatch):
    x, w = numbers(2, length, 3), numbers(kernel, 3, 4, seed=1)

    def value_and_gradients():
        def total(x, w):
            found = strided_convolution(x, w, stride=stride)
            return jnp.sum(jnp.sin(found)), found

        traced = str(jax.make_jaxpr(total)(x, w))
        return jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(x, w), traced

    views, side_by_side = value_and_gradients()
    monkeypatch.setattr(strided, "_CACHED", 0)
    products, summed = value_and_gradients()
    assert side_by_side != summed or kernel <= stride
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4),
        products,
        views,
    )


def test_batch_normalization_is_torchs():
    """Three batches of training and one of evaluation: outputs, gradients, averages."""
    torch = pytest.importorskip("torch")
    scale, shift = numbers(5, seed=1), numbers(5, seed=2)
    theirs = torch.nn.BatchNorm1d(5)
    ours = BatchNormalization(5)
    ours.scale.set_value(jnp.asarray(scale))
    ours.shift.set_value(jnp.asarray(shift))
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(scale))
        theirs.bias.copy_(torch.tensor(shift))
    graph, state = nnx.split(ours)

    @jax.jit
    def step(state, x):
        made = nnx.merge(graph, state, copy=True)
        outputs = made(x, training=True)
        return outputs, nnx.split(made)[1]

    cube = jax.jit(jax.grad(lambda x, s: jnp.sum(step(s, x)[0] ** 3)))
    for seed in range(3):
        x = 3 * numbers(4, 6, 5, seed=seed) + 2
        leaf = torch.tensor(x, requires_grad=True)
        wanted = theirs(leaf.transpose(1, 2)).transpose(1, 2)
        (wanted**3).sum().backward()
        np.testing.assert_allclose(cube(x, state), leaf.grad, rtol=1e-3, atol=1e-3)
        outputs, state = step(state, x)
        np.testing.assert_allclose(outputs, wanted.detach(), rtol=1e-4, atol=1e-5)
    made = nnx.merge(graph, state)
    np.testing.assert_allclose(made.mean[...], theirs.running_mean, rtol=1e-5)
    np.testing.assert_allclose(made.variance[...], theirs.running_var, rtol=1e-5)
    theirs.eval()
    wanted = theirs(torch.tensor(x).transpose(1, 2)).transpose(1, 2)
    again = made(x, training=False)
    np.testing.assert_allclose(again, wanted.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(made.mean[...], nnx.merge(graph, state).mean[...])


@pytest.mark.parametrize("layout", ["original", "fitted"])
def test_only_the_sources_layers_are_normalized(layout):
    """The source's: a convolution, its normalization, a leaky unit; 8 + 13 of them."""
    sides = encoder(64, layout=layout), decoder(64, layout)
    found = [
        node
        for side in sides
        for _, node in nnx.iter_graph(side)
        if isinstance(node, BatchNormalization)
    ]
    assert len(found) == (21 if layout == "original" else 0)


def shapes_of(make, *arguments, **keywords):
    """Shapes of what a new module gives; nothing is computed."""

    def run():
        module = make()
        initialize(module, jax.random.key(0))
        return module(*arguments, **keywords)

    return jax.tree.map(lambda leaf: leaf.shape, nnx.eval_shape(run))


def encoder(length, **changes):
    settings = {"pool": "flatten", "layout": "fitted", "channels": 4} | changes
    return MultiscaleEncoder(
        inputs=4, length=length, features=6, dropout_name="coder.dropout", **settings
    )


def decoder(length, layout="fitted", channels=4):
    return MultiscaleDecoder(
        code=3,
        outputs=2,
        length=length,
        channels=channels,
        layout=layout,
        dropout_name="coder.dropout",
    )


@pytest.mark.parametrize("length", [1, 5, 47, 48, 168, 745, 5000])
def test_windows_of_any_length(length):
    x = jnp.zeros((2, length, 4))
    for pool in ("flatten", "mean"):
        assert shapes_of(lambda p=pool: encoder(length, pool=p), x) == (2, 6)
    merged, branches = shapes_of(lambda: decoder(length), jnp.zeros((2, 3)))
    assert merged == (2, length, 2) and branches == [(2, length, 2)] * 4


def test_kernels_fit():
    assert [fitting(255, n) for n in (1, 2, 3, 94, 255, 300)] == [1, 1, 3, 93, 255, 255]
    made = nnx.eval_shape(lambda: encoder(48))
    sizes = [[layer.kernel.shape[0] for layer in b] for b in made.branches]
    assert sizes == [[3, 5, 5], [15, 11], [47, 5], [47]]


def compiled(make, use):
    """A function of arrays that uses a new module, as one program."""

    def run(*arguments):
        module = make()
        initialize(module, jax.random.key(1))
        return use(module, *arguments)

    return jax.jit(run)


def test_no_branch_repeats_an_edge_and_none_is_cut_on_one_side():
    """Every sample of every branch depends on the code in a way of its own."""
    branches = compiled(lambda: decoder(70), lambda d, x: d(x)[1])(numbers(1, 3))
    for branch in branches:
        steps = np.abs(np.diff(np.asarray(branch)[0], axis=0)).max(axis=-1)
        assert (steps[:20] > 1e-7).all() and (steps[-20:] > 1e-7).all()
    original = compiled(lambda: decoder(745, "original"), lambda d, x: d(x)[1])
    edge = [
        np.ptp(np.asarray(b)[0, 512:], axis=0).max() for b in original(numbers(1, 3))
    ]
    assert max(edge[:3]) == 0 < edge[3]


STATISTICS = Statistics(
    mean={"x": np.array([5.0, -1.0])}, std={"x": np.array([2.0, 0.5])}, count=9
)


def coder(kind="recurrent"):
    return WindowCoder(
        config=Coder(kind=kind),
        role="x",
        length=9,
        features=4,
        code=3,
        statistics=STATISTICS,
    )


def test_what_is_not_shown_changes_nothing():
    values, shown = numbers(2, 9, 2), np.random.default_rng(1).random((2, 9, 2)) < 0.7
    read = compiled(coder, lambda module, *given: module.read(*given))
    found = read(values, shown)
    for spoiled in (1e30, np.nan):
        other = np.where(shown, values, np.float32(spoiled))
        np.testing.assert_array_equal(read(other, shown), found)
    assert np.abs(np.asarray(read(values, ~shown) - found)).max() > 1e-4

    def hiding(module, rate, *given):
        module.hidden.set_value(rate)
        return module.read(*given, key=jax.random.key(0))

    hide = compiled(coder, hiding)  # in training; a rate of 0 hides nothing
    apart = [np.asarray(hide(np.float32(r), values, shown) - found) for r in (0.0, 0.9)]
    assert np.abs(apart[0]).max() < 1e-6 and np.abs(apart[1]).max() > 1e-4


def test_windows_are_written_in_physical_units():
    def both(module, codes):
        return module.write(codes).values, module.writer(codes)[0]

    found, plain = compiled(coder, both)(numbers(2, 3))
    wanted = np.asarray(plain) * [2.0, 0.5] + [5.0, -1.0]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_dropout_drops_whole_channels_by_one_draw(monkeypatch):
    draws = []
    uniform = jax.random.uniform
    monkeypatch.setattr(
        jax.random, "uniform", lambda *a, **k: draws.append(a[1]) or uniform(*a, **k)
    )

    def thrice(module, x):
        draws.clear()
        module.rate.set_value(jnp.float32(0.5))
        key = jax.random.key(1)
        return module(x, key=key), module(x, key=key), module(x)

    dropped, again, whole = compiled(lambda: encoder(16), thrice)(numbers(3, 16, 4))
    assert draws == [(3, 1, 2 + 4 + 4 + 2 + 4 + 2 + 4 + 4)] * 2
    np.testing.assert_array_equal(dropped, again)
    assert np.abs(np.asarray(dropped - whole)).max() > 1e-4


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"kind": "recurrent", "pool": "mean"}, "`coder.pool` acts where"),
        (
            {"kind": "recurrent", "branch_weight": 0.1},
            "`coder.branch_weight` acts where",
        ),
        ({"layers": 2}, "`coder.layers` acts where"),
        ({"kind": "recurrent", "dropout": 0.1}, "acts between two recurrent layers"),
    ],
)
def test_what_acts_on_nothing_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        Coder(**settings)
