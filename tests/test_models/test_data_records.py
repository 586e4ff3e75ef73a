"""Files, records, parts and statistics, against files written here with h5py."""

from __future__ import annotations

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.files import hash_files, natural_key, part_files, write_atomically
from models.data.hdf5 import OPEN_FILES, attributes, close_files
from models.data.kinds.records import RecordsPart, signal_file, signal_names
from models.data.reference import Reference
from models.data.statistics import accumulate
from models.errors import DataError

ROLES = {"u": ("u0",), "y": ("y0",)}


def write(path, signals, *, compression=None, **attrs):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in signals.items():
            file.create_dataset(name, data=values, compression=compression)
        file.attrs.update(attrs)
    return path


def signals(length, seed=0, **extra):
    rng = np.random.default_rng(seed)
    return {"u0": rng.normal(size=length), "y0": rng.normal(size=length), **extra}


@pytest.fixture
def folder(tmp_path):
    for part, lengths in {"train": (30, 50, 40), "valid": (60,), "test": (70,)}.items():
        for i, length in enumerate(lengths):
            path = tmp_path / "set" / part / f"{part}_{i}.hdf5"
            write(path, signals(length, seed=length), fs=10.0, init_sz=5, y_unit="mm")
    return tmp_path / "set"


def test_natural_order():
    names = ["u10", "u2", "u1", "y", "u"]
    assert sorted(names, key=natural_key) == ["u", "u1", "u2", "u10", "y"]


def test_signal_names_by_convention(tmp_path):
    names = [f"u{i}" for i in range(12)] + ["y0", "y1", "time", "units"]
    path = write(tmp_path / "a.h5", {n: np.zeros(3) for n in names})
    assert signal_names(path) == {
        "u": tuple(f"u{i}" for i in range(12)),
        "y": ("y0", "y1"),
    }


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_columns_and_chosen_names(tmp_path, compression):
    force = np.arange(20.0).reshape(10, 2)
    other, out = np.arange(10, dtype=np.int16), np.arange(10, dtype=">f4") / 3
    path = write(
        tmp_path / "a.hdf5",
        {"in/force": force, "other": other, "out": out},
        compression=compression,
    )
    record = signal_file(path, {"u": ("in/force", "other"), "y": ("out",)})
    assert record.mapped == (compression is None)
    assert record.length == 10 and record.channels == {"u": 3, "y": 1}
    expected = np.column_stack([force, other])
    np.testing.assert_array_equal(record.read("u", 0, 10), expected)
    np.testing.assert_array_equal(record.read("u", 3, 7), expected[3:7])
    np.testing.assert_array_equal(record.read("y", 2, 9)[:, 0], out[2:9])


def test_a_user_block_shifts_no_bytes(tmp_path):
    path, values = tmp_path / "a.hdf5", signals(20)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, column in values.items():
            file[name] = column
    record = signal_file(path, ROLES)
    np.testing.assert_array_equal(record.read("y", 0, 20)[:, 0], values["y0"])


def test_more_compressed_files_than_may_be_open(tmp_path):
    paths = [
        write(tmp_path / f"{i}.hdf5", signals(9, seed=i), compression="gzip")
        for i in range(OPEN_FILES + 5)
    ]
    records = [signal_file(p, ROLES) for p in paths]
    for i, record in enumerate(records):
        np.testing.assert_array_equal(record.read("u", 0, 9)[:, 0], signals(9, i)["u0"])
    held = os.listdir("/proc/self/fd")
    close_files()
    assert len(held) - len(os.listdir("/proc/self/fd")) <= OPEN_FILES


def test_parts_are_lazy_and_in_natural_order(folder):
    reference = prepare(str(folder))
    dataset = open_dataset(reference.to_json())
    assert dataset.part("train").lengths == (30, 50, 40)
    np.testing.assert_array_equal(
        dataset.part("train").slice(1, 5, 9)["u"][:, 0], signals(50, 50)["u0"][5:9]
    )
    assert {k: v.shape for k, v in dataset.part("valid").load(0).items()} == {
        "u": (60, 1),
        "y": (60, 1),
    }
    assert "test" not in dataset._parts
    with pytest.raises(DataError, match="do not lie in"):
        dataset.part("train").slice(0, 20, 31)
    with pytest.raises(DataError, match="no part"):
        dataset.part("tset")


def test_statistics_of_train_only_equal_numpy(folder):
    (folder / "valid" / "valid_0.hdf5").unlink()
    write(
        folder / "valid" / "valid_0.hdf5", {"u0": np.full(60, 1e9), "y0": np.ones(60)}
    )
    statistics = open_dataset(prepare(str(folder))).statistics
    for role, name in (("u", "u0"), ("y", "y0")):
        whole = np.concatenate([signals(n, n)[name] for n in (30, 50, 40)])
        np.testing.assert_allclose(statistics.mean[role], [whole.mean()], rtol=1e-12)
        np.testing.assert_allclose(statistics.std[role], [whole.std()], rtol=1e-12)
    assert statistics.count == 120


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_one_pass_statistics_are_stable(offset):
    values = np.random.default_rng(0).normal(size=(10_000, 3)) * [1, 1e-2, 0] + offset
    blocks = (values[i : i + 777].astype(np.float32) for i in range(0, 10_000, 777))
    mean, std = accumulate(blocks)
    exact = values.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-12)
    expected = exact.std(axis=0)
    np.testing.assert_allclose(std, np.where(expected > 0, expected, 1), rtol=1e-7)
    assert std[2] == 1.0


def test_hash_sees_bytes_and_names(tmp_path):
    a = write(tmp_path / "a.hdf5", signals(9))
    before = hash_files([a])
    assert hash_files([a]) == before
    b = a.rename(tmp_path / "b.hdf5")
    assert hash_files([b]) != before
    a = b.rename(a)
    content = bytearray(a.read_bytes())
    content[-1] ^= 1
    a.write_bytes(content)
    assert hash_files([a]) != before


def test_a_file_written_again_is_read_again(tmp_path):
    path = write(tmp_path / "a.hdf5", signals(9), compression="gzip")
    assert signal_file(path, ROLES).length == 9
    other = write(tmp_path / "b.hdf5", signals(12, seed=1), compression="gzip")
    os.replace(other, path)
    record = signal_file(path, ROLES)
    np.testing.assert_array_equal(record.read("u", 0, 12)[:, 0], signals(12, 1)["u0"])


def test_hash_per_part_and_reference_round_trip(folder):
    first = prepare(str(folder))
    assert Reference.from_json(first.to_json()) == first
    assert set(first.hashes) == {"train", "valid", "test"}
    write(folder / "test" / "test_0.hdf5", signals(71))
    second = prepare(str(folder))
    changed = {k for k in first.hashes if first.hashes[k] != second.hashes[k]}
    assert changed == {"test"}


def test_reference_refuses_what_it_does_not_know(folder):
    with pytest.raises(DataError, match="unknown field `nmae`"):
        Reference.from_json({"nmae": "x"})
    with pytest.raises(DataError, match="needs `path`"):
        Reference.from_json({"name": "x"})
    with pytest.raises(DataError, match="reference is needed"):
        open_dataset(None)
    with pytest.raises(DataError, match="is gone"):
        open_dataset({"name": "x", "path": "/nowhere", "inputs": [], "outputs": []})


def reference(folder, **changes):
    values = {"name": "set", "path": str(folder), "inputs": ["u0"], "outputs": ["y0"]}
    return Reference.from_json(values | changes)


def test_damaged_files_are_named(folder):
    path = folder / "train" / "train_1.hdf5"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match="train_1.hdf5 cannot be read as an HDF5 file"):
        prepare(str(folder))
    path.write_text("no HDF5")
    with pytest.raises(DataError, match="train_1.hdf5 cannot be read as an HDF5 file"):
        prepare(str(folder))
    path.unlink()
    path.symlink_to(folder / "nowhere.hdf5")
    with pytest.raises(DataError, match=r"cannot read .*train_1.hdf5|does not exist"):
        prepare(str(folder))


def test_a_chunk_damaged_inside_is_named(folder):
    path = folder / "train" / "train_1.hdf5"
    write(path, signals(50_000), compression="gzip")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)
    with pytest.raises(DataError, match="train_1.hdf5 cannot be read as an HDF5 file"):
        prepare(str(folder))


def test_missing_parts_and_empty_parts(folder, tmp_path):
    open_dataset(reference(folder)).part("test")
    for file in (folder / "valid").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="part `valid` is empty"):
        prepare(str(folder))
    (folder / "valid").rmdir()
    with pytest.raises(DataError, match="has no part `valid`"):
        prepare(str(folder))
    with pytest.raises(DataError, match="has no part `train`"):
        prepare(str(tmp_path))


def test_without_a_test_part_only_the_test_part_is_refused(folder):
    (folder / "test" / "test_0.hdf5").unlink()
    (folder / "test").rmdir()
    dataset = open_dataset(prepare(str(folder)))
    assert "test" not in dataset.reference.hashes
    with pytest.raises(DataError, match="has no part `test`"):
        dataset.part("test")


def test_hidden_and_other_files_are_no_data(folder):
    (folder / "train" / "._train_0.hdf5").write_text("of another system")
    (folder / "train" / "notes.txt").write_text("notes")
    assert len(part_files(folder, "train")) == 3


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_found(folder, value, compression):
    values = signals(50)
    values["y0"][17] = value
    write(folder / "valid" / "valid_0.hdf5", values, compression=compression)
    with pytest.raises(DataError, match=r"`y0` in .*valid_0.hdf5 .*at sample 17"):
        prepare(str(folder))


@pytest.mark.parametrize("name", ["u0", "y0"])
def test_what_single_precision_would_swallow_is_refused(folder, name):
    """Rounding of what is let through is below 0.4 % of its deviation."""
    random = np.random.default_rng(2).normal(size=(5, 50))

    def prepared(offset, spread=0.25):
        for path, values in zip(sorted(folder.glob("*/*")), random, strict=True):
            path.unlink()  # what is open stays what it was
            write(path, {**signals(50), name: offset + spread * values}, fs=10.0)
        train = open_dataset(prepare(str(folder))).part("train")
        return np.concatenate([train.load(i)[name[0]] for i in range(3)])

    for offset in (6.4e6, -6.4e6, 2.5e4):
        with pytest.raises(DataError, match=rf"`{name}` in .*vary.*(?s:.)*subtract"):
            prepared(offset)
    for offset in (1.7e4, -1e3, 0.0):
        values = prepared(offset)
        rounded = values.astype(np.float32).astype(np.float64)
        assert np.sqrt(np.mean((rounded - values) ** 2)) < 0.004 * values.std()
    prepared(6.4e6, spread=0.0)  # a constant tells nothing, and loses nothing


def test_the_column_that_is_not_finite_is_named(folder):
    values = signals(50, y0=np.ones((50, 3)))
    values["y0"][11, 2] = np.nan
    for file in folder.glob("*/*"):
        write(file, values)
    with pytest.raises(DataError, match="at sample 11, column 2"):
        prepare(str(folder))


def test_the_test_part_is_not_decoded(folder):
    (folder / "test" / "test_0.hdf5").write_text("nobody looks inside")
    assert prepare(str(folder)).hashes["test"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"u0": np.ones(5), "y0": np.ones(4)}, "equal lengths, got `u0` 5, `y0` 4"),
        ({"u0": np.ones(0), "y0": np.ones(0)}, "holds no samples"),
        ({"u0": np.ones(5), "y1": np.ones(5)}, "signal `y0` is not in"),
        ({"u0": np.ones(5), "y0": np.array([b"a"] * 5)}, "not numbers"),
        ({"u0": np.ones((5, 1, 1)), "y0": np.ones(5)}, "must have shape"),
        ({"u0": np.ones((5, 2)), "y0": np.ones(5)}, "must have equal channels"),
    ],
)
def test_records_that_do_not_fit(folder, values, message):
    write(folder / "train" / "train_1.hdf5", values)
    with pytest.raises(DataError, match=message):
        RecordsPart(reference=reference(folder), name="train")


def test_a_file_without_any_known_signal(tmp_path):
    path = write(tmp_path / "a.h5", {"force": np.ones(3), "y0": np.ones(3)})
    with pytest.raises(DataError, match="no input signal `u0`; it has: force, y0"):
        signal_names(path)
    assert signal_names(path, needed=("y",)) == {"u": (), "y": ("y0",)}
    assert attributes(path) == {}


def test_atomic_writes_leave_nothing_half_done(tmp_path):
    path = tmp_path / "new" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    with pytest.raises(TypeError):
        write_atomically(path, "text is no bytes")
    assert path.read_bytes() == b"two" and os.listdir(path.parent) == ["file"]


def test_the_driver_s_half_loads_no_jax():
    modules = """arrays cache catalog check dataset files gaps hdf5 kinds.records
    options real reference requests rows windows"""
    code = "; ".join(f"import models.data.{m}" for m in modules.split())
    check = f"{code}; import sys; print('jax' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "False"


def test_a_share_of_train_is_its_beginning_and_leaves_valid_and_test_whole(folder):
    whole = open_dataset(prepare(str(folder)))
    some = open_dataset(prepare({"path": str(folder), "train_share": 0.31}))
    tenth = open_dataset(prepare({"path": str(folder), "train_share": 0.1}))
    assert tenth.part("train").lengths == (3, 5, 4)
    assert "train_share" not in whole.reference.settings
    assert some.part("train").lengths == (10, 16, 13)  # rounded up
    for name in ("valid", "test"):
        assert some.part(name).lengths == whole.part(name).lengths
    for index, length in enumerate((10, 16, 13)):
        for role in "uy":
            np.testing.assert_array_equal(
                some.part("train").load(index)[role],
                whole.part("train").load(index)[role][:length],
            )
    used = np.concatenate([some.part("train").load(i)["y"] for i in range(3)])
    np.testing.assert_allclose(some.statistics.mean["y"], used.mean(0), rtol=1e-12)
    with pytest.raises(DataError, match="which has 10"):
        some.part("train").slice(0, 5, 11)


@pytest.mark.parametrize("share", [0, -0.1, 1.5, "half", True, float("nan")])
def test_a_share_that_is_none_is_refused(folder, share):
    with pytest.raises(DataError, match="above 0 and at most 1"):
        prepare({"path": str(folder), "train_share": share})


def test_another_folder_serves_as_a_part(folder):
    write(folder / "all" / "all_0.hdf5", signals(100), fs=10.0, init_sz=5)
    plain = prepare(str(folder))
    reference = prepare(
        {"path": str(folder), "folders": {"train": "all", "valid": "all"}}
    )
    assert reference != plain and "folders" not in plain.settings
    assert reference.hashes["train"] == reference.hashes["valid"]
    assert reference.hashes["test"] == plain.hashes["test"]
    dataset = open_dataset(reference.to_json())
    assert [dataset.part(p).lengths for p in ("train", "valid", "test")] == [
        (100,),
        (100,),
        (70,),
    ]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"train": "test"}, "nothing may be fitted to it"),
        ({"test": "valid"}, "which folder serves as train"),
        ({"train": "../set/test"}, "which folder serves as train"),
        ({"train": 3}, "which folder serves as train"),
        ("all", "which folder serves as train"),
        ({"train": "nowhere"}, "no part `nowhere`"),
    ],
)
def test_a_folder_that_cannot_serve_is_refused(folder, folders, message):
    with pytest.raises(DataError, match=message):
        prepare({"path": str(folder), "folders": folders})
