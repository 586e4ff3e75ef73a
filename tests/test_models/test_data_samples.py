"""Independent rows: parts, splits, hashes, statistics and feeds, against numpy."""

from __future__ import annotations

import os

import h5py
import jax
import numpy as np
import pytest

from models.data.catalog import kind_of, prepare
from models.data.dataset import open_dataset
from models.data.feeding import batch_shapes, make_feed, rows
from models.data.hdf5 import close_files
from models.data.kinds import samples
from models.data.reference import Reference
from models.data.rows import Rows
from models.data.windows import Windows
from models.errors import DataError

SIZES = {"train": 40, "valid": 12, "test": 15}


def arrays(size, seed):
    """Points of varying number, padded with NaN, and parameters."""
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, size=(size, 6, 2)).astype("f4")
    for row, count in zip(x, rng.integers(1, 7, size), strict=True):
        row[count:] = np.nan
    return {"theta": rng.normal(size=(size, 3)), "x": x, "label": np.arange(size)}


def one_file(path, sizes=SIZES, **options):
    with h5py.File(path, "w") as file:
        for seed, (part, size) in enumerate(sizes.items()):
            for name, values in arrays(size, seed).items():
                file.create_dataset(f"{part}/{name}", data=values, **options)
    return path


@pytest.fixture(params=["groups", "packed groups", "files"])
def path(tmp_path, request):
    close_files()
    if request.param != "files":
        packed = {"compression": "gzip"} if "packed" in request.param else {}
        return one_file(tmp_path / "set.hdf5", **packed)
    for seed, (part, size) in enumerate(SIZES.items()):
        with h5py.File(tmp_path / f"{part}.h5", "w") as file:
            for name, values in arrays(size, seed).items():
                file[name] = values
    return tmp_path


def test_parts_roles_and_statistics(path):
    reference = prepare(str(path))
    assert kind_of(str(path)) == "samples" == reference.kind
    assert reference.roles == {"label": ("label",), "theta": ("theta",), "x": ("x",)}
    assert reference.gaps == ("x",) and set(reference.hashes) == set(SIZES)
    assert Reference.from_json(reference.to_json()) == reference
    dataset, train = open_dataset(reference), arrays(40, 0)
    part = dataset.part("train")
    assert part.lengths == (40,)
    assert part.shapes == {"label": (1,), "theta": (3,), "x": (6, 2)}
    assert part.channels == {"label": 1, "theta": 3, "x": 2}
    np.testing.assert_array_equal(part.load(0)["x"], train["x"])
    np.testing.assert_array_equal(
        part.slice(0, 5, 9)["label"][:, 0], train["label"][5:9]
    )
    blocks = list(part.blocks("x", size=20))
    assert max(len(b) for b in blocks) == 3
    np.testing.assert_array_equal(np.concatenate(blocks), train["x"])
    found, flat = dataset.statistics, train["x"].reshape(-1, 2).astype(float)
    np.testing.assert_allclose(found.mean["x"], np.nanmean(flat, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std["x"], np.nanstd(flat, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std["theta"], train["theta"].std(axis=0))
    assert found.count == 40


@pytest.mark.parametrize("x64", [False, True])
def test_streaming_is_resident(path, x64, monkeypatch):
    monkeypatch.setattr("models.data.streaming.CHUNK_BYTES", 1500)
    part = open_dataset(prepare(str(path))).part("train")
    with jax.enable_x64(x64):
        resident, streaming = (
            make_feed(part, Rows(batch_size=7, batches=11, feeding=mode))
            for mode in ("resident", "streaming")
        )
        order = np.asarray(jax.jit(resident.order)(jax.random.key(3)))
        np.testing.assert_array_equal(order, streaming.order(jax.random.key(3)))
        gather = jax.jit(jax.vmap(resident.batch, (None, 0)))
        a = {k: np.asarray(v) for k, v in gather(resident.arrays, order).items()}
        chunks = list(streaming.chunks(order))
        assert len(chunks) > 1
        b = {name: np.concatenate([c[name] for c in chunks]) for name in chunks[0]}
        assert a.keys() == b.keys() == {"label", "theta", "x", "seen.x"}
        for name in a:
            assert a[name].dtype == b[name].dtype
            assert a[name].tobytes() == b[name].tobytes(), name
        shapes = batch_shapes(part, Rows(batch_size=7, batches=11))
        assert {k: (v.shape[1:], v.dtype) for k, v in a.items()} == shapes
    # 77 of 40 rows: every row once in the first pass.
    assert sorted(order.reshape(-1)[:40].tolist()) == list(range(40))
    stored = arrays(40, 0)["x"][order.reshape(-1)]
    np.testing.assert_array_equal(a["seen.x"].reshape(-1, 6, 2), ~np.isnan(stored))


def test_an_epoch_without_batches_shows_every_row_once(path):
    feed = make_feed(open_dataset(prepare(str(path))).part("train"), Rows(batch_size=8))
    assert feed.batches == 5
    order = np.asarray(feed.order(jax.random.key(0)))
    assert sorted(order.reshape(-1).tolist()) == list(range(40))
    assert feed.signature() == eval(repr(feed.signature()))
    with pytest.raises(DataError, match="(?s)batch of 64 rows .* has 40.*at most 40"):
        make_feed(open_dataset(prepare(str(path))).part("train"), Rows())


def test_rows_as_one_group(path):
    dataset = open_dataset(prepare(str(path)))
    (group,) = rows(dataset.part("test"))
    assert group.keys() == {"label", "theta", "x", "seen.x"}
    stored = arrays(15, 2)["x"]
    seen = ~np.isnan(stored)
    np.testing.assert_array_equal(group["seen.x"], seen)
    mean = dataset.statistics.mean["x"].astype("f4")
    np.testing.assert_array_equal(group["x"], np.where(seen, stored, mean))


def test_a_hash_is_of_the_part_s_own_rows(tmp_path):
    path = one_file(tmp_path / "set.hdf5")
    before = prepare(str(path)).hashes

    def changed(edit):
        close_files()
        with h5py.File(path, "r+") as file:
            edit(file)
        after = prepare(str(path)).hashes
        return {part for part in before if after[part] != before[part]}

    assert changed(lambda f: f.attrs.update(note="touched")) == set()
    os.utime(path, (0, 0))
    for part in SIZES:
        assert part in changed(
            lambda f, p=part: f[p]["theta"].write_direct(np.ones((SIZES[p], 3)))
        )
        close_files()
        one_file(path)
    assert changed(lambda f: f["test/x"].__setitem__((14, 0, 0), 9.0)) == {"test"}


@pytest.mark.parametrize("packed", [None, "gzip"])
def test_splits_of_one_file(tmp_path, packed):
    path, values = tmp_path / "all.h5", arrays(50, 4)
    with h5py.File(path, "w") as file:
        for name, column in values.items():
            file.create_dataset(name, data=column, compression=packed)
        file["names"] = [b"a", b"b"]
        file["scalar"] = 3.0
    by_seed = prepare(
        {"path": str(path), "split": {"seed": 5, "shares": [0.6, 0.2, 0.2]}}
    )
    drawn = np.random.default_rng(5).permutation(50)
    dataset = open_dataset(by_seed.to_json())
    for part, own in zip(SIZES, np.split(drawn, [30, 40]), strict=True):
        found = dataset.part(part).load(0)
        np.testing.assert_array_equal(found["label"][:, 0], np.sort(own))
        np.testing.assert_array_equal(found["x"], values["x"][np.sort(own)])
    ranges = {"train": [20, 50], "valid": [0, 15]}
    by_range = prepare({"path": str(path), "split": ranges, "arrays": {"a": "label"}})
    assert by_range.roles == {"a": ("label",)} and set(by_range.hashes) == set(ranges)
    found = open_dataset(by_range).part("valid").load(0)["a"]
    np.testing.assert_array_equal(found[:, 0], np.arange(15))
    close_files()
    with h5py.File(path, "r+") as file:
        file["label"][drawn[45]] = 99
    after = prepare({"path": str(path), "split": by_seed.settings["split"]})
    assert {p for p in SIZES if after.hashes[p] != by_seed.hashes[p]} == {"test"}


def test_several_arrays_lie_beside_one_another(tmp_path):
    path = one_file(tmp_path / "set.hdf5")
    asked = {"both": ["label", "theta"], "y": "x"}
    reference = prepare({"path": str(path), "arrays": asked, "units": "m"})
    assert reference.units == {"y": ("m", "m")}
    part = open_dataset(reference).part("valid")
    assert part.shapes == {"both": (4,), "y": (6, 2)}
    expected = arrays(12, 1)
    stacked = np.column_stack([expected["label"], expected["theta"]])
    np.testing.assert_array_equal(part.load(0)["both"], stacked)
    with pytest.raises(DataError, match="differ in their last axis only"):
        prepare({"path": str(path), "arrays": {"both": ["x", "theta"]}})


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"arrays": {"x": "tehta"}}, "(?s)`train/tehta` is not in .*`theta`"),
        ({"arrays": {"x": "name"}}, "not numbers"),
        ({"arrays": ["x"]}, "mapping of roles"),
        ({"arrays": {"x": []}}, "list of different names"),
        ({"arrays": {"x": 3}}, "list of different names"),
        ({"split": {"seed": 0}}, "has parts of its own"),
        ({"units": ["m"] * 5, "arrays": {"y": "x"}}, "each of 2 output channels"),
        ({"borders": [0, 1, 2]}, "unknown key `borders` .*, which is samples"),
    ],
)
def test_requests_that_are_refused(tmp_path, request_, message):
    path = one_file(tmp_path / "set.hdf5")
    close_files()
    with h5py.File(path, "r+") as file:
        file["train/name"] = [b"a"] * 40
    with pytest.raises(DataError, match=message) as caught:
        prepare({"path": str(path)} | request_)
    assert caught.value.message and caught.value.hint


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (None, "no parts train and valid"),
        ({"seed": 0}, "add up to 1, got None"),
        ({"seed": -1, "shares": [0.5, 0.5]}, "whole number `seed`"),
        ({"seed": 0, "shares": [0.5, 0.5], "train": [0, 1]}, "or by row ranges"),
        ({"seeds": 0}, "(?s)unknown key `seeds`.*`seed`"),
        ({"train": [0, 5]}, "rows of part `valid`"),
        ({"train": [0, 5], "valid": [4, 8]}, "must not share rows"),
        ({"train": [0, 5], "valid": [5, 51]}, "beyond the file.*has 50"),
        ({"train": [5, 0], "valid": [5, 6]}, "each above the one before"),
        ([0.5, 0.5], "must be a mapping"),
        (
            {"train": "x", "valid": [0, 5]},
            "`x` in .* must list row numbers, got float64",
        ),
        (
            {"train": "split/rowz", "valid": [0, 5]},
            "(?s)`split/rowz` is not in .*`rows`",
        ),
        (
            {"train": "split/rows", "valid": [5, 9]},
            "must not share rows.*row 7 .*more than once",
        ),
        ({"train": "split/beyond", "valid": [0, 5]}, "rows from 0 to 49, got 7 to 50"),
        (
            {"train": "split/rows", "valid": {"of": "rows", "rows": 1}},
            "got `of` 'rows'",
        ),
        (
            {"train": "split/rows", "valid": {"of": "train", "rows": 0}},
            "by `of`, `rows`",
        ),
        ({"train": "split/rows", "valid": {"of": "train", "rows": 2}}, "which has 2"),
    ],
)
def test_splits_that_are_refused(tmp_path, split, message):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(50.0)
        file["split/rows"] = np.array([7, 30])
        file["split/beyond"] = np.array([7, 50])
    asked = {"path": str(tmp_path)} | ({} if split is None else {"split": split})
    with pytest.raises(DataError, match=message) as caught:
        prepare(asked)
    assert caught.value.hint


def test_files_that_do_not_fit(tmp_path):
    path = one_file(tmp_path / "set.hdf5", {"train": 9, "test": 3})
    with pytest.raises(DataError, match="no part `valid`, only train, test"):
        prepare(str(path))

    def edited(edit):
        close_files()
        one_file(path)
        with h5py.File(path, "r+") as file:
            edit(file)
        return str(path)

    def replaced(file, name, values):
        del file[name]
        file[name] = values

    name = edited(lambda f: replaced(f, "train/label", np.arange(7)))
    with pytest.raises(DataError, match="equal lengths, got `label` 7, `theta` 40"):
        prepare(name)
    name = edited(lambda f: replaced(f, "valid/theta", np.ones((12, 5))))
    with pytest.raises(DataError, match=r"equal shapes: `train`.*\(3,\).*\(5,\)"):
        prepare(name)
    name = edited(lambda f: f["valid/x"].__setitem__((3, 0, 1), np.inf))
    with pytest.raises(
        DataError, match=r"`x` in .*valid.*inf at row 3, entry \(0, 1\)"
    ):
        prepare(name)
    name = edited(lambda f: f["train/x"].__setitem__((..., 1), np.nan))
    with pytest.raises(DataError, match="`x` .* nothing of channel 1 of role `x`"):
        prepare(name)
    name = edited(lambda f: f["valid/x"].__setitem__(..., np.nan))
    with pytest.raises(DataError, match="`x` .* part `valid`, nothing of role `x`"):
        prepare(name)
    name = edited(lambda f: replaced(f, "train/x", np.ones((0, 6, 2))))
    with pytest.raises(DataError, match="equal lengths|holds no samples"):
        prepare(name)
    train = open_dataset(prepare(edited(lambda f: None))).part("train")
    with pytest.raises(DataError, match="samples are fed as rows"):
        make_feed(train, Windows())
    with pytest.raises(DataError, match="do not lie in part"):
        train.slice(0, 30, 41)


def test_a_test_part_of_the_same_file_must_not_miss_more_roles(tmp_path):
    path = one_file(tmp_path / "set.hdf5")
    with h5py.File(path, "r+") as file:
        file["test/theta"][4, 2] = np.nan
    dataset = open_dataset(prepare(str(path)))
    with pytest.raises(
        DataError, match=r"`theta` in .*test.*nan at row 4, entry \(2,\)"
    ):
        rows(dataset.part("test"))


def test_read_and_write(tmp_path):
    reference = prepare(str(one_file(tmp_path / "set.hdf5")))
    new, values = tmp_path / "new.h5", arrays(5, 9)
    with h5py.File(new, "w") as file:
        file["x"], file.attrs["note"] = values["x"], "kept"
    read = samples.read(
        new, reference=reference, roles=("x", "theta"), optional=("theta",)
    )
    mean, seen = open_dataset(reference).statistics.mean["x"], ~np.isnan(values["x"])
    assert read.keys() == {"x", "seen.x"} and read["x"].dtype == np.float64
    np.testing.assert_array_equal(read["seen.x"], seen)
    np.testing.assert_array_equal(read["x"], np.where(seen, values["x"], mean))
    with pytest.raises(DataError, match="`theta` is not in"):
        samples.read(new, reference=reference, roles=("theta",))
    drawn = np.random.default_rng(0).normal(size=(5, 100, 3))
    samples.write(tmp_path / "out.h5", {"theta": drawn}, reference=reference, like=new)
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["theta"], drawn)
        assert file.attrs["note"] == "kept"
    with pytest.raises(DataError, match="is there already"):
        samples.write(new, {"theta": drawn}, reference=reference, like=new)
    with pytest.raises(DataError, match=r"must end in \.hdf5 or \.h5, got .*a\.csv"):
        samples.write(
            tmp_path / "a.csv", {"theta": drawn}, reference=reference, like=new
        )
    close_files()
    with h5py.File(new, "w") as file:
        file["x"] = values["x"][:, :4]
    with pytest.raises(DataError, match=r"shape \(4, 2\).*trained on \(6, 2\)"):
        samples.read(new, reference=reference, roles=("x",))


@pytest.mark.data
def test_beijing_air():
    root = os.environ.get("HPO_DATA") or pytest.skip("point HPO_DATA at the data")
    reference = prepare({"name": "beijing_air", "arrays": {"x": "x"}})
    dataset = open_dataset(reference)
    assert [dataset.part(p).lengths for p in SIZES] == [(408,), (72,), (84,)]
    assert reference.gaps == ("x",)
    with h5py.File(f"{root}/beijing_air/windows_745x7.hdf5") as file:
        train, test = (file[f"{p}/x"][:].astype(float) for p in ("train", "test"))
    mean = np.nanmean(train, axis=(0, 1))
    np.testing.assert_allclose(dataset.statistics.mean["x"], mean, rtol=1e-9)
    std = np.nanstd(train, axis=(0, 1))
    np.testing.assert_allclose(dataset.statistics.std["x"], std, rtol=1e-9)
    (group,) = rows(dataset.part("test"))
    np.testing.assert_array_equal(group["seen.x"], ~np.isnan(test))
    # The published score of the channel means, over observed entries.
    error = (group["x"] - mean)[group["seen.x"]] / np.broadcast_to(std, test.shape)[
        group["seen.x"]
    ]
    assert np.mean(error**2) == pytest.approx(1.113, abs=1e-3)
    feed = make_feed(dataset.part("train"), Rows(batch_size=16))
    assert feed.batch(feed.arrays, np.arange(16))["x"].shape == (16, 745, 7)


@pytest.mark.data
def test_mfeat():
    root = os.environ.get("HPO_DATA") or pytest.skip("point HPO_DATA at the data")
    split = {"seed": 0, "shares": [0.7, 0.1, 0.2]}
    dataset = open_dataset(prepare({"name": "mfeat", "split": split}))
    with h5py.File(f"{root}/mfeat/mfeat.hdf5") as file:
        features = file["features"][:]
    train = features[np.random.default_rng(0).permutation(2000)[:1400]].astype(float)
    np.testing.assert_allclose(dataset.statistics.mean["features"], train.mean(0), 1e-9)
    assert dataset.part("test").lengths == (400,)
    assert dataset.part("test").shapes == {"features": (649,), "label": (1,)}
