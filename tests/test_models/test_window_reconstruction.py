"""Reconstruction of windows: what is hidden from whom, and closed forms by numpy."""

from __future__ import annotations

import numpy as np
import pytest

from models import pca
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.kinds.base import SingleRecord
from models.errors import ConfigError, DataError
from models.tasks import reconstruction
from models.tasks.arrays import Units
from models.tasks.base import describe
from models.training.protocol import Context


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    task = reconstruction.Task()
    return prepare(task.write_windows(tmp_path_factory.mktemp("windows")))


@pytest.fixture(scope="module")
def opened(data):
    dataset = open_dataset(data)
    return dataset, describe(reconstruction.Task(), dataset)


def test_holes_follow_the_data_alone(data, opened, tmp_path):
    dataset, known = opened
    task = known.task
    units = Units(scale={"values": 64.0}, offset={"values": 3.0})
    elsewhere = prepare(task.write_windows(tmp_path, units=units))
    (group,) = task.groups(dataset.part("valid"))
    seen, values = group["seen.values"], group["values"]
    for hole in reconstruction.HOLES:
        mask = group[f"{hole}.values"]
        assert not (mask & ~seen).any()
        assert 0.05 < mask.mean() < 0.25
    (again,) = task.groups(open_dataset(data.to_json()).part("valid"))
    single = SingleRecord(dataset.part("valid"), 7)
    for hole in reconstruction.HOLES:
        name = f"{hole}.values"
        np.testing.assert_array_equal(group[name], again[name])
        np.testing.assert_array_equal(task.groups(single)[0][name][0], group[name][7])
    # Windows differ, but not with the unit of their values.
    assert (group["entries.values"][0] != group["entries.values"][1]).any()
    (moved,) = task.groups(open_dataset(elsewhere).part("valid"))
    np.testing.assert_array_equal(moved["blocks.values"], group["blocks.values"])
    # A block of a channel is whole: with everything seen its runs have at least its length.
    blocks = group["blocks.values"] | ~seen
    for window in range(len(values)):
        for channel in range(2):
            runs = "".join(map(str, blocks[window, :, channel].astype(int))).split("0")
            assert max(map(len, runs)) >= task.block
    (short,) = reconstruction.Task(block=1).groups(dataset.part("valid"))
    assert (short["blocks.values"] != group["blocks.values"]).any()
    with pytest.raises(DataError, match="shorter than a window, got 24"):
        reconstruction.Task(block=24).groups(dataset.part("valid"))


def test_what_a_hole_hides_is_the_mean_and_marked(opened):
    dataset, known = opened
    (group,) = known.task.groups(dataset.part("valid"))
    batch = group | {"given.values": group["seen.values"]}
    tries = known.task.tries(known.task.given(batch, known), known)
    assert set(tries) == {"values", "entries.values", "blocks.values"}
    for name, given in tries.items():
        hidden = ~group["seen.values"]
        if name != "values":
            hidden = hidden | group[name]
        np.testing.assert_array_equal(given["given.values"], ~hidden)
        mean = known.statistics.mean["values"].astype("f4")
        wanted = np.where(hidden, mean, group["values"])
        np.testing.assert_array_equal(given["values"], wanted)


@pytest.mark.parametrize("stride", [None, 5])
def test_components_of_windows_are_scored_as_numpy_scores_them(data, opened, stride):
    dataset, known = opened
    context = Context(
        task={"name": "reconstruction"}, data=data.to_json(), seed=0, epochs=1
    )
    learner = pca.create({"model.size": 3, "model.stride": stride}, context)
    (epoch,) = learner.fit()
    mean, std = (v["values"] for v in (known.statistics.mean, known.statistics.std))
    train = dataset.part("train")
    rows = [
        (train.load(i)["values"][s : s + 24] - mean) / std
        for i, length in enumerate(train.lengths)
        for s in range(0, length - 23, stride or 24)
    ]
    rows = np.stack(rows).reshape(len(rows), -1)
    mask = np.isfinite(rows)
    found = pca.principal_components(np.where(mask, rows, 0.0), mask, size=3)
    (group,) = known.task.groups(dataset.part("valid"), dtype=np.float64)
    truth, seen = (group["values"] - mean) / std, group["seen.values"]

    def error(hidden):
        left = (seen & ~hidden).reshape(len(seen), -1)
        flat = np.where(left, truth.reshape(left.shape), 0.0)
        again = found.rows(found.codes(flat, left)).reshape(truth.shape)
        return again - truth

    whole = error(np.zeros_like(seen))
    valid = epoch.valid
    assert valid["mse"] == pytest.approx(np.mean(whole[seen] ** 2), rel=1e-4)
    rmse = np.sqrt(np.mean(whole[..., 1][seen[..., 1]] ** 2)) * std[1]
    assert valid["rmse.1"] == pytest.approx(rmse, rel=1e-4)
    for hole in reconstruction.HOLES:
        hidden = group[f"{hole}.values"]
        apart = error(hidden)[hidden]
        assert valid[f"mae_{hole}"] == pytest.approx(np.mean(np.abs(apart)), rel=1e-4)
        assert valid[f"mse_{hole}"] == pytest.approx(np.mean(apart**2), rel=1e-4)
    assert set(learner.predict({"values": group["values"]})) == {"values"}


def test_rows_have_no_stride(tmp_path):
    rows = prepare(reconstruction.Task().write_example(tmp_path)).to_json()
    context = Context(task={"name": "reconstruction"}, data=rows, seed=0, epochs=1)
    with pytest.raises(ConfigError, match="`model.stride` is of windows"):
        pca.create({"model.size": 2, "model.stride": 3}, context)
