"""The estimator over tokens: its four uses, against posteriors that are known."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.errors import ConfigError, TokenError
from models.layers.flow import Solver
from models.layers.token_network import Network
from models.layers.tokens import TokenGenerator, Tokens, generate_static_dataset
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


GIVEN = {"target_keys": ("mu", "theta"), "conditioning_keys": ("obs",)}


def test_some_targets_are_those_of_all(fitted):
    """Their distribution is the margin of what was learned; a density of some is none."""
    tokens = generate_static_dataset(jax.random.key(4), **SETTINGS, n_samples=2)
    key = jax.random.key(7)
    whole = fitted.sample(tokens, **GIVEN, key=key, draws=3)
    some = fitted.sample(tokens, **{**GIVEN, "target_keys": ("mu",)}, key=key, draws=3)
    assert set(some) == {"mu"}
    np.testing.assert_array_equal(some["mu"], whole["mu"])
    with pytest.raises(TokenError, match=r"\['theta'\] of .* is left out"):
        fitted.log_prob(tokens, **{**GIVEN, "target_keys": ("mu",)})


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ({"conditioning_keys": ()}, r"fitted given \['obs'\], not given \[\]"),
        (
            {"target_keys": ("mu",), "conditioning_keys": ("obs", "theta")},
            r"not given \['obs', 'theta'\]",
        ),
        (
            {"target_keys": ("obs",), "conditioning_keys": ("mu", "theta")},
            r"Key 'obs' not found. Available keys: \['mu', 'theta'\]",
        ),
    ],
)
def test_what_was_not_learned_is_not_asked(fitted, sides, message):
    tokens = generate_static_dataset(jax.random.key(4), **SETTINGS, n_samples=2)
    for call in (
        lambda: fitted.sample(tokens, **{**GIVEN, **sides}, key=jax.random.key(0)),
        lambda: fitted.log_prob(tokens, **{**GIVEN, **sides}),
    ):
        with pytest.raises(TokenError, match=message):
            call()


def test_tokens_that_do_not_fit(fitted):
    tokens = generate_static_dataset(jax.random.key(4), **SETTINGS, n_samples=2)
    data = {name: np.asarray(a) for name, a in tokens.decode().items()}
    more = {**SETTINGS, "prior_fn": lambda key, n: prior(key, n, sites=5)}
    wide = {**data, "obs": np.repeat(data["obs"], 2, axis=-1)}
    for other, message in (
        (
            tokens.with_values(obs=data["obs"] * np.nan),
            "'obs' has NaN or infinity in 2 of",
        ),
        (
            generate_static_dataset(jax.random.key(4), **more, n_samples=2),
            "has 5 sites or positions but the network was made for 3",
        ),
        (Tokens.from_pytree(wide), "hold 2 values but those fitted to 1"),
        (
            Tokens.from_pytree(data, functional_inputs={"obs": data["obs"]}),
            "have 1 functional inputs but those fitted to 0",
        ),
        (
            Tokens.from_pytree(data, sample_ndims=0),
            "one sample axis, got data of shape",
        ),
        (data, "one sample axis, got dict"),
    ):
        with pytest.raises(TokenError, match=message):
            fitted.sample(other, **GIVEN, key=jax.random.key(0))
    broken = tokens.with_values(mu=np.array([[[np.inf]], [[0.0]]]))
    with pytest.raises(TokenError, match="'mu' has NaN or infinity in 1 of 2 samples"):
        replace(estimator(), batch_size=1).fit(broken, **GIVEN)
    with pytest.raises(ConfigError, match="a batch has at least 1 row"):
        replace(estimator(), batch_size=0)


def test_a_token_that_is_not_there_has_no_draw_and_tells_nothing(fitted):
    tokens = generate_static_dataset(jax.random.key(4), **SETTINGS, n_samples=2)
    data = {name: np.array(a) for name, a in tokens.decode().items()}
    data["obs"][:, 2] = np.nan
    lengths = {"theta": np.array([2]), "obs": np.array([2])}
    rules = {"independence": SETTINGS["independence"], "event_shapes": lengths}
    found = fitted.sample(
        Tokens.from_pytree(data, **rules), **GIVEN, key=jax.random.key(0)
    )
    assert (
        np.isfinite(found["mu"]).all() and np.isfinite(found["theta"][:, :, :2]).all()
    )
    assert np.isnan(found["theta"][:, :, 2]).all()


def test_units_of_inputs_do_not_matter():
    """Nor where they begin: seconds or hours since any day, as of values."""
    tokens = generate_static_dataset(jax.random.key(4), **SETTINGS, n_samples=80)
    times = np.random.default_rng(0).normal(size=(80, 3, 1))
    losses = []
    for inputs in (times, 4096 * times + 8192):
        given = {"functional_inputs": {"obs": inputs}}
        made = Tokens.from_pytree(tokens.decode(), **given)
        epochs = replace(estimator(), epochs=1).fit(made, **GIVEN)
        losses.append(epochs[0].valid["loss.velocity"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


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
