"""The closed-form baseline against numpy, scipy and the published number."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from models.data.catalog import prepare
from models.errors import ConfigError, DataError
from models.layers.least_squares import least_squares, regression
from models.linear import (
    Config,
    Model,
    create,
    example,
)
from models.metrics import sequence_metrics
from models.tasks.sequences import scores
from models.training.protocol import Context

SIMULATION = {"name": "simulation"}


def write(folder, records):
    """Write {part: [(u, y), …]} as a dataset and return its reference."""
    for part, pairs in records.items():
        (folder / part).mkdir(parents=True)
        for number, (u, y) in enumerate(pairs):
            with h5py.File(folder / part / f"{number}.hdf5", "w") as file:
                for c, column in enumerate(u.T):
                    file[f"u{c}"] = column
                for c, column in enumerate(y.T):
                    file[f"y{c}"] = column
    return prepare(str(folder))


def learn(reference, **config):
    keys = {f"model.{k}": v for k, v in config.items()}
    learner = create(keys, Context(task=SIMULATION, data=reference.to_json(), epochs=1))
    return learner, learner.fit()


def arx(u, b, a, c):
    """A stable MIMO ARX system, written as the plain double loop."""
    y = np.zeros((len(u), c.size))
    for t in range(len(u)):
        y[t] = c
        for k in range(min(len(b), t + 1)):
            y[t] += u[t - k] @ b[k]
        for k in range(min(len(a), t)):
            y[t] += y[t - 1 - k] @ a[k]
    return y


@pytest.mark.parametrize("n_u,n_y", [(1, 1), (2, 1), (1, 2), (3, 2)])
def test_recovers_a_system_of_its_own_kind(tmp_path, n_u, n_y):
    rng = np.random.default_rng(0)
    b = rng.normal(size=(3, n_u, n_y))
    a = 0.3 * rng.normal(size=(2, n_y, n_y)) / n_y
    c = rng.normal(size=n_y)

    def record(length):
        u = rng.normal(size=(length, n_u))
        return u, arx(u, b, a, c)

    records = {"train": [record(300), record(200)], "valid": [record(150)], "test": []}
    records["test"] = [record(90)]
    learner, (epoch,) = learn(write(tmp_path / "d", records), lags=4, output_lags=3)
    assert epoch.number == 1
    assert epoch.train["loss"] < 1e-20
    u = records["test"][0][0]
    got = learner.predict(u)
    start = 60  # what was at rest in physical units is not in standardized ones
    np.testing.assert_allclose(got[start:], records["test"][0][1][start:], atol=1e-6)
    assert learner.parameters == n_y * (1 + 4 * n_u + 3 * n_y)


def test_free_run_of_one_output_is_scipys_filter():
    rng = np.random.default_rng(1)
    b, a = rng.normal(size=5), np.array([0.5, -0.2])
    one = {"u": np.zeros(1), "y": np.zeros(1)}
    model = Model(
        inputs=b[:, None, None],
        outputs=a[:, None, None],
        constant=np.zeros(1),
        mean=one,
        std={k: v + 1 for k, v in one.items()},
    )
    u = rng.normal(size=(3, 50, 1))
    wanted = scipy.signal.lfilter(b, np.r_[1, -a], u, axis=1)
    np.testing.assert_allclose(model(u), wanted, atol=1e-12)
    coupled = Model(
        inputs=np.tile(b[:, None, None], (1, 1, 2)),
        outputs=a[:, None, None] * np.eye(2),
        constant=np.zeros(2),
        mean={"u": np.zeros(1), "y": np.zeros(2)},
        std={"u": np.ones(1), "y": np.ones(2)},
    )
    np.testing.assert_allclose(coupled(u), np.repeat(wanted, 2, axis=2), atol=1e-12)


@pytest.mark.parametrize("outputs", [1, 2])
def test_prediction_goes_on_from_the_known_outputs(tmp_path, outputs):
    """The true system started from its own past: noiseless, nothing is left to err."""
    rng = np.random.default_rng(5)
    b = rng.normal(size=(2, 1, outputs))
    a = 0.4 * rng.normal(size=(3, outputs, outputs)) / outputs
    u = rng.normal(size=(3, 400, 1))
    pairs = [(x, arx(x, b, a, np.ones(outputs))) for x in u]
    records = dict(zip(("train", "valid", "test"), ([p] for p in pairs), strict=True))
    reference = write(tmp_path / "d", records)
    task = {"name": "prediction", "known": 10, "horizon": 30}
    context = Context(task=task, data=reference.to_json())
    learner = create({"model.lags": 2, "model.output_lags": 3}, context)
    (epoch,) = learner.fit()
    assert epoch.valid["rmse"] < 1e-8
    # From the middle of a record: only the known outputs tell the state it is in.
    u, y = (a[200:260] for a in records["test"][0])
    got = learner.predict({"u": u, "y": y[:10]})["y"]
    np.testing.assert_allclose(got, y, atol=1e-8)
    np.testing.assert_array_equal(got[:10], y[:10])
    pair = learner.predict({"u": u[None], "y": y[None, :7]})["y"]
    np.testing.assert_allclose(pair[0], y, atol=1e-8)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_equals_the_normal_equations(ridge):
    rng = np.random.default_rng(2)
    x = np.c_[np.ones(200), rng.normal(size=(200, 6))]
    y = rng.normal(size=(200, 2)) + 1
    penalty = ridge * 200 * np.eye(7)
    penalty[0, 0] = 0
    wanted = np.linalg.solve(x.T @ x + penalty, x.T @ y)
    blocks = [(x[:3], y[:3]), (x[3:120], y[3:120]), (x[120:], y[120:])]
    got, error = least_squares(blocks, ridge=ridge)
    np.testing.assert_allclose(got, wanted, atol=1e-10)
    assert error == pytest.approx(np.mean((x @ wanted - y) ** 2))


def test_rows_never_cross_the_start_of_a_record():
    u, y = np.arange(10.0)[:, None], 100 + np.arange(10.0)[:, None]
    ((x, target),) = regression(u, y, 3, 2)
    assert x.shape == (8, 6)
    np.testing.assert_array_equal(x[0], [1, 2, 1, 0, 101, 100])
    np.testing.assert_array_equal(target[:, 0], y[2:, 0])
    assert not list(regression(u[:2], y[:2], 3, 0))


def test_metrics_are_those_of_the_engine():
    rng = np.random.default_rng(3)
    pairs = [(rng.normal(size=(n, 2)), rng.normal(size=(n, 2)) + 1) for n in (40, 70)]
    got = scores(pairs, start=10, also=(3,))
    for metric in sequence_metrics(start=10, also=(3,)):
        state = None
        for p, y in pairs:
            outputs, batch = {"y": jnp.asarray(p)[None]}, {"y": jnp.asarray(y)[None]}
            state = metric.init(outputs, batch) if state is None else state
            state = metric.update(state, outputs, batch)
        assert got[metric.name] == pytest.approx(float(metric.finish(state)), rel=1e-4)


def test_unstable_models_are_scored_not_hidden(tmp_path):
    rng = np.random.default_rng(4)
    u = rng.normal(size=(3000, 1))
    grows = np.exp(0.3 * np.arange(100))[:, None]
    records = {"train": [(u[:100], grows)], "valid": [(u, u)], "test": [(u, u)]}
    _, (epoch,) = learn(write(tmp_path / "d", records), lags=1, output_lags=1)
    assert not np.isfinite(epoch.valid["rmse"])


def test_refusals(tmp_path):
    short = np.ones((20, 1)) * np.arange(20)[:, None]
    records = {p: [(short, short)] for p in ("train", "valid", "test")}
    reference = write(tmp_path / "d", records)
    with pytest.raises(DataError, match="too short for 64 lags; the longest has 20"):
        learn(reference, lags=64)
    with pytest.raises(ConfigError, match="unknown configuration key `model.lag`"):
        create({"model.lag": 3}, Context(task=SIMULATION, data=reference.to_json()))
    with pytest.raises(ConfigError, match="at least 1"):
        Config.from_flat({"model.lags": 0})
    with pytest.raises(ConfigError, match="not fitted"):
        create({}, Context(task=SIMULATION, data=reference.to_json())).predict(short)


def test_refuses_another_models_checkpoint(tmp_path):
    context = example("simulation").context(tmp_path / "data")
    learner = create({"model.lags": 3}, context)
    learner.fit()
    learner.save(tmp_path / "saved")
    with pytest.raises(Exception, match="another configuration"):
        create({"model.lags": 4}, context).restore(tmp_path / "saved")


@pytest.mark.slow
@pytest.mark.data
def test_wiener_hammerstein_as_published():
    """FIR-128 by least squares: 43.3 mV on the test part (PROVENANCE.md of the data)."""
    root = os.environ.get("HPO_DATA")
    if not root or not (Path(root) / "wiener_hammerstein").is_dir():
        pytest.skip("needs the real benchmark: point HPO_DATA at its folder")
    learner, (epoch,) = learn(prepare("wiener_hammerstein", root=Path(root)), lags=128)
    test = learner.evaluate("test")["rmse"]
    assert test == pytest.approx(0.0433, abs=0.0001)
    assert epoch.valid["rmse"] == pytest.approx(0.043, abs=0.003)
