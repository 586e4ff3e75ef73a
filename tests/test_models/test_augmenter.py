"""The augmenter: as it was specified, what was wrong with that, what the default has instead."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx

from models.errors import ConfigError
from models.layers.augmenter import (
    TokenSemanticAugmenter,
    autocorrelation,
    time_encoding,
)
from models.layers.codebooks import Followed
from models.layers.initialization import Drawn, initialize

PLAIN = {"summarizer": "plain", "ar": "inclusive"}


def made(d_model=16, **options):
    found = TokenSemanticAugmenter(d_model, **{"d_intra": 8, **options})
    initialize(found, jax.random.key(0))
    return found


def window(length=96, channels=7, rows=2):
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, length, channels)).cumsum(axis=1) * 3 + 10
    x = jnp.asarray(x, jnp.float32)
    return x, x.mean(axis=1), x.std(axis=1)


@pytest.mark.parametrize("options", [{}, PLAIN], ids=["default", "plain"])
def test_shape_cache_and_gradients(options):
    """Of every parameter: the query, the projection and the autoregression among them."""
    layer, (x, mu, sigma) = made(**options), window()
    graph, params, rest = nnx.split(layer, nnx.Param, ...)

    @jax.jit
    def tokens(params, x, mu, sigma):
        return nnx.merge(graph, params, rest)(x, mu, sigma)

    def loss(params, x, mu, sigma):
        return jnp.sum(jnp.square(tokens(params, x, mu, sigma) - 1))

    found = tokens(params, x, mu, sigma)
    assert found.shape == (2, 7, 16) and np.isfinite(found).all()
    long = [jnp.broadcast_to(s[:, None], x.shape) for s in (mu, sigma)]
    np.testing.assert_allclose(tokens(params, x, *long), found, rtol=1e-4, atol=1e-5)
    gradients = nnx.to_pure_dict(jax.grad(loss)(params, x, mu, sigma))
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        # The plain scores are shifted by q·b, which a softmax does not see.
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, name
    assert {"query", "intra_proj", "ar_weight"} <= set(gradients)


def test_initial_weights_are_normal():
    layer = made(512, d_intra=256, ar_order=2000, queries=8)
    assert np.asarray(layer.query[...]).std() == pytest.approx(0.02, rel=0.1)
    weights = np.asarray(layer.ar_weight[...])
    assert weights.std() == pytest.approx(0.01, rel=0.1)
    assert 2.8 < np.abs(weights).max() / 0.01 < 5
    assert isinstance(made(ar_learnable=False).ar_weight, Drawn)
    assert not isinstance(made(ar_learnable=False).ar_weight, nnx.Param)


@pytest.mark.parametrize(("order", "shortest"), [(1, 3), (2, 3), (4, 5)])
def test_windows_that_are_too_short_are_refused(order, shortest):
    layer = made(ar_order=order)
    layer(*window(shortest, 1, 1))
    with pytest.raises(ValueError, match=f"at least {shortest} time steps .* got"):
        layer(*window(shortest - 1, 1, 1))


def test_other_columns_than_there_are_weights_for_are_refused():
    with pytest.raises(ValueError, match="weights for 3 columns, got 7"):
        made(n_vars=3)(*window())
    made(n_vars=3, use_ar=False)(*window())


def test_features_are_those_of_numpy():
    """Differences, autoregression of two columns' own weights, level and scale."""
    layer, (x, mu, sigma) = made(n_vars=7, eps=0.0, ar_order=3), window()
    layer.ar_weight.set_value(jnp.asarray(np.random.default_rng(1).normal(size=(7, 3))))
    u = np.asarray((x - mu[:, None]) / sigma[:, None], float).swapaxes(1, 2)
    found = np.asarray(layer.described(jnp.asarray(u, jnp.float32), mu, sigma))
    weights = np.asarray(layer.ar_weight[...], float)
    lagged = np.lib.stride_tricks.sliding_window_view(u[..., :-1], 3, axis=-1)
    residual = u[..., 3:] - np.einsum("bclk,ck->bcl", lagged, weights)
    wanted = [
        np.diff(u).mean(-1),
        np.diff(u).var(-1),
        np.diff(u, n=2).mean(-1),
        (u[..., 1:] * u[..., :-1]).mean(-1) / (u**2).mean(-1),
        (u[..., 2:] * u[..., :-2]).mean(-1) / (u**2).mean(-1),
        residual.var(-1),
        np.broadcast_to(np.abs(weights).sum(-1), (2, 7)),
        np.asarray(mu),
        np.log(sigma),
    ]
    np.testing.assert_allclose(found, np.stack(wanted, -1), rtol=2e-4, atol=2e-5)


def softmax(scores):
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def normed(values):
    """Layer normalization of new weights."""
    away = values - values.mean(axis=-1, keepdims=True)
    return away / np.sqrt((away**2).mean(axis=-1, keepdims=True) + 1e-5)


def linear(values, layer):
    bias = 0 if layer.bias is None else np.asarray(layer.bias[...], float)
    return values @ np.asarray(layer.weight[...], float) + bias


@pytest.mark.parametrize("options", [{}, PLAIN], ids=["default", "plain"])
def test_tokens_are_those_of_numpy(options):
    """All of it, written out: attention, features, fusion and skip, in float64."""
    layer, (x, mu, sigma) = made(**options), window(20, 3)
    plain, queries = bool(options), np.asarray(layer.query[...], float)
    if not plain:  # as if they had learned to differ
        layer.query.set_value(layer.query[...] * 100)
        queries = 100 * queries
    level, scale = np.asarray(mu, float), np.asarray(sigma, float)
    u = ((np.asarray(x, float) - level[:, None]) / (scale[:, None] + 1e-5)).swapaxes(
        1, 2
    )
    read = linear(u[..., None], layer.intra_proj)  # [B, C, L, D]
    if not plain:
        back = np.arange(20)[::-1, None] / 1e4 ** (np.arange(0, 8, 2) / 8)
        times = np.stack([np.sin(back), np.cos(back)], axis=-1).reshape(20, 8)
        read = np.maximum(read + linear(times, layer.time_proj), 0)
    scores = np.einsum("bcld,kd->bckl", read, queries) / np.sqrt(8)
    summary = np.einsum("bckl,bcld->bckd", softmax(scores), read)
    summary = summary.reshape(2, 3, -1)
    summary = normed(summary if plain else linear(summary, layer.gather))
    weights = np.asarray(layer.ar_weight[...], float)
    # Plain, the target is the last of its own window; else the one behind it.
    lagged = np.lib.stride_tricks.sliding_window_view(u, 4, axis=-1)
    lagged, wanted = (
        (lagged, u[..., 3:]) if plain else (lagged[..., :-1, :], u[..., 4:])
    )
    energy = (u**2).mean(-1) + 1e-5
    features = [
        np.diff(u).mean(-1),
        np.diff(u).var(-1),
        np.diff(u, n=2).mean(-1),
        (u[..., 1:] * u[..., :-1]).mean(-1) / energy,
        (u[..., 2:] * u[..., :-2]).mean(-1) / energy,
        (wanted - lagged @ weights).var(-1),
        np.full((2, 3), np.abs(weights).sum()),
        level,
        np.log(scale + 1e-5),
    ]
    found = np.stack(features, axis=-1)
    # A new running scale has mean 0 and variance 1.
    found = normed(found) if plain else found / np.sqrt(1 + 1e-5)
    hidden = linear(normed(np.concatenate([summary, found], axis=-1)), layer.widen)
    hidden = hidden * scipy.stats.norm.cdf(hidden)
    tokens = linear(hidden, layer.narrow) + linear(summary, layer.skip)
    assert layer.widen.weight.shape == (17, 32) and layer.skip.bias is None
    np.testing.assert_allclose(layer(x, mu, sigma), tokens, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("flag", "count"), [("dyn", 3), ("acf", 2), ("ar", 2), ("scale", 2)]
)
def test_every_flag_switches_its_features_off(flag, count):
    layer, (x, mu, sigma) = made(**{f"use_{flag}": False}), window()
    assert layer.features == 9 - count
    assert layer.described(jnp.swapaxes(x, 1, 2), mu, sigma).shape == (2, 7, 9 - count)
    assert hasattr(layer, "ar_weight") == (flag != "ar")


def test_without_features_and_skip_the_summary_alone_is_left():
    off = {f"use_{n}": False for n in ("dyn", "acf", "ar", "scale", "skip")}
    layer, (x, mu, sigma) = made(**off), window()
    assert layer.features == 0 and layer.skip is None
    # Blind to level and scale: they were taken out before.
    np.testing.assert_allclose(
        layer(x * 4 + 1, mu * 4 + 1, sigma * 4), layer(x, mu, sigma), atol=1e-3
    )


@pytest.mark.oracles
def test_autocorrelation_equals_statsmodels():
    stattools = pytest.importorskip("statsmodels.tsa.stattools")
    with jax.enable_x64(True):
        columns = np.random.default_rng(0).normal(size=(3, 50)).cumsum(axis=1)
        columns -= columns.mean(axis=1, keepdims=True)
        for lag in (1, 2, 7):
            got = autocorrelation(jnp.asarray(columns), lag)
            wanted = [
                stattools.acf(c, adjusted=True, fft=False, nlags=lag)[lag]
                for c in columns
            ]
            np.testing.assert_allclose(got, wanted, rtol=1e-12)


# -- what was wrong as it was specified, and is not by default ------------------------------


def summaries(layer, columns):
    found = np.asarray(layer._summary(columns), float).reshape(-1, 8)
    return found - found.mean(axis=0)


def columns():
    return jnp.asarray(np.random.default_rng(3).normal(size=(5, 7, 40)), jnp.float32)


def rank(matrix):
    values = np.linalg.svd(matrix, compute_uv=False)
    return int(np.sum(values > 1e-4 * values[0]))


def test_a_plain_summary_has_rank_1_and_several_timed_queries_do_not():
    assert rank(summaries(made(**PLAIN), columns())) == 1
    several = made(queries=4)
    several.query.set_value(
        several.query[...] * 100
    )  # as if they had learned to differ
    assert rank(summaries(several, columns())) > 4


def test_time_encoding_tells_orders_apart():
    there = columns()
    back = there[..., ::-1]
    plain, timed = made(**PLAIN), made()
    np.testing.assert_allclose(plain._summary(back), plain._summary(there), atol=1e-5)
    assert np.abs(np.asarray(timed._summary(back) - timed._summary(there))).max() > 0.01
    timed.time_proj.weight.set_value(jnp.zeros((8, 8)))  # it is the encoding that tells
    np.testing.assert_allclose(timed._summary(back), timed._summary(there), atol=1e-5)
    encoded = np.asarray(time_encoding(40, 8))
    assert (
        np.abs(encoded[:, None] - encoded[None])
        .max(axis=-1)[~np.eye(40, dtype=bool)]
        .min()
        > 0.1
    )


def test_several_queries_read_several_things():
    layer = made(queries=2)
    one = layer._summary(columns())
    layer.query.set_value(layer.query[...].at[1].multiply(200.0))
    assert np.abs(np.asarray(layer._summary(columns()) - one)).max() > 1e-3
    with pytest.raises(ConfigError, match="one query, got 3"):
        made(summarizer="plain", queries=3)


def test_the_autoregression_predicts_what_lies_behind_its_window():
    last = jnp.asarray([0.0, 0.0, 0.0, 1.0])
    inclusive, following = made(ar="inclusive"), made()
    for layer in (inclusive, following):
        layer.ar_weight.set_value(last)
    found = columns()
    assert not np.asarray(inclusive._residual(found)).any()  # it was told what to say
    np.testing.assert_allclose(
        following._residual(found), found[..., 4:] - found[..., 3:-1], atol=1e-6
    )
    assert following._residual(found).shape[-1] == 40 - 4
    assert inclusive._residual(found).shape[-1] == 40 - 3


def test_features_have_a_running_scale():
    """A large level drowns the others in a plain norm, and does not by default."""
    x, mu, sigma = window(40, 7, 64)
    apart = jnp.asarray(np.random.default_rng(5).normal(size=mu.shape), jnp.float32)
    x, mu = x + 1000 * apart[:, None], mu + 1000 * apart
    running = made()
    running(x, mu, sigma, key=jax.random.key(0))
    assert np.asarray(running.feature_norm.mean[...]).all(), "training lets it follow"
    described = running.described(
        jnp.swapaxes((x - mu[:, None]) / sigma[:, None], 1, 2), mu, sigma
    )
    for _ in range(200):
        running.feature_norm(described, training=True)
    scaled = np.asarray(running.feature_norm(described, training=False)).reshape(-1, 9)
    spread = scaled.std(axis=0)
    wide = np.asarray(described).reshape(-1, 9).std(axis=0) > 0.01  # beside its epsilon
    np.testing.assert_allclose(spread[wide], 1, rtol=0.1)
    assert wide[[1, 3, 4, 5, 7]].all()
    assert all(
        isinstance(v, Followed)
        for v in (running.feature_norm.mean, running.feature_norm.variance)
    )
    plain = np.asarray(made(**PLAIN).feature_norm(described)).reshape(-1, 9)
    apart = np.abs(plain[:, 0] - plain[:, 1])  # nine in ten tell the level's sign alone
    assert np.quantile(apart, 0.9) < 0.02
    assert np.quantile(np.abs(scaled[:, 0] - scaled[:, 1]), 0.9) > 1
