"""Missing values of records: masks, fills, and what is refused."""

from __future__ import annotations

import h5py
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.feeding import batch_shapes, cut_windows, full_sequences, make_feed
from models.data.kinds import records
from models.data.statistics import accumulate
from models.data.windows import Windows
from models.errors import DataError

LENGTHS = {"train": (60, 45), "valid": (30, 30, 20), "test": (25,)}


def signals(length, seed, missing):
    """u and a truth without, y with gaps."""
    rng = np.random.default_rng(seed)
    y = rng.normal(7, 2, size=(length, 2))
    y[rng.random(y.shape) < missing] = np.nan
    truth = rng.normal(size=length)
    truth[:3] = np.nan
    return {"u0": rng.normal(size=length), "y0": y, "truth": truth}


def write(folder, missing):
    for part, lengths in LENGTHS.items():
        (folder / part).mkdir(parents=True)
        for i, length in enumerate(lengths):
            with h5py.File(folder / part / f"{i}.h5", "w") as file:
                for name, values in signals(
                    length, 10 * len(part) + i, missing
                ).items():
                    file[name] = values
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("gaps") / "set", 0.2)


@pytest.fixture
def dataset(folder):
    asked = {"path": str(folder), "gaps": True, "truth": ["truth"]}
    return open_dataset(prepare(asked).to_json())


def stored(part, i):
    return signals(LENGTHS[part][i], 10 * len(part) + i, 0.2)


def test_gaps_must_be_asked_for(folder):
    with pytest.raises(DataError, match=r'(?s)`y0` in .*sample.*"gaps": true'):
        prepare(str(folder))
    with pytest.raises(DataError, match="`gaps` must be true or false, got 'yes'"):
        prepare({"path": str(folder), "gaps": "yes"})
    reference = prepare({"path": str(folder), "gaps": True})
    assert reference.gaps == ("y",) and reference.roles.keys() == {"u", "y"}


def test_a_truth_may_miss_values_and_no_feed_carries_it(dataset, tmp_path):
    assert dataset.reference.gaps == ("x", "y")
    assert dataset.reference.roles["x"] == ("truth",)
    train = dataset.part("train")
    np.testing.assert_array_equal(train.load(1)["x"][:, 0], stored("train", 1)["truth"])
    feed = make_feed(train, Windows(window=5))
    assert feed.arrays.keys() == {"u", "y", "seen.y", "first", "offset"}
    asked = make_feed(train, Windows(window=5), roles=("u", "x"))
    assert asked.arrays.keys() == {"u", "x", "seen.x", "first", "offset"}
    (group, _) = full_sequences(dataset.part("valid"))
    assert group.keys() == {"u", "y", "x", "seen.x", "seen.y"}
    with pytest.raises(DataError, match="no role `z`"):
        make_feed(train, Windows(window=5), roles=("z",))
    clean = prepare({"path": str(write(tmp_path / "clean", 0.0)), "truth": "truth"})
    assert clean.gaps == ("x",)


def test_statistics_are_over_seen_values(dataset):
    whole = np.concatenate([stored("train", i)["y0"] for i in range(2)])
    found = dataset.statistics
    np.testing.assert_allclose(found.mean["y"], np.nanmean(whole, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std["y"], np.nanstd(whole, axis=0), rtol=1e-12)
    assert found.count == 105


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 40),
    block=st.integers(1, 11),
    missing=st.floats(0, 0.95),
    offset=st.sampled_from([0.0, 1e6]),
)
def test_moments_of_blocks_with_gaps(seed, size, block, missing, offset):
    rng = np.random.default_rng(seed)
    values = rng.normal(offset, 1, size=(size, 2, 3))
    values[rng.random(values.shape) < missing] = np.nan
    values[0, 0] = offset + 1  # something of every channel
    mean, std = accumulate(values[i : i + block] for i in range(0, size, block))
    flat = values.reshape(-1, 3)
    np.testing.assert_allclose(mean, np.nanmean(flat, axis=0), rtol=1e-12, atol=1e-12)
    expected = np.nanstd(flat, axis=0)
    spread = expected > 1e-12 * max(offset, 1)
    np.testing.assert_allclose(std[spread], expected[spread], rtol=1e-6)
    assert (std[~spread] == 1).all()


def check(batch, values, seen, fill):
    """Filled values are the mean, the others as stored, and the mask tells them apart."""
    assert np.isfinite(batch["y"]).all() and batch["seen.y"].dtype == bool
    np.testing.assert_array_equal(batch["seen.y"], seen)
    expected = np.where(seen, values, fill).astype(batch["y"].dtype)
    np.testing.assert_array_equal(batch["y"], expected)


@pytest.mark.parametrize("order", ["shuffled", "consecutive"])
@pytest.mark.parametrize("mode", ["resident", "streaming"])
def test_no_gap_leaves_a_feed(dataset, order, mode):
    train, fill = dataset.part("train"), dataset.statistics.mean["y"]
    windows = Windows(window=8, batch_size=4, order=order, feeding=mode)
    feed = make_feed(train, windows)
    drawn = np.asarray(feed.order(jax.random.key(0)))
    if mode == "resident":
        gather = jax.jit(jax.vmap(feed.batch, (None, 0)))
        batches = {k: np.asarray(v) for k, v in gather(feed.arrays, drawn).items()}
    else:
        (batches,) = feed.chunks(drawn)
    stride, last = (8, 0) if order == "consecutive" else (1, 7)
    cuts = [
        stored("train", i)["y0"][s : s + 8]
        for i, length in enumerate(LENGTHS["train"])
        for s in range(0, length - last, stride)
    ]
    # Zero is what a window in a row holds beyond its record, and nothing was seen there.
    whole = np.stack([np.pad(c, ((0, 8 - len(c)), (0, 0))) for c in cuts])
    inside = np.stack([np.arange(8)[:, None] < len(c) for c in cuts])
    numbers = np.where(drawn < 0, -drawn - 1, drawn)
    values = whole[numbers]
    check(
        batches,
        values,
        ~np.isnan(values) & inside[numbers],
        np.where(inside[numbers], fill, 0.0),
    )
    if order == "consecutive":
        assert not inside.all(), "or the last windows are not tested"
        np.testing.assert_array_equal(batches["inside"], inside[numbers])
    shapes = {k: (v.shape[1:], v.dtype) for k, v in batches.items()}
    assert shapes == batch_shapes(train, windows)


def test_no_gap_leaves_a_group(dataset):
    fill, valid = dataset.statistics.mean["y"], dataset.part("valid")
    groups = full_sequences(valid)
    assert [g["y"].shape for g in groups] == [(2, 30, 2), (1, 20, 2)]
    values = np.stack([stored("valid", i)["y0"] for i in range(2)])
    check(groups[0], values, ~np.isnan(values), fill)
    (group,) = cut_windows(valid, 12, 7)
    values = np.stack(
        [
            stored("valid", i)["y0"][s : s + 12]
            for i, length in enumerate(LENGTHS["valid"])
            for s in range(0, length - 11, 7)
        ]
    )
    check(group, values, ~np.isnan(values), fill)
    (group,) = cut_windows(
        valid, 12, 7, fills={"y": np.full(2, -5.0), "x": np.zeros(1)}
    )
    check(group, values, ~np.isnan(values), -5.0)
    with pytest.raises(DataError, match=r"(?s)of 31 samples.*0\.h5.*at most 30"):
        cut_windows(valid, 31, 1)


def test_new_gaps_of_the_test_part_are_refused(tmp_path):
    folder = write(tmp_path / "set", 0.0)
    with h5py.File(folder / "test" / "0.h5", "r+") as file:
        file["y0"][17, 1] = np.nan
    test = open_dataset(prepare(str(folder))).part("test")
    for cut in (full_sequences, lambda part: cut_windows(part, 9, 4)):
        with pytest.raises(
            DataError, match=r"`y0` in .*0\.h5.* nan at sample 17, column 1"
        ):
            cut(test)
    for mode in ("resident", "streaming"):
        with pytest.raises(DataError, match=r"nan at sample 17, column 1"):
            feed = make_feed(test, Windows(window=25, batch_size=1, feeding=mode))
            feed.read(np.zeros(1, int))


def test_a_file_to_predict_from(dataset, folder, tmp_path):
    reference, file = dataset.reference, folder / "valid" / "0.h5"
    read = records.read(file, reference=reference, roles=("u", "y"), optional=("y",))
    values = stored("valid", 0)
    check(read, values["y0"], ~np.isnan(values["y0"]), dataset.statistics.mean["y"])
    np.testing.assert_array_equal(read["u"][:, 0], values["u0"])
    bare = tmp_path / "bare.h5"
    with h5py.File(bare, "w") as made:
        made["u0"], made.attrs["fs"] = np.ones(9), 4.0
    read = records.read(bare, reference=reference, roles=("u", "y"), optional=("y",))
    assert read.keys() == {"u"}
    with pytest.raises(DataError, match="`y0` is not in"):
        records.read(bare, reference=reference, roles=("y",))
    y = np.arange(18.0).reshape(9, 2)
    records.write(tmp_path / "out.h5", {"y": y}, reference=reference, like=bare)
    with h5py.File(tmp_path / "out.h5") as made:
        np.testing.assert_array_equal(made["y0"], y)
        assert made.attrs["fs"] == 4.0
    with pytest.raises(DataError, match="is there already"):
        records.write(bare, {"y": y}, reference=reference, like=bare)
    with h5py.File(tmp_path / "nan.h5", "w") as made:
        made["u0"] = np.array([1, np.nan])
    with pytest.raises(DataError, match="`u0` in .*nan at sample 1"):
        records.read(tmp_path / "nan.h5", reference=reference, roles=("u",))
