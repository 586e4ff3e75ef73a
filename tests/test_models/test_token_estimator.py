"""The estimator over tokens: its four uses, against posteriors that are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.errors import ConfigError, TokenError
from models.layers.flow import Solver
from models.layers.token_network import Network
from models.layers.tokens import TokenGenerator, generate_static_dataset
from models.token_estimator import TokenEstimator
from models.training.optimizer import Optimizer

pytestmark = pytest.mark.slow  # every test rests on one training
SPREAD, NOISE = 0.5, 0.5


def prior(key, n, sites=3):
    first, second = jax.random.split(key)
    mu = jax.random.normal(first, (n, 1, 1))
    theta = mu + SPREAD * jax.random.normal(second, (n, sites, 1))
    return {"mu": mu, "theta": theta}


def simulate(key, parameters, inputs):
    theta = parameters["theta"]
    return {"obs": theta + NOISE * jax.random.normal(key, theta.shape)}


SETTINGS = {
    "prior_fn": prior,
    "simulator_fn": simulate,
    "independence": {
        "local": ["theta", "obs"],
        "cross_local": [("theta", "obs", (0, 0))],
    },
}


def estimator():
    return TokenEstimator(
        network=Network(size=16, blocks=2, heads=2, frequencies=2, mask="independence"),
        optimizer=Optimizer(learning_rate=1e-2, schedule="warmup_cosine"),
        solver=Solver(steps=4),
        epochs=20,
        batch_size=64,
    )


@pytest.fixture(scope="module")
def fitted():
    made = estimator()
    generator = TokenGenerator(**SETTINGS, n_samples=2000, batch_size=1000, seed=1)
    epochs = made.fit(
        generator, target_keys=("mu", "theta"), conditioning_keys=("obs",)
    )
    assert len(epochs) == 20 and epochs[-1].valid["loss.velocity"] < 1.2
    return made


def exact(obs):
    """Mean and covariance of (μ, θ) given obs ``[sites]``, by conditioning the joint."""
    n = len(obs)
    cov = np.ones((2 * n + 1, 2 * n + 1))
    cov[1 : n + 1, 1 : n + 1] += SPREAD**2 * np.eye(n)
    cov[n + 1 :, n + 1 :] += (SPREAD**2 + NOISE**2) * np.eye(n)
    cov[1 : n + 1, n + 1 :] += SPREAD**2 * np.eye(n)
    cov[n + 1 :, 1 : n + 1] += SPREAD**2 * np.eye(n)
    gain = np.linalg.solve(cov[n + 1 :, n + 1 :], cov[n + 1 :, : n + 1]).T
    return gain @ obs, cov[: n + 1, : n + 1] - gain @ cov[n + 1 :, : n + 1]


def drawn(made, tokens, draws=1500):
    found = made.sample(
        tokens,
        target_keys=("mu", "theta"),
        conditioning_keys=("obs",),
        key=jax.random.key(5),
        draws=draws,
    )
    assert set(found) == {"mu", "theta"}
    return np.concatenate([found["mu"][..., 0], found["theta"][..., 0]], axis=-1)


def close(samples, obs, *, mean, spread):
    wanted, cov = exact(np.asarray(obs))
    deviation = np.sqrt(np.diag(cov))
    assert (np.abs(samples.mean(axis=0) - wanted) < mean * deviation).all()
    np.testing.assert_allclose(samples.std(axis=0), deviation, rtol=spread)


def test_values_are_overridden_by_what_was_observed(fitted):
    tokens = generate_static_dataset(jax.random.key(9), **SETTINGS, n_samples=1)
    observed = np.array([0.8, -0.2, 0.3], np.float32)
    tokens = tokens.with_values(obs=observed.reshape(1, 3, 1))
    close(drawn(fitted, tokens)[:, 0], observed, mean=0.4, spread=0.25)
    other = tokens.with_values(mu=np.full((1, 1, 1), 9.0))  # targets do not matter
    np.testing.assert_array_equal(drawn(fitted, other, 3), drawn(fitted, tokens, 3))


def test_tokens_are_restructured_to_fewer_sites(fitted):
    settings = {**SETTINGS, "prior_fn": lambda key, n: prior(key, n, sites=2)}
    tokens = generate_static_dataset(jax.random.key(2), **settings, n_samples=1)
    tokens = tokens.with_values(obs=np.array([[[0.5], [-0.5]]], np.float32))
    samples = drawn(fitted, tokens)
    assert samples.shape == (1500, 1, 3) and np.isfinite(samples).all()
    # It has never seen two sites: near, not exact.
    close(samples[:, 0], [0.5, -0.5], mean=0.8, spread=0.5)


def test_what_is_selected_is_all_that_counts(fitted):
    """Another key, even one that the network does not know, changes nothing."""

    def more(key, parameters, inputs):
        return {**simulate(key, parameters, inputs), "extra": parameters["mu"] * 3}

    plain = generate_static_dataset(jax.random.key(4), **SETTINGS, n_samples=2)
    other = generate_static_dataset(
        jax.random.key(4), **{**SETTINGS, "simulator_fn": more}, n_samples=2
    )
    np.testing.assert_array_equal(drawn(fitted, other, 3), drawn(fitted, plain, 3))
    with pytest.raises(TokenError, match="'extra' not found"):
        fitted.sample(
            other,
            target_keys=("extra",),
            conditioning_keys=("obs",),
            key=jax.random.key(0),
        )
    with pytest.raises(TokenError, match="on both sides"):
        fitted.sample(
            other, target_keys=("mu",), conditioning_keys=("mu",), key=jax.random.key(0)
        )


def test_densities(fitted):
    """Near the exact one; and estimated, with a key, near the one that is computed."""
    tokens = generate_static_dataset(jax.random.key(3), **SETTINGS, n_samples=20)
    sides = {"target_keys": ("mu", "theta"), "conditioning_keys": ("obs",)}
    found = np.asarray(fitted.log_prob(tokens, **sides))
    values = tokens.decode()
    wanted = []
    for row in range(20):
        mean, cov = exact(np.asarray(values["obs"][row, :, 0]))
        place = (
            np.concatenate([values["mu"][row, :, 0], values["theta"][row, :, 0]]) - mean
        )
        inside = place @ np.linalg.solve(cov, place)
        wanted.append(-0.5 * (inside + np.linalg.slogdet(2 * np.pi * cov)[1]))
    assert np.abs(np.median(found - np.array(wanted))) < 0.3
    guess = fitted.log_prob(tokens, **sides, key=jax.random.key(0))
    assert np.abs(np.mean(guess - found)) < 0.2 and not np.array_equal(guess, found)


def test_keys_are_swapped_to_learn_the_simulator():
    made = estimator()
    with pytest.raises(ConfigError, match="not fitted"):
        made.sample(None, target_keys=(), conditioning_keys=(), key=jax.random.key(0))
    tokens = generate_static_dataset(jax.random.key(1), **SETTINGS, n_samples=2000)
    made.fit(tokens, target_keys=("obs",), conditioning_keys=("theta",))
    one = generate_static_dataset(jax.random.key(6), **SETTINGS, n_samples=1)
    theta = jnp.array([[[1.0], [0.0], [-1.0]]])
    found = made.sample(
        one.with_values(theta=theta),
        target_keys=("obs",),
        conditioning_keys=("theta",),
        key=jax.random.key(0),
        draws=1500,
    )["obs"]
    np.testing.assert_allclose(found.mean(axis=0), theta, atol=0.25)
    np.testing.assert_allclose(found.std(axis=0), NOISE, rtol=0.25)
