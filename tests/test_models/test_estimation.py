"""Estimation: one vector a window, held against the mean or the last of what was measured."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from models import rnn
from models.data.catalog import prepare
from models.errors import ConfigError, DataError, UserError
from models.tasks import task_of
from models.training.protocol import Context

SMALL = {
    "model.layers": 1, "model.hidden_size": 4, "data.window": 20, "data.batch_size": 8,
    "data.batches": 3, "loss.n_skip": 0, "loss.kind": "mse",
}  # fmt: skip


def recorded(folder, *, gaps=False, sizes=((90, 70), (64,), (45,))):
    """The louder a record, the larger its output, which the second one varies around."""
    random = np.random.default_rng(1)
    for part, lengths in zip(("train", "valid", "test"), sizes, strict=True):
        (folder / part).mkdir(parents=True)
        for i, length in enumerate(lengths):
            loud = 0.5 + i + (part == "valid")
            u = loud * random.normal(size=length)
            y = np.stack([np.full(length, loud), loud + random.normal(size=length)], 1)
            if gaps:
                y[random.random(y.shape) < 0.3] = np.nan
            with h5py.File(folder / part / f"{i}.hdf5", "w") as file:
                file["u0"], file["y0"], file["y1"] = u, y[:, 0], y[:, 1]
    return prepare({"path": str(folder), "gaps": gaps}).to_json()


def learner_of(data, *, epochs=1, task=None, **changes):
    described = {"name": "estimation", "window": 20, "step": 8, **(task or {})}
    context = Context(task=described, data=data, epochs=epochs)
    return rnn.create({**SMALL, **changes}, context)


@pytest.mark.parametrize("target", ["mean", "last"])
@pytest.mark.parametrize("gaps", [False, True])
def test_scores_are_those_of_every_window_by_hand(tmp_path, target, gaps):
    learner = learner_of(recorded(tmp_path, gaps=gaps), task={"target": target})
    with h5py.File(tmp_path / "valid" / "0.hdf5") as file:
        u, y = file["u0"][:][:, None], np.stack([file["y0"][:], file["y1"][:]], 1)
    (epoch,) = learner.fit(1)
    errors = []
    for start in range(0, 64 - 19, 8):
        window = slice(start, start + 20)
        predicted = learner.predict(u[window])
        assert predicted.shape == (2,)
        wanted = np.nanmean(y[window], axis=0) if target == "mean" else y[window][-1]
        errors.append(predicted - wanted)
    errors = np.array(errors)
    seen = ~np.isnan(errors)
    rmse = np.sqrt([np.mean(e[s] ** 2) for e, s in zip(errors.T, seen.T, strict=True)])
    assert seen.all() or (gaps and target == "last"), "or nothing is left out"
    assert epoch.valid["rmse"] == pytest.approx(rmse.mean(), rel=1e-4)
    mae = [np.abs(e[s]).mean() for e, s in zip(errors.T, seen.T, strict=True)]
    assert epoch.valid["mae"] == pytest.approx(np.mean(mae), rel=1e-4)


def test_the_training_loss_is_of_one_value_a_window(tmp_path):
    learner = learner_of(recorded(tmp_path), **{"optimizer.learning_rate": 0.0})
    batches = [learner.next_batch()]
    assert batches[0]["y"].shape == (8, 1, 2)
    learner = learner_of(
        recorded(tmp_path / "more"),
        **{"optimizer.learning_rate": 0.0, "data.batches": 1},
    )
    batch = learner.next_batch()
    predicted = np.stack([learner.predict(u) for u in batch["u"]])
    std = learner.interface.statistics.std["y"]
    wanted = np.mean(((predicted - batch["y"][:, 0]) / std) ** 2)
    (epoch,) = learner.fit(1)
    assert epoch.train["loss"] == pytest.approx(wanted, rel=1e-4)


def test_what_does_not_count_is_not_skipped(tmp_path):
    data = recorded(tmp_path)
    for key, value in (
        ("loss.n_skip", 3),
        ("loss.n_cut", 3),
        ("loss.last_weight", 0.5),
        ("data.order", "consecutive"),
        ("augmentation.random_end", 9),
        ("augmentation.shortest", 9),
    ):
        with pytest.raises(ConfigError, match=f"one value to be estimated.*{key}"):
            learner_of(data, **{key: value})
    with pytest.raises(ConfigError, match="levenberg_marquardt"):
        learner_of(data, **{"optimizer.kind": "levenberg_marquardt"})
    with pytest.raises(DataError, match="65 samples, but the longest .* has 64"):
        learner_of(data, task={"window": 65})
    with pytest.raises(UserError, match=r"`u` must be \[time, 1\]"):
        learner_of(data).predict(np.zeros((20, 2)))


def test_a_file_is_one_window_and_goes_out_as_a_single_sample(tmp_path):
    data = recorded(tmp_path / "set")
    learner, task = learner_of(data), task_of({"name": "estimation", "window": 20})
    like = tmp_path / "set" / "test" / "0.hdf5"
    given, measured = task.from_file(like, data=data)
    predicted = learner.predict(given)
    assert predicted["y"].shape == (2,)
    off = np.abs(predicted["y"] - measured["y"].mean(axis=0)).mean()
    assert task.errors(predicted, measured, data=data)["rmse"] == pytest.approx(off)
    task.to_file(tmp_path / "out.hdf5", predicted, data=data, like=like)
    with h5py.File(tmp_path / "out.hdf5") as file:
        np.testing.assert_array_equal(file["y0"][:], predicted["y"][:1])
        np.testing.assert_array_equal(file["y1"][:], predicted["y"][1:])
    many = learner.predict(np.stack([given["u"][:20], given["u"][20:40]]))
    assert many.shape == (2, 2)


def test_a_mean_of_nothing_is_not_scored():
    task = task_of({"name": "estimation"})
    y = np.array([[[1.0], [5.0]], [[7.0], [9.0]]])
    seen = np.array([[[True], [False]], [[False], [False]]])
    value, mask = task.value(y, seen)
    np.testing.assert_array_equal(value[:, 0, 0], [1.0, 0.0])
    np.testing.assert_array_equal(mask[:, 0, 0], [True, False])


@pytest.mark.slow
def test_loudness_is_learned(tmp_path):
    data = recorded(tmp_path, sizes=((600, 600), (200,), (200,)))
    changes = {"data.batches": 40, "optimizer.learning_rate": 0.02}
    epochs = learner_of(data, epochs=12, **changes).fit()
    assert min(e.train["loss"] for e in epochs) < 0.5 * epochs[0].train["loss"]
