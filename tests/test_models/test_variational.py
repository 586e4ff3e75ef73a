"""The evidence lower bound, its parts and schedules: torch, scipy, and a VAE solved exactly."""

from __future__ import annotations

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from models.errors import ConfigError
from models.losses.divergence import counted, gaussian_divergence
from models.losses.likelihood import gaussian_nll, optimal_nll
from models.metrics.codes import ActiveUnits
from models.variational import (
    WEIGHT_NOW,
    Divergence,
    Likelihood,
    NegativeBound,
    Scored,
    bound_terms,
    code_metrics,
)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# -- closed forms -----------------------------------------------------------------------------


def test_divergence_equals_torchs():
    torch = pytest.importorskip("torch")
    mean, log_variance = numbers(7, 3), numbers(7, 3, seed=1)
    normal = torch.distributions.Normal
    q = normal(torch.tensor(mean), torch.tensor(log_variance).mul(0.5).exp())
    p = normal(torch.zeros(7, 3), torch.ones(7, 3))
    np.testing.assert_allclose(
        gaussian_divergence(mean, log_variance),
        torch.distributions.kl_divergence(q, p),
        rtol=1e-5,
        atol=1e-6,
    )


def test_free_bits_in_both_forms():
    divergence = jnp.array([[0.1, 3.0], [0.5, 1.0]])  # means 0.3 and 2
    assert counted(divergence, free=0.0, form="mean") == pytest.approx(2.3)
    assert counted(divergence, free=0.0, form="each") == pytest.approx(2.3)
    assert counted(divergence, free=0.4, form="mean") == pytest.approx(0.4 + 2.0)
    assert counted(divergence, free=0.4, form="each") == pytest.approx(
        (0.0 + 2.6) / 2 + (0.1 + 0.6) / 2
    )
    assert counted(divergence, free=9.0, form="mean") == pytest.approx(18.0)
    assert counted(divergence, free=9.0, form="each") == 0


def test_likelihood_equals_scipys_and_the_optimal_one_is_its_minimum():
    errors, variance = numbers(50, seed=2), 0.3
    wanted = -scipy.stats.norm.logpdf(errors, scale=np.sqrt(variance))
    np.testing.assert_allclose(
        gaussian_nll(np.square(errors), np.float32(variance)), wanted, rtol=1e-5
    )
    grid = np.linspace(0.1, 3.0, 2000)
    means = [-scipy.stats.norm.logpdf(errors, scale=np.sqrt(v)).mean() for v in grid]
    best = optimal_nll(jnp.mean(jnp.square(errors)))
    assert float(best) == pytest.approx(min(means), abs=1e-5)


def test_the_sources_schedule():
    """Target 0.5, warm-up 10 and cycle 20 epochs of 40: 0, 0.25, 0.5, 0 at 0, 5, 10, 20."""
    found = weights(
        Divergence(weight=0.5, schedule="cyclical", ramp=0.5, cycles=2.0),
        [0, 5, 10, 15, 20, 25, 35],
        horizon=40,
    )
    np.testing.assert_allclose(found, [0, 0.25, 0.5, 0.5, 0, 0.25, 0.5], atol=1e-6)


def test_warm_up_rises_once_and_constant_not_at_all():
    rising = Divergence(weight=2.0, schedule="warm_up", ramp=0.25)
    np.testing.assert_allclose(
        weights(rising, [0, 5, 10, 40], horizon=40), [0, 1, 2, 2], atol=1e-6
    )
    assert weights(Divergence(weight=2.0), [0, 20], horizon=40) == [2, 2]


def weights(divergence, epochs, *, horizon):
    schedule = divergence.schedules()[WEIGHT_NOW]
    hyper = {f"divergence.{k}": jnp.float32(v) for k, v in divergence.traced().items()}
    assert schedule.at_rest(hyper) == divergence.weight  # never an annealed one
    return [float(schedule.function(hyper, jnp.float32(e / horizon))) for e in epochs]


# -- the bound of a batch ---------------------------------------------------------------------


def batch_with_gaps():
    seen = np.random.default_rng(3).random((4, 9, 2)) < 0.8
    batch = {"y": jnp.asarray(numbers(4, 9, 2)), "seen.y": jnp.asarray(seen)}
    code = {"mean": numbers(4, 3, seed=5), "log_variance": numbers(4, 3, seed=6)}
    outputs = {"y": jnp.asarray(numbers(4, 9, 2, seed=4)), "code": code}
    return outputs, batch


@pytest.mark.parametrize("kind", ["learned", "analytic"])
def test_bound_is_of_the_values_seen_and_divided_by_their_number(kind):
    outputs, batch = batch_with_gaps()
    std, start = np.array([2.0, 0.5]), 3
    scored = Scored(signal="y", std=std, start=start)
    errors = ((np.asarray(outputs["y"]) - np.asarray(batch["y"])) / std)[:, start:]
    seen = np.asarray(batch["seen.y"])[:, start:]
    variance = np.array([0.5, 3.0])
    if kind == "analytic":
        variance = np.array(
            [np.mean(errors[..., c][seen[..., c]] ** 2) for c in (0, 1)]
        )
    else:
        outputs["variance"] = jnp.broadcast_to(
            jnp.asarray(variance, jnp.float32), (4, 2)
        )
    likely = scipy.stats.norm.logpdf(errors, scale=np.sqrt(variance))[seen]
    mean, log_variance = (np.asarray(v, float) for v in outputs["code"].values())
    nats = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
    terms = bound_terms(divergence=Divergence(), scored=scored)
    hyper = {"divergence.free_bits": jnp.float32(0.0)}
    nll = terms["nll"].function(outputs, batch, hyper)
    kl = terms["kl"].function(outputs, batch, hyper)
    assert float(nll) == pytest.approx(-likely.mean(), rel=1e-5)
    assert float(kl) == pytest.approx(nats.sum() / seen.sum(), rel=1e-5)
    assert terms["kl"].weight == WEIGHT_NOW
    assert terms["beta"].weight == 0  # reported as it is, and no part of the loss
    assert terms["beta"].function(outputs, batch, {WEIGHT_NOW: 0.3}) == 0.3
    bound = NegativeBound(scored=scored, output="y")
    state = bound.init(outputs, batch)
    for rows in (slice(0, 1), slice(1, 4)):  # however it is cut
        state = bound.update(state, *rows_of((outputs, batch), rows))
    assert float(bound.finish(state)) == pytest.approx(float(nll + kl), rel=1e-5)


def rows_of(tree, rows):
    if isinstance(tree, dict):
        return {name: rows_of(value, rows) for name, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(rows_of(value, rows) for value in tree)
    return tree[rows]


# -- a linear VAE, solved ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def solved():
    """The optimum of a linear VAE with five latents on data of three directions and noise.

    Probabilistic PCA: ``W = U (Λ - σ²)^½``, posterior ``N(M⁻¹ Wᵀ x, σ² M⁻¹)``. Of five
    latents two have an eigenvalue that is not above σ², and decode to nothing.
    """
    random, channels, latents, variance = np.random.default_rng(0), 8, 5, 0.5
    scales = np.sqrt([6.0, 3.0, 1.5, 0.3, 0.2, 0.2, 0.1, 0.1])
    turn = np.linalg.qr(random.normal(size=(channels, channels)))[0]
    x = (random.normal(size=(400, channels)) * scales) @ turn.T
    x -= x.mean(axis=0)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    values, vectors = values[::-1][:latents], vectors[:, ::-1][:, :latents]
    decoder = vectors * np.sqrt(np.maximum(values - variance, 0.0))
    precision = np.square(decoder).sum(axis=0) + variance
    mean = x @ decoder / precision
    spread = np.broadcast_to(variance / precision, mean.shape)
    return SimpleNamespace(
        x=x, decoder=decoder, mean=mean, spread=spread, variance=variance
    )


def bound_of(s, mean):
    """The bound in nats a row; quadratic in the code, so that 2·L points average exactly."""
    latents = mean.shape[1]
    scored = Scored(signal="x", std=np.ones(s.x.shape[1]))
    bound, total = NegativeBound(scored=scored, output="x"), 0.0
    code = {"mean": jnp.asarray(mean), "log_variance": jnp.log(jnp.asarray(s.spread))}
    variance = jnp.full(s.x.shape, s.variance)
    for latent in range(latents):
        for sign in (-1, 1):
            step = np.zeros_like(mean)
            step[:, latent] = sign * np.sqrt(latents * s.spread[:, latent])
            decoded = jnp.asarray((mean + step) @ s.decoder.T)[:, None]
            outputs = {"x": decoded, "code": code, "variance": variance}
            batch = {"x": jnp.asarray(s.x)[:, None]}
            state = bound.update(bound.init(outputs, batch), outputs, batch)
            total += float(bound.finish(state)) / (2 * latents)
    return -total * s.x.shape[1]


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
def test_the_bound_is_tight_where_the_code_is_exact_and_lower_elsewhere(solved):
    covariance = solved.decoder @ solved.decoder.T
    covariance += solved.variance * np.eye(len(covariance))
    zero = np.zeros(len(covariance))
    likelihood = scipy.stats.multivariate_normal(zero, covariance).logpdf(solved.x)
    assert bound_of(solved, solved.mean) == pytest.approx(likelihood.mean(), rel=1e-5)
    assert bound_of(solved, 0.9 * solved.mean) < likelihood.mean() - 1e-3
    assert bound_of(solved, 1.1 * solved.mean) < likelihood.mean() - 1e-3


def test_active_units_are_those_above_the_noise_of_the_decoder(solved):
    code = {
        "mean": jnp.asarray(solved.mean, jnp.float32),
        "log_variance": jnp.log(jnp.asarray(solved.spread, jnp.float32)),
    }
    metric = ActiveUnits()
    state = metric.init({"code": code}, {})
    for rows in (slice(0, 150), slice(150, 400)):
        state = metric.update(state, rows_of({"code": code}, rows), {})
    assert float(metric.finish(state)) == 3
    carried, bits, active, informed, *each = code_metrics(5)
    found = []
    for metric in (carried, *each):
        state = metric.update(metric.init({"code": code}, {}), {"code": code}, {})
        found.append(float(metric.finish(state)))
    assert active.name == "active_units"
    in_bits = bits.update(bits.init({"code": code}, {}), {"code": code}, {})
    assert float(bits.finish(in_bits)) == pytest.approx(found[0] / np.log(2), rel=1e-5)
    state = informed.init({"code": code}, {})
    for rows in (slice(0, 150), slice(150, 400)):
        state = informed.update(state, rows_of({"code": code}, rows), {})
    assert float(informed.finish(state)) == sum(nats > 0.01 for nats in found[1:]) == 3
    assert found[0] == pytest.approx(sum(found[1:]), rel=1e-5)
    assert np.array(found[1:])[:3].min() > 0.3
    np.testing.assert_allclose(found[4:], 0.0, atol=1e-6)


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"ramp": 0.2}, "`divergence.ramp` acts while"),
        ({"schedule": "warm_up", "cycles": 2.0}, "`divergence.cycles` acts in"),
        ({"free_form": "each"}, "`divergence.free_form` says"),
    ],
)
def test_what_acts_on_nothing_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        Divergence(**settings)


def test_a_variance_is_refused_where_it_is_not_fixed():
    with pytest.raises(
        ConfigError, match="`likelihood.variance` acts where it is fixed"
    ):
        Likelihood(variance=0.5)
    Likelihood(kind="fixed", variance=0.5)
