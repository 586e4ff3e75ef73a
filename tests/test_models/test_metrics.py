"""Metrics against numpy in float64 and scikit-learn, over batches cut in any way."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ConfigError, DataError
from models.metrics import Average, SequenceMetric, sequence_metrics
from models.tasks.sequences import scores


def oracle(prediction, target):
    """Every score in float64 on ``[samples, channels]``."""
    p, t = prediction.astype(np.float64), target.astype(np.float64)
    rmse = np.sqrt(np.mean((p - t) ** 2, axis=0))
    spread = np.sqrt(np.mean((t - t.mean(axis=0)) ** 2, axis=0))
    return {
        "rmse": rmse.mean(),
        "mae": np.mean(np.abs(p - t), axis=0).mean(),
        "nrmse": (rmse / spread).mean(),
        "fit": (100 * (1 - rmse / spread)).mean(),
        "r2": (1 - (rmse / spread) ** 2).mean(),
    }


def accumulated(metric, batches):
    state = None
    for prediction, target in batches:
        outputs, batch = {"y": jnp.asarray(prediction)}, {"y": jnp.asarray(target)}
        if state is None:
            state = metric.init(outputs, batch)
        state = metric.update(state, outputs, batch)
    return float(metric.finish(state))


def data(seed, *, count=12, length=30, channels=2, offset=0.0):
    random = np.random.default_rng(seed)
    target = random.normal(size=(count, length, channels)) * [1.0, 7.0][:channels]
    prediction = target + 0.2 * random.normal(size=target.shape)
    return ((x + offset).astype(np.float32) for x in (prediction, target))


def test_what_was_not_seen_does_not_count():
    """Per channel; a hidden target may hold anything, and a batch nothing at all."""
    prediction, target = data(5)
    seen = np.random.default_rng(6).random(target.shape) < 0.7
    seen[4:8, :, 1] = False
    hidden = np.where(seen, target, np.nan)
    per_channel = [
        oracle(prediction[..., [c]][m][:, None], target[..., [c]][m][:, None])
        for c in range(2)
        for m in [seen[..., [c]]]
    ]
    for metric in sequence_metrics():
        state = None
        for cut in (slice(0, 4), slice(4, 8), slice(8, 12)):
            outputs = {"y": jnp.asarray(prediction[cut])}
            batch = {"y": jnp.asarray(hidden[cut]), "seen.y": jnp.asarray(seen[cut])}
            state = metric.init(outputs, batch) if state is None else state
            state = metric.update(state, outputs, batch)
        wanted = np.mean([found[metric.name] for found in per_channel])
        np.testing.assert_allclose(float(metric.finish(state)), wanted, rtol=2e-5)
        pairs = list(zip(prediction.astype(float), hidden.astype(float), strict=True))
        np.testing.assert_allclose(
            scores(pairs, start=0, also=())[metric.name], wanted, rtol=2e-5
        )


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(1, 11), min_size=0, max_size=4, unique=True),
)
def test_equals_numpy_however_the_batches_are_cut(seed, cuts):
    prediction, target = data(seed)
    pieces = [np.split(x, sorted(cuts)) for x in (prediction, target)]
    wanted = oracle(prediction.reshape(-1, 2), target.reshape(-1, 2))
    for metric in sequence_metrics():
        got = accumulated(metric, zip(*pieces, strict=True))
        np.testing.assert_allclose(got, wanted[metric.name], rtol=2e-5)


def test_batches_of_unequal_length_count_by_sample():
    random = np.random.default_rng(0)
    shapes = [(2, 50, 1), (1, 7, 1), (3, 200, 1)]
    pairs = [
        [(s * random.normal(size=shape) + s).astype(np.float32) for _ in range(2)]
        for s, shape in enumerate(shapes, start=1)
    ]
    p, t = (
        np.concatenate([x.reshape(-1, 1) for x in xs])
        for xs in zip(*pairs, strict=True)
    )
    for metric in sequence_metrics():
        np.testing.assert_allclose(
            accumulated(metric, pairs), oracle(p, t)[metric.name], rtol=2e-5
        )


def test_a_large_offset_does_not_cancel_in_float32():
    """``sum(y²) - sum(y)²/n`` would lose every digit: 1e4² against a variance of 1."""
    prediction, target = data(1, count=20, length=500, channels=1, offset=1e4)
    wanted = oracle(prediction.reshape(-1, 1), target.reshape(-1, 1))
    pieces = zip(np.split(prediction, [3, 9]), np.split(target, [3, 9]), strict=True)
    pairs = list(pieces)
    for metric in sequence_metrics():
        np.testing.assert_allclose(
            accumulated(metric, pairs), wanted[metric.name], rtol=1e-4
        )


def test_a_long_record_is_summed_exactly_enough():
    prediction, target = data(2, count=1, length=400_000, channels=1)
    wanted = oracle(prediction.reshape(-1, 1), target.reshape(-1, 1))
    for metric in sequence_metrics():
        got = accumulated(metric, [(prediction, target)])
        np.testing.assert_allclose(got, wanted[metric.name], rtol=1e-5)


@pytest.mark.oracles
def test_equals_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    prediction, target = data(3)
    p, t = prediction.reshape(-1, 2), target.reshape(-1, 2)
    wanted = {
        "rmse": sklearn.root_mean_squared_error(t, p),
        "mae": sklearn.mean_absolute_error(t, p),
        "r2": sklearn.r2_score(t, p),
    }
    for name, value in wanted.items():
        got = accumulated(SequenceMetric(kind=name), [(prediction, target)])
        np.testing.assert_allclose(got, value, rtol=2e-5)


def test_the_start_is_not_scored():
    prediction, target = data(4)
    spoiled = prediction.copy()
    spoiled[:, :5] = 1e6
    wanted = oracle(prediction[:, 5:].reshape(-1, 2), target[:, 5:].reshape(-1, 2))
    for metric in sequence_metrics(start=5):
        got = accumulated(metric, [(spoiled, target)])
        np.testing.assert_allclose(got, wanted[metric.name], rtol=2e-5)
    names = {m.name: m for m in sequence_metrics(start=5, also=(0, 7))}
    assert {"rmse_from_0", "rmse_from_7"} < set(names)
    late = accumulated(names["rmse_from_7"], [(spoiled, target)])
    wanted = oracle(prediction[:, 7:].reshape(-1, 2), target[:, 7:].reshape(-1, 2))
    np.testing.assert_allclose(late, wanted["rmse"], rtol=2e-5)
    assert accumulated(names["rmse_from_0"], [(spoiled, target)]) > 1e5


def test_nan_is_reported():
    prediction, target = data(5)
    prediction[0, 0, 0] = np.nan
    for metric in sequence_metrics():
        assert np.isnan(accumulated(metric, [(prediction, target)]))


def test_average_counts_elements():
    metric = Average(name="m", function=lambda o, b: jnp.abs(o["y"] - b["y"]))
    pairs = [
        (np.ones((2, 3)), np.zeros((2, 3))),
        (np.full((1, 2), 5.0), np.ones((1, 2))),
    ]
    np.testing.assert_allclose(
        accumulated(metric, pairs), (6 * 1 + 2 * 4) / 8, rtol=1e-6
    )


def test_refuses():
    with pytest.raises(ConfigError) as caught:
        SequenceMetric(kind="rsme")
    assert "rmse" in str(caught.value.hint)
    with pytest.raises(ConfigError, match="-1"):
        SequenceMetric(kind="rmse", start=-1)
    metric = SequenceMetric(kind="rmse", start=30)
    y = {"y": jnp.zeros((1, 30, 1))}
    with pytest.raises(DataError, match="30"):
        metric.update(metric.init(y, y), y, y)
    with pytest.raises(ValueError, match=r"\(1, 30, 1\)"):
        metric.update(metric.init(y, y), {"y": jnp.zeros((1, 30))}, y)


def test_runs_compiled_and_in_lanes():
    prediction, target = (np.stack([x, 2 * x]) for x in data(6))
    metric = SequenceMetric(kind="fit")

    @jax.jit
    @jax.vmap
    def lanes(p, t):
        state = metric.init({"y": p}, {"y": t})
        return metric.finish(metric.update(state, {"y": p}, {"y": t}))

    for lane, got in enumerate(lanes(prediction, target)):
        wanted = accumulated(metric, [(prediction[lane], target[lane])])
        np.testing.assert_allclose(got, wanted, rtol=1e-5)
