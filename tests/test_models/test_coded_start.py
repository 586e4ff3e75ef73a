"""Predictions that begin in a code: what the future knows of the past is the code alone."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import vae, vqvae
from models.data.statistics import Statistics
from models.errors import ConfigError
from models.layers.traced import Traced
from tests.test_models.task_data import sequences

MEAN, STD = {"u": [1.0, -2.0], "y": [0.5]}, {"u": [2.0, 0.5], "y": [3.0]}
STATISTICS = Statistics(
    mean={role: np.array(values) for role, values in MEAN.items()},
    std={role: np.array(values) for role, values in STD.items()},
    count=100,
)
DATA = sequences(STATISTICS, task="prediction", known=5, horizon=7)
TINY = {
    "encoder.hidden_size": 6,
    "rollout.hidden_size": 4,
    "data.window": 12,
    "data.batch_size": 8,
}


def batch(known=5, rows=8, seed=0):
    random = np.random.default_rng(seed)
    mask = np.broadcast_to(np.arange(12)[None, :, None] < known, (rows, 12, 1))
    y = np.where(mask, random.normal(size=(rows, 12, 1)) * 3, MEAN["y"])
    u = random.normal(size=(rows, 12, 2))
    arrays = {"u": u.astype(np.float32), "y": y.astype(np.float32), "given.y": mask}
    return {name: jnp.asarray(values) for name, values in arrays.items()}


def runs(family, changes=None):
    """The outputs of a new model of a family, compiled: ``(batch, known, key, training)``."""
    config = family.Config.from_flat({**TINY, **(changes or {})})
    model = nnx.jit(
        lambda key: family.Model(config=config, data=DATA, key=key)
    )(jax.random.key(0))  # fmt: skip
    for _, variable in nnx.iter_graph(model):
        if isinstance(variable, Traced):
            variable.set_value(config.traced()[variable.get_metadata()["name"]] + 0.0)
    if family is vqvae:  # codes among the vectors, so that tokens differ
        begin = nnx.jit(lambda m, given, key: m.begin(given, known=5, key=key))
        begin(model, batch(), jax.random.key(2))
    graph, state = nnx.split(model)

    @partial(jax.jit, static_argnames=("known", "training"))
    def run(given, *, known=None, key=None, training=False):
        made = nnx.merge(graph, state, copy=True)
        key = jax.random.key(1) if key is None else key
        return made(given, known=known, key=key, training=training)

    return run, model


@pytest.fixture(scope="module")
def variational():
    return runs(vae, {"latent.size": 3})


@pytest.fixture(scope="module")
def quantized():
    return runs(vqvae, {"latent.vectors": 2, "quantizer.bits": 1})


def test_a_code_is_drawn_as_its_moments_say(variational):
    run, _ = variational
    given = batch(rows=1)
    given = {name: jnp.tile(a, (1000, 1, 1)) for name, a in given.items()}
    found = run(given)
    drawn, mean = np.asarray(found["drawn"])[:, 5:], np.asarray(found["y"])[:, 5:]
    assert np.ptp(mean, axis=0).max() < 1e-5
    assert drawn.std(axis=0).min() > 0.01
    # Weights are small: y is nearly linear in the code, so its mean is that of the mean.
    error = drawn.std(axis=0) / np.sqrt(1000)
    assert (np.abs(drawn.mean(axis=0) - mean[0]) < 5 * error + 0.01).all()


def test_training_draws_and_evaluation_takes_the_mean(variational):
    run, _ = variational
    given, key = batch(), jax.random.key(7)
    first, second = run(given), run(given, key=key)
    np.testing.assert_array_equal(first["y"], second["y"])
    assert np.abs(first["drawn"] - second["drawn"]).max() > 1e-3
    trained = (
        run(given, known=5, training=True),
        run(given, known=5, key=key, training=True),
    )
    assert np.abs(trained[0]["y"] - trained[1]["y"]).max() > 1e-3
    assert set(trained[0]) == {"y", "code"}


@pytest.mark.parametrize("family", ["variational", "quantized"])
def test_any_number_of_outputs_may_be_known(family, request):
    """The pieces of exact length give what is looked up row by row gives."""
    run, _ = request.getfixturevalue(family)
    given = batch(known=5)
    np.testing.assert_allclose(run(given)["y"], run(given, known=5)["y"], atol=1e-5)
    for known in (1, 11):
        found = run(batch(known=known))["y"]
        np.testing.assert_array_equal(
            found[:, :known], batch(known=known)["y"][:, :known]
        )
        assert np.isfinite(found).all()


@pytest.mark.parametrize("family", ["variational", "quantized"])
def test_without_a_start_no_output_was_looked_at(family, request):
    run, _ = request.getfixturevalue(family)
    given = batch()
    other = {**given, "y": jnp.where(given["given.y"], given["y"] - 30.0, given["y"])}
    before, after = run(given), run(other)
    np.testing.assert_array_equal(
        before["without_start"][:, 5:], after["without_start"][:, 5:]
    )
    assert np.abs(before["y"] - after["y"])[:, 5:].max() > 1e-4


def test_rows_of_equal_tokens_and_inputs_have_one_future(quantized):
    """One bit each for two vectors: four futures at most, of 64 pasts."""
    run, _ = quantized
    given = batch(rows=64)
    given["u"] = jnp.concatenate(
        [given["u"][:, :5], jnp.tile(given["u"][:1, 5:], (64, 1, 1))], axis=1
    )
    found = run(given)
    tokens = [tuple(row) for row in np.asarray(found["tokens"]).reshape(64, -1)]
    future = np.asarray(found["y"])[:, 5:, 0]
    assert 1 < len(set(tokens)) <= 4
    for token in set(tokens):
        same = future[[t == token for t in tokens]]
        np.testing.assert_allclose(same, np.tile(same[:1], (len(same), 1)), atol=1e-5)
    apart = {tuple(np.round(row, 4)) for row in future}
    assert len(apart) == len(set(tokens))


def test_codes_follow_in_training_only(quantized):
    _, model = quantized
    codes = np.asarray(model.tokens.quantizer.books[0].vectors())
    look = nnx.jit(
        lambda model, given, training: model(
            given, known=5, key=jax.random.key(0), training=training
        )["tokens"],
        static_argnums=2,
    )
    look(model, batch(), False)
    np.testing.assert_array_equal(model.tokens.quantizer.books[0].vectors(), codes)
    look(model, batch(seed=4), True)
    assert np.abs(model.tokens.quantizer.books[0].vectors() - codes).max() > 1e-3


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ConfigError, match="of which there are 8, got `bits` 4"):
        vqvae.Config.from_flat(TINY)
    with pytest.raises(ConfigError, match="`data.window` behind 5 known"):
        vae.problem(vae.Config.from_flat({**TINY, "data.window": 5}), DATA)
    with pytest.raises(ConfigError, match="`rollout.dropout` acts"):
        vae.Config.from_flat({"rollout.dropout": 0.1})
