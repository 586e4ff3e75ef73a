"""Criteria and how they combine, against numpy in float64; parts of a batch against the whole."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import triang

from models.errors import ConfigError
from models.losses import (
    Loss,
    activation,
    compose_losses,
    cosine,
    cut,
    huber,
    ignore_nan,
    mae,
    masked_loss,
    mse,
    normalised,
    nrmse,
    penalty,
    random_length,
    rmse,
    skip_n,
    temporal_activation,
    time_weighted,
    unaccounted,
    vaf,
)
from models.losses.quaternion import length_penalty
from models.losses.times import random_lengths, time_weights

RANDOM = np.random.default_rng(0)
P, T = RANDOM.normal(size=(2, 4, 9, 3)) * [1.0, 10.0, 0.1]
E = P - T
W = RANDOM.uniform(0.1, 2.0, size=P.shape)
SEEN = RANDOM.uniform(size=P.shape) < 0.7


def on(*arrays):
    return [jnp.asarray(a, bool if a.dtype == bool else jnp.float32) for a in arrays]


def spread(x, w=None):
    w = np.ones_like(x) if w is None else w
    mean = (w * x).sum((0, 1)) / w.sum((0, 1))
    return (w * (x - mean) ** 2).sum((0, 1)) / w.sum((0, 1))


def mean_c(x, w):
    return (w * x).sum((0, 1)) / w.sum((0, 1))


def cos(p, t, w):
    dot = (w * p * t).sum(1)
    return dot / np.sqrt((w * p * p).sum(1) * (w * t * t).sum(1))


PLAIN = {
    "mse": (mse, lambda p, t, w: (w * (p - t) ** 2).sum() / w.sum()),
    "mae": (mae, lambda p, t, w: (w * abs(p - t)).sum() / w.sum()),
    "huber": (
        huber,
        lambda p, t, w: (
            (w * np.where(abs(p - t) < 1, (p - t) ** 2 / 2, abs(p - t) - 0.5)).sum()
            / w.sum()
        ),
    ),
    "rmse": (rmse, lambda p, t, w: np.sqrt(mean_c((p - t) ** 2, w)).mean()),
    "nrmse": (
        nrmse,
        lambda p, t, w: np.sqrt(mean_c((p - t) ** 2, w) / spread(t, w)).mean(),
    ),
    "unaccounted": (
        unaccounted,
        lambda p, t, w: (spread(p - t, w) / spread(t, w)).mean(),
    ),
    "cosine": (cosine(), lambda p, t, w: (1 - cos(p, t, w)).mean()),
    "cosine2": (cosine(power=2), lambda p, t, w: ((1 - cos(p, t, w)) ** 2).mean()),
}


@pytest.mark.parametrize("name", PLAIN)
def test_criteria_equal_numpy_plain_masked_and_weighted(name):
    criterion, oracle = PLAIN[name]
    p, t, w, seen = on(P, T, W, SEEN)
    np.testing.assert_allclose(criterion(p, t), oracle(P, T, np.ones_like(P)), 1e-5)
    np.testing.assert_allclose(criterion(p, t, seen), oracle(P, T, SEEN * 1.0), 1e-5)
    np.testing.assert_allclose(criterion(p, t, w), oracle(P, T, W), 1e-5)
    spoiled = jnp.where(seen, t, jnp.nan)
    value, slope = jax.value_and_grad(criterion)(p, spoiled, seen)
    np.testing.assert_allclose(value, oracle(P, T, SEEN * 1.0), 1e-5)
    assert np.isfinite(slope).all() and (np.asarray(slope)[~SEEN] == 0).all()
    assert float(criterion(p, t, jnp.zeros_like(seen))) == 0.0
    with pytest.raises(ValueError, match=r"\(4, 9, 1\)"):
        criterion(p, t[..., :1])


@pytest.mark.parametrize("name", PLAIN)
def test_a_prediction_that_is_not_a_number_has_no_finite_loss(name):
    """Roots and ratios too: a model that diverged must not look like a perfect one."""
    p, t, seen = on(P, T, np.ones_like(SEEN))
    p = p.at[1, 3, 0].set(jnp.nan)
    assert np.isnan(PLAIN[name][0](p, t)) and np.isnan(PLAIN[name][0](p, t, seen))


@pytest.mark.parametrize("name", PLAIN)
def test_slopes_are_finite_at_a_perfect_prediction(name):
    (t,) = on(T)
    slope = jax.grad(PLAIN[name][0])(t, t)
    assert np.isfinite(slope).all()


def test_vaf_is_percent_and_blind_to_an_offset():
    p, t = on(P, T)
    wanted = (100 * (1 - E.var((0, 1)) / T.var((0, 1)))).mean()
    np.testing.assert_allclose(vaf(p, t), wanted, rtol=1e-5)
    np.testing.assert_allclose(vaf(p + 5.0, t), wanted, rtol=1e-3)


def test_parts_of_time_and_channels():
    p, t, seen = on(P, T, SEEN)
    late = E[:, 4:] ** 2
    np.testing.assert_allclose(skip_n(mse, 4)(p, t), late.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        skip_n(mse, 4)(p, t, seen), late[SEEN[:, 4:]].mean(), rtol=1e-5
    )
    np.testing.assert_allclose(cut(mae, 2, -3)(p, t), abs(E[:, 2:-3]).mean(), rtol=1e-5)
    for channels, picked in ((2, [0, 1]), ((2, 0), [2, 0])):
        np.testing.assert_allclose(
            masked_loss(mse, channels=channels)(p, t),
            (E[..., picked] ** 2).mean(),
            rtol=1e-5,
        )
    nested = skip_n(masked_loss(mae, channels=(1,)), 3)
    np.testing.assert_allclose(nested(p, t), abs(E[:, 3:, 1]).mean(), rtol=1e-5)
    slope = jax.grad(masked_loss(mse, channels=2))(p, t)
    assert (np.asarray(slope)[..., 2] == 0).all(), "extra outputs are free"


def test_nothing_left_is_refused():
    p, t = on(P, T)
    with pytest.raises(ConfigError, match="leave nothing"):
        skip_n(mse, 9)(p, t)
    with pytest.raises(ConfigError, match="there are 3"):
        masked_loss(mse, channels=4)(p, t)
    with pytest.raises(ConfigError, match="1 or more"):
        masked_loss(mse, channels=0)
    with pytest.raises(ConfigError, match="-1"):
        skip_n(mse, -1)


def test_nan_is_left_out_with_one_shape():
    p, t = on(P, np.where(SEEN, T, np.nan))
    calls = []

    @jax.jit
    def loss(p, t):
        calls.append(0)
        return ignore_nan(mse)(p, t)

    np.testing.assert_allclose(loss(p, t), (E[SEEN] ** 2).mean(), rtol=1e-5)
    fewer = jnp.where(jnp.asarray(W) > 1, t, jnp.nan)
    keep = SEEN & (np.float32(W) > 1)
    np.testing.assert_allclose(loss(p, fewer), (E[keep] ** 2).mean(), rtol=1e-5)
    assert len(calls) == 1, "another pattern of gaps compiles nothing"
    slope = np.asarray(jax.grad(ignore_nan(mse))(p, t))
    assert np.isfinite(slope).all() and (slope[~SEEN] == 0).all()
    both = ignore_nan(mae)(p, t, jnp.asarray(W, jnp.float32))
    wanted = (W * abs(E))[SEEN].sum() / W[SEEN].sum()
    np.testing.assert_allclose(both, wanted, rtol=1e-5)


def test_normalised_is_in_standard_deviations():
    p, t = on(P, T)
    std, mean = np.array([1.0, 10.0, 0.1]), np.array([3.0, -2.0, 0.5])
    np.testing.assert_allclose(
        normalised(mse, std=std)(p, t), ((E / std) ** 2).mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
        normalised(cosine(), std=std, mean=mean)(p, t),
        (1 - cos((P - mean) / std, (T - mean) / std, np.ones_like(P))).mean(),
        rtol=1e-5,
    )


def test_time_weights_are_on_a_logarithmic_scale_and_sum_to_one():
    p, t, seen = on(P, T, SEEN)
    line = np.logspace(0, -1, 9)
    np.testing.assert_allclose(time_weights(9), line, rtol=1e-5)
    w = np.broadcast_to((line / line.sum())[None, :, None], P.shape)
    wanted = (w * abs(E)).sum() / (4 * 3)
    np.testing.assert_allclose(time_weighted(mae)(p, t), wanted, rtol=1e-5)
    w = w * SEEN
    np.testing.assert_allclose(
        time_weighted(mae)(p, t, seen), (w * abs(E)).sum() / w.sum(), rtol=1e-5
    )
    last = jax.jit(lambda last: time_weighted(mae, last=last)(p, t))
    assert float(last(1.0)) == pytest.approx(abs(E).mean(), rel=1e-5)
    assert float(last(0.01)) != float(last(1.0))


def test_random_lengths_are_triangular_and_follow_the_key():
    drawn = np.asarray(random_lengths(jax.random.key(0), 4000, shortest=5, longest=24))
    assert drawn.min() == 5 and drawn.max() <= 24
    # The same distribution by scipy: mode at the lower end, rounded down.
    edges = triang(0.0, loc=5, scale=20).cdf(np.arange(5, 26))
    counts = np.bincount(drawn, minlength=25)[5:25]
    assert abs(counts / 4000 - np.diff(edges)).max() < 0.02


def test_a_random_length_takes_a_key_and_counts_up_to_it():
    p, t = on(P, T)
    loss = random_length(mse, shortest=2)
    lengths = np.asarray(random_lengths(jax.random.key(3), 4, shortest=2, longest=9))
    early = np.arange(9)[None, :] < lengths[:, None]
    np.testing.assert_allclose(
        loss(jax.random.key(3), p, t), (E[early] ** 2).mean(), rtol=1e-5
    )
    values = {float(loss(jax.random.key(k), p, t)) for k in range(5)}
    assert len(values) > 1


def test_penalties_read_outputs_that_nest():
    h = RANDOM.normal(size=(2, 6, 4))
    g = RANDOM.normal(size=(2, 6, 1))
    outputs = {"states": {"encoder": on(h)[0], "both": on(h, g)}}
    term = penalty("activation", output="states/encoder", weight=1.0)
    np.testing.assert_allclose(term.function(outputs, {}, {}), (h**2).mean(), 1e-5)
    both = np.concatenate([h.ravel(), g.ravel()])
    np.testing.assert_allclose(
        activation(outputs["states"]["both"]), (both**2).mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
        temporal_activation(outputs["states"]["encoder"]),
        (np.diff(h, axis=1) ** 2).mean(),
        rtol=1e-5,
    )
    with pytest.raises(ConfigError, match="states/decoder") as caught:
        penalty("activation", output="states/decoder", weight=1.0).function(
            outputs, {}, {}
        )
    assert "encoder" in str(caught.value.hint)
    with pytest.raises(ConfigError, match="unknown penalty"):
        penalty("activations", output="states", weight=1.0)


def test_composed_losses_are_the_engines_with_traced_weights():
    p, t, seen = on(P, T, SEEN)
    loss = compose_losses({"mse": mse, "end": (cut(mae, -2, None), "loss.end")})
    assert isinstance(loss, Loss) and loss.names == ("mse", "end") and not loss.whole
    end = abs(E[:, -2:]).mean()
    total, terms = jax.jit(loss)({"y": p}, {"y": t}, {"loss.end": jnp.float32(3.0)})
    np.testing.assert_allclose(total, (E**2).mean() + 3 * end, rtol=1e-5)
    np.testing.assert_allclose(terms["end"], end, rtol=1e-5)
    _, terms = loss({"y": p}, {"y": t, "seen.y": seen}, {"loss.end": jnp.float32(0.0)})
    np.testing.assert_allclose(terms["mse"], (E[SEEN] ** 2).mean(), rtol=1e-5)
    counted = jnp.arange(9)[None, :, None] < 5
    _, terms = loss(
        {"y": p},
        {"y": t, "seen.y": seen, "counted.y": jnp.broadcast_to(counted, (4, 9, 1))},
        {"loss.end": jnp.float32(0.0)},
    )
    early = SEEN & (np.arange(9) < 5)[None, :, None]
    np.testing.assert_allclose(terms["mse"], (E[early] ** 2).mean(), rtol=1e-5)
    assert compose_losses({"nrmse": nrmse}).whole


def test_penalties_are_composed_beside_criteria():
    p, t = on(P, T)
    q = RANDOM.normal(size=(4, 9, 4))
    loss = compose_losses(
        {
            "mse": mse,
            "rest": penalty("activation", output="y", weight="w"),
            "length": penalty(length_penalty, output="turn", weight=2.0),
        }
    )
    total, terms = loss({"y": p, "turn": on(q)[0]}, {"y": t}, {"w": jnp.float32(0.5)})
    length = ((1 - np.linalg.norm(q, axis=-1)) ** 2).mean()
    np.testing.assert_allclose(terms["length"], length, rtol=1e-5)
    wanted = (E**2).mean() + 0.5 * (P**2).mean() + 2 * length
    np.testing.assert_allclose(total, wanted, rtol=1e-5)


def test_what_is_no_loss_is_refused():
    p, t = on(P, T)
    for wrong in (vaf, (vaf, 1.0), "mse", (mse, 1.0, 2.0)):
        with pytest.raises(ConfigError, match="`some` must be a criterion"):
            compose_losses({"some": wrong})
    for name, outputs, batch in (("x", {"y": p}, {"x": t}), ("x", {"x": p}, {"y": t})):
        with pytest.raises(ConfigError, match="there is no `x`"):
            compose_losses({"mse": mse}, signal=name)(outputs, batch, {})
    for end in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="`last` is positive"):
            time_weighted(mae, last=end)(p, t)
    for std in ([1.0, 0.0, 1.0], [1.0, np.nan, 1.0]):
        with pytest.raises(ConfigError, match="must be positive"):
            normalised(mse, std=np.array(std))
    with pytest.raises(ConfigError, match="each of 3 channels"):
        normalised(mse, std=np.ones(1))(p, t)  # it would broadcast
    with pytest.raises(ConfigError, match="different numbers"):
        masked_loss(mse, channels=(1, 1))
    with pytest.raises(ConfigError, match=r"0 or more, got 1\.5"):
        skip_n(mse, 1.5)
    with pytest.raises(ConfigError, match="at least 1 sample"):
        random_length(mse, shortest=0)
    whole = random_length(mse, shortest=99)(jax.random.key(0), p, t)
    np.testing.assert_allclose(whole, (E**2).mean(), rtol=1e-5)


def test_parts_of_a_batch_weighed_by_their_counts_are_the_whole():
    """Without the shares the mean of the parts' means is another number."""
    p, t, seen = on(P, T, SEEN)
    seen = seen.at[0].set(False).at[1, 2:].set(False)
    loss = compose_losses(
        {
            "mse": skip_n(mse, 2),
            "cosine": (cosine(), "w"),
            "weighted": time_weighted(mae),
            "nan": ignore_nan(mae),
        }
    )
    hyper = {"w": jnp.float32(0.7)}
    t = t.at[2, 3].set(jnp.nan)
    batch = {"y": jnp.where(seen, t, 0.0), "seen.y": seen & ~jnp.isnan(t)}

    def whole(p):
        return loss({"y": p}, batch, hyper)[0]

    def parted(p, weighed):
        counts = loss.counts(batch, hyper)
        total = jnp.zeros(())
        for i in range(2):
            part = {k: v[2 * i : 2 * i + 2] for k, v in batch.items()}
            here = loss.counts(part, hyper)
            shares = {k: 2 * here[k] / counts[k] for k in counts} if weighed else None
            outputs = {"y": p[2 * i : 2 * i + 2]}
            total += loss(outputs, part, hyper, shares=shares)[0] / 2
        return total

    wanted, slope = jax.value_and_grad(whole)(p)
    got, exact = jax.value_and_grad(parted)(p, True)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    np.testing.assert_allclose(exact, slope, rtol=1e-6, atol=1e-7)
    assert abs(float(parted(p, False)) / float(wanted) - 1) > 0.01
