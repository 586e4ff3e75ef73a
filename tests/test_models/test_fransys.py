"""The family `fransys`: whole model and terms against numpy loops; what no term may touch."""

from __future__ import annotations

import dataclasses
import types

import jax
import numpy as np
import pytest

from models import fransys
from models.data.statistics import Statistics
from models.errors import ConfigError
from models.family import learner_of
from models.fransys import Config, FranSys, Model
from models.layers.encoder import Encoder
from models.losses.states import DISTANCES, state_distance, symmetric_distance
from models.sequences import WHOLE, WHOLE_SEEN, sequence_loss
from tests.test_models.task_data import sequences

STATISTICS = Statistics(
    mean={"u": np.array([1.0, -2.0]), "y": np.array([0.5])},
    std={"u": np.array([2.0, 0.5]), "y": np.array([3.0])},
    count=100,
)
KNOWN, LENGTH = 4, 9
DATA = sequences(STATISTICS, "prediction", known=KNOWN, horizon=5)
ALONE = {
    f"regularization.{name}": 0.0
    for name in (
        *("state_sync", "diagnosis_loss", "one_step_sync", "one_step_loss"),
        "temporal_activation",
    )
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(layer, x, h):
    """One step of a GRU in numpy."""
    wi, bi, wh, bh = (
        np.asarray(getattr(layer, n)[...])
        for n in ("input_weight", "input_bias", "hidden_weight", "hidden_bias")
    )
    size = len(h)
    given, inner = x @ wi + bi, h @ wh
    r, z = (sigmoid((given + inner)[i * size : (i + 1) * size]) for i in (0, 1))
    n = np.tanh(given[2 * size :] + r * (inner[2 * size :] + bh))
    return (1 - z) * n + z * h


def line(layer, x):
    out = x @ np.asarray(layer.weight[...])
    return out if layer.bias is None else out + np.asarray(layer.bias[...])


def test_equals_its_equations():
    random = np.random.default_rng(0)
    u, y = random.normal(size=(1, LENGTH, 2)), random.normal(size=(1, LENGTH, 1))
    early = (np.arange(LENGTH) < KNOWN)[None, :, None]
    with jax.enable_x64(True):
        config = FranSys(hidden_size=3, diagnosis=Encoder(hidden_size=4))
        model = Model(config=config, data=DATA, key=jax.random.key(0))
        hidden_y = np.where(early, y, np.nan)
        batch = {"u": u, "y": hidden_y, "given.y": early}
        found = jax.jit(model)(batch)
        seen = np.ones_like(early)
        whole = jax.jit(model)({**batch, WHOLE: y, WHOLE_SEEN: seen})

    x, t = (u[0] - [1.0, -2.0]) / [2.0, 0.5], (y[0] - 0.5) / 3.0
    (reader,) = model.diagnosis.layers.layers
    (layer,) = model.prognosis.recurrent.layers
    memory, states = np.zeros(4), []
    for i in range(LENGTH):
        memory = gru(reader, np.concatenate([x[i], t[i], [1.0]]), memory)
        states.append(line(model.diagnosis.head, memory))

    def read(h, x):
        return line(model.prognosis.head, h) + line(model.prognosis.skip, x)

    h, joined = states[KNOWN - 1], list(states[:KNOWN])
    for i in range(KNOWN, LENGTH):
        h = gru(layer, x[i], h)
        joined.append(h)
    steps = [gru(layer, x[i + 1], states[i]) for i in range(LENGTH - 1)]

    def outputs(hidden, x):
        return np.stack(
            [read(h, at) * 3.0 + 0.5 for h, at in zip(hidden, x, strict=True)]
        )

    for result in (found, whole):
        np.testing.assert_allclose(result["y"][0], outputs(joined, x), atol=1e-10)
    assert set(found) == {"y"}, "a prediction computes no term"
    np.testing.assert_allclose(whole["diagnosis.y"][0], outputs(states, x), atol=1e-10)
    np.testing.assert_allclose(
        whole["one_step.y"][0, 1:], outputs(steps, x[1:]), atol=1e-10
    )
    np.testing.assert_allclose(whole["one_step"][0], steps, atol=1e-10)
    np.testing.assert_allclose(whole["states"][0], joined, atol=1e-10)
    np.testing.assert_array_equal(whole["behind"], ~early)


def plain_problem(config, data):
    """An encoder and decoder that knows of no term: the same network, its error alone."""
    whole = fransys.problem(config, data)

    def forward(model, batch, *, key, training, carry, hyper):
        return {"y": model(batch, key=key if training else None)["y"]}, None

    loss = sequence_loss(
        config=config.loss,
        std=data.statistics.std["y"],
        start=data.task.known_outputs,
    )
    return dataclasses.replace(
        whole, signature="plain", forward=forward, loss=loss, targets=()
    )


@pytest.mark.slow
def test_without_weights_it_is_a_plain_encoder_and_decoder(tmp_path):
    example = fransys.example("prediction")
    context = example.context(tmp_path)
    plain = types.SimpleNamespace(
        Config=Config, TASKS=("prediction",), problem=plain_problem
    )
    wanted = learner_of(plain, example.config, context).fit(3)
    found = fransys.create({**example.config, **ALONE}, context).fit(3)
    for a, b in zip(found, wanted, strict=True):
        assert a.valid["rmse"] == pytest.approx(b.valid["rmse"], rel=1e-4)
        assert a.train["loss"] == pytest.approx(b.train["loss"], rel=1e-4)
        assert set(a.valid) - set(b.valid) == {
            key.replace("regularization", "loss") for key in ALONE
        }


@pytest.mark.parametrize("kind", DISTANCES)
def test_distances_of_states(kind):
    random = np.random.default_rng(1)
    a, b = (random.normal(size=(2, 6, 3)).astype(np.float32) for _ in "ab")
    mask = (np.arange(6) >= 2)[None, :, None] * np.ones((2, 1, 1), bool)
    rows = []
    for p, d in zip(a[:, 2:], b[:, 2:], strict=True):
        cosines = [
            x @ y / np.sqrt((x @ x) * (y @ y)) for x, y in zip(p, d, strict=True)
        ]
        rows.append(
            {
                "mse": ((p - d) ** 2).sum() / (d**2).sum(),
                "mae": abs(p - d).sum() / abs(d).sum(),
                "mspe": np.mean(((p - d) ** 2).sum(0) / (d**2).sum(0)),
                "mape": np.mean(abs(p - d).sum(0) / abs(d).sum(0)),
                "cos": np.mean([1 - c for c in cosines]),
                "cos_pow": np.mean([(1 - c) ** 2 for c in cosines]),
            }[kind]
        )
    found = state_distance(kind, a, b, mask=mask)
    assert float(found) == pytest.approx(np.mean(rows), rel=1e-5)
    scaled = state_distance(kind, 7 * a, 7 * b, mask=mask)
    assert float(scaled) == pytest.approx(float(found), rel=1e-4)
    slope = jax.grad(lambda a: state_distance(kind, a, b, mask=mask))(b)
    assert np.isfinite(slope).all() and np.all(np.asarray(slope)[:, :2] == 0)


def test_the_symmetric_distance_is_at_most_one():
    a = np.ones((1, 2, 2), np.float32)
    assert float(symmetric_distance(a, -a)) == pytest.approx(1)
    assert float(symmetric_distance(a, 3 * a)) == pytest.approx(0.25)


def test_dropout_that_acts_nowhere_is_refused():
    with pytest.raises(ConfigError, match="or after convolutions, got dropout 0.1"):
        Config.from_flat({"model.dropout": 0.1})
    Config.from_flat({"model.dropout": 0.1, "model.diagnosis.kind": "tcn"})
