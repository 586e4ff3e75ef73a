"""Layers at a lower rate: what they read and give, and that they are scored at the recorded one."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from models import rnn
from models.data.catalog import prepare
from models.errors import ConfigError, UserError
from models.layers import rate
from models.layers.simulator import Simulator
from models.stateful import StatefulRNN
from models.training.protocol import Context

SETTINGS = {"model.hidden_size": 4, "data.window": 40, "data.batches": 2}


@pytest.mark.parametrize("factor", [2, 3, 7])
@pytest.mark.parametrize("length", [60, 61, 64])
def test_decimation_is_scipys_as_far_as_signals_go(factor, length):
    values = np.random.default_rng(0).normal(size=(2, length, 3)) + 5.0
    found = rate.decimate(jnp.asarray(values), factor)
    wanted = scipy.signal.resample_poly(values, 1, factor, axis=1, padtype="edge")
    assert found.shape[1] == rate.coarse_length(length, factor)
    assert (found.shape[1] - 1) * factor >= length - 1
    np.testing.assert_allclose(found[:, : wanted.shape[1]], wanted, atol=2e-5)


@pytest.mark.parametrize("factor", [2, 5])
@pytest.mark.parametrize("length", [1, 20, 21, 24])
def test_lines_between_samples_are_numpys(factor, length):
    values = np.random.default_rng(1).normal(size=(2, length, 3))
    coarse = rate.every(jnp.asarray(values), factor)
    np.testing.assert_array_equal(
        coarse[:, : -(-length // factor)], np.float32(values[:, ::factor])
    )
    found = rate.interpolate(coarse, factor, length)
    assert found.shape == values.shape
    places = np.arange(coarse.shape[1]) * factor
    for row in range(2):
        for channel in range(3):
            wanted = np.interp(np.arange(length), places, coarse[row, :, channel])
            np.testing.assert_allclose(found[row, :, channel], wanted, atol=1e-6)


def test_what_is_slow_stays_and_what_would_alias_goes():
    t = np.arange(600)
    slow, fast = np.sin(2 * np.pi * t / 100), np.sin(2 * np.pi * t / 5.7)
    both = jnp.asarray(np.stack([slow, fast], axis=1))[None]
    back = rate.interpolate(rate.decimate(both, 5), 5, 600)[0]
    inside = slice(60, -60)
    assert np.abs(back[inside, 0] - slow[inside]).max() < 0.02
    assert np.abs(back[inside, 1]).max() < 0.02  # plain samples would fold it to 100


def recorded(folder):
    """Outputs whose second half of the energy lies beyond a quarter of the rate."""
    random = np.random.default_rng(3)
    for part in ("train", "valid", "test"):
        (folder / part).mkdir(parents=True)
        u = random.normal(size=203)
        with h5py.File(folder / part / "0.hdf5", "w") as file:
            file["u0"], file["y0"] = u, np.cumsum(u) * 0.1 + u
    return prepare({"path": str(folder), "score_from": 7})


@pytest.mark.parametrize("task", ["simulation", "prediction"])
@pytest.mark.parametrize("family", ["rnn", "tcn", "crnn"])
def test_scores_are_of_every_recorded_sample(family, task, tmp_path):
    module = importlib.import_module(f"models.{family}")
    example = module.example(task)
    learner = module.create(
        {**example.config, "model.decimation": 3}, example.context(tmp_path)
    )
    given = example.given(tmp_path)
    (epoch,) = learner.fit_iter(1)
    part = learner.valid[0]
    y = np.asarray(learner.outputs(part)[0]["y"])
    assert y.shape == part["y"].shape  # as many samples as were recorded
    assert len(learner.predict(given)["y"]) == len(given["u"])
    assert np.isfinite(list(epoch.valid.values())).all()


def test_the_error_is_that_of_recorded_outputs_by_hand(tmp_path):
    reference = recorded(tmp_path)
    learner = rnn.create(
        {**SETTINGS, "loss.n_skip": 4, "model.decimation": 4},
        Context(data=reference.to_json(), task="simulation", seed=0, epochs=1),
    )
    (epoch,) = learner.fit_iter(1)
    with h5py.File(tmp_path / "valid/0.hdf5") as file:
        u, y = file["u0"][:][:, None], file["y0"][:][:, None]
    found = learner.predict({"u": u})["y"]
    error = np.sqrt(np.mean((found - y)[7:] ** 2))
    assert epoch.valid["rmse"] == pytest.approx(float(error), rel=1e-5)


class Identity(Simulator):
    """Gives what it reads."""

    def features(self, inputs, *, key):
        return inputs


STATISTICS = SimpleNamespace(
    mean={"u": np.zeros(1), "y": np.zeros(1)}, std={"u": np.ones(1), "y": np.ones(1)}
)


def test_the_layers_read_and_answer_at_the_lower_rate():
    model = Identity(
        statistics=STATISTICS, known=True, width=3, skip=False, decimation=5
    )
    model.head.weight[...] = jnp.asarray([[1.0], [0.0], [0.0]])
    model.head.bias[...] = jnp.zeros(1)
    random = np.random.default_rng(2)
    u, y = random.normal(size=(2, 1, 52, 1))
    seen = jnp.arange(52)[None, :, None] < 21
    given = {
        "u": jnp.asarray(u),
        "y": jnp.where(seen, jnp.asarray(y), 0.0),
        "given.y": seen,
    }
    outputs, features = model.with_features(given)
    coarse = scipy.signal.resample_poly(u[0, :, 0], 1, 5, padtype="edge")
    wanted = np.interp(np.arange(51), np.arange(11) * 5, coarse)
    np.testing.assert_allclose(outputs[0, :51, 0], wanted, atol=2e-5)
    # What is known is not filtered: the layers meet recorded numbers, and a mask of 0 and 1.
    assert features.shape == (1, 52, 3)
    np.testing.assert_allclose(features[0, :21:5, 1], y[0, :21:5, 0], rtol=1e-6)
    np.testing.assert_array_equal(features[0, ::5, 2], np.arange(0, 52, 5) < 21)


def test_it_carries_no_state(tmp_path):
    with pytest.raises(ConfigError, match="`model.decimation` 2 with `data.order`"):
        rnn.Config.from_flat({"model.decimation": 2, "data.order": "consecutive"})
    reference = recorded(tmp_path)
    learner = rnn.create(
        {**SETTINGS, "loss.n_skip": 4, "model.decimation": 2},
        Context(data=reference.to_json(), task="simulation", seed=0, epochs=1),
    )
    with pytest.raises(UserError, match=r"looks ahead.*`model.decimation` is 2"):
        StatefulRNN(learner).predict_stateful(np.zeros((30, 1)))


def test_a_usual_rate_is_in_no_signature_and_in_no_program():
    plain, other = rnn.Config(), rnn.Config.from_flat({"model.decimation": 2})
    assert "model.decimation" not in dict(plain.static_signature())
    assert dict(other.static_signature())["model.decimation"] == 2

    def program(decimation):
        more = {} if decimation is None else {"decimation": decimation}
        model = Identity(statistics=STATISTICS, known=False, width=1, skip=True, **more)
        given = {"u": jnp.zeros((1, 20, 1))}
        return str(jax.make_jaxpr(lambda g: model(g))(given))

    assert program(1) == program(None) != program(2)
