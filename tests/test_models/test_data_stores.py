"""Records are the same numbers in HDF5, CSV and Parquet; constants are signals that stay."""

from __future__ import annotations

import gzip

import h5py
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from models import rnn
from models.data import stores
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.hdf5 import close_files
from models.errors import DataError
from models.tasks import task_of
from models.training.protocol import Context

SIZES = {"train": (40, 55), "valid": (30,), "test": (25,)}
RATE = 8.0


def signals(part, number, length):
    random = np.random.default_rng([len(part), number])
    u = random.normal(size=(length, 2)).round(6)
    return {"u0": u[:, 0], "u1": u[:, 1], "y0": np.cumsum(u[:, 0]).round(6)}


def text_of(columns, times):
    names = ",".join(["time", *columns])
    rows = zip(times, *columns.values(), strict=True)
    return (
        names + "\n" + "".join(",".join(map(repr, map(float, r))) + "\n" for r in rows)
    )


def store(path, columns, ending):
    times = np.arange(len(columns["u0"])) / RATE
    if ending == ".hdf5":
        with h5py.File(path, "w") as file:
            file.attrs["fs"] = RATE
            for name, values in columns.items():
                file[name] = values
    elif ending == ".parquet":
        parquet.write_table(pyarrow.table({"time": times, **columns}), path)
    elif ending == ".csv.gz":
        path.write_bytes(gzip.compress(text_of(columns, times).encode()))
    else:
        path.write_text(text_of(columns, times))


def dataset(folder, ending):
    for part, sizes in SIZES.items():
        (folder / part).mkdir(parents=True)
        for number, length in enumerate(sizes):
            path = folder / part / f"speed_{10 * number + 5}{ending}"
            store(path, signals(part, number, length), ending)
    return folder


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_tables_hold_what_hdf5_holds(tmp_path, ending):
    wanted = prepare(str(dataset(tmp_path / "a", ".hdf5")))
    found = prepare(str(dataset(tmp_path / "b", ending)))
    assert found.roles == wanted.roles == {"u": ("u0", "u1"), "y": ("y0",)}
    assert found.sampling_rate == wanted.sampling_rate == RATE
    for part, sizes in SIZES.items():
        a, b = (open_dataset(r).part(part) for r in (wanted, found))
        assert a.lengths == b.lengths == sizes and a.names == b.names
        assert b.names[0] == "speed_5"
        for i, length in enumerate(sizes):
            for role in ("u", "y"):
                one = a.slice(i, 3, length, roles=(role,))[role]
                np.testing.assert_array_equal(
                    one, b.slice(i, 3, length, roles=(role,))[role]
                )
    assert set(found.hashes) == set(wanted.hashes) and found.hashes != wanted.hashes


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet", ".hdf5"])
def test_predictions_are_written_as_tables_too(tmp_path, ending):
    folder = dataset(tmp_path / "set", ".csv")
    data = prepare(str(folder)).to_json()
    task, like = task_of("simulation"), folder / "test" / "speed_5.csv"
    given, measured = task.from_file(like, data=data)
    assert given["u"].shape == (25, 2) and measured["y"].shape == (25, 1)
    out = tmp_path / f"out{ending}"
    task.to_file(out, {"y": measured["y"] * 2}, data=data, like=like)
    assert stores.array_names(out) == ["y0"]
    array = stores.open_array(out, "y0")
    np.testing.assert_allclose(array.read(0, 25), measured["y"][:, 0] * 2)
    if ending.startswith(".csv"):
        assert stores.attributes(out)["fs"] == RATE, "its times are taken over"
    else:
        assert float(stores.attributes(out)["fs"]) == RATE
    for name in ("out.txt", "out", "out.json"):  # no reader would know what that holds
        with pytest.raises(DataError, match=rf"must end in .*\.csv.* got .*{name}"):
            task.to_file(tmp_path / name, measured, data=data, like=like)
        assert not (tmp_path / name).exists()


def test_a_table_that_changed_is_read_again(tmp_path):
    path = tmp_path / "a.csv"
    store(path, signals("train", 0, 20), ".csv")
    first = stores.open_array(path, "y0").read(0, 20)
    store(path, signals("train", 1, 21), ".csv")
    second = stores.open_array(path, "y0")
    assert second.shape == (21,) and (second.read(0, 20) != first).any()


def test_what_is_wrong_with_a_table_is_told(tmp_path):
    folder = dataset(tmp_path / "set", ".csv")
    path = folder / "train" / "speed_5.csv"
    text = path.read_text()
    path.write_text(text.replace("time,u0", "time,v0"))
    with pytest.raises(DataError, match=r"`u0` is not in .*speed_5.csv"):
        prepare({"path": str(folder), "inputs": ["u0", "u1"]})
    first = text.splitlines()[1]
    path.write_text(text.replace(first, "0.0,low,1.0,2.0", 1))
    with pytest.raises(DataError, match=r"signal `u0` in .* holds 'low' in line 2"):
        prepare(str(folder))
    lines = text.splitlines()
    path.write_text("\n".join([*lines[:9], *lines[12:]]) + "\n")
    with pytest.raises(DataError, match="must be evenly spaced"):
        prepare(str(folder))
    path.write_text(text.replace("0.125,", "0.125,,", 1))
    with pytest.raises(DataError, match=r"must have 4 cells, got 5 in line 3"):
        prepare(str(folder))
    damaged = dataset(tmp_path / "p", ".parquet")
    (damaged / "train" / "speed_5.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match="cannot be read as a Parquet file"):
        prepare(str(damaged))


def with_masses(folder, masses):
    """HDF5 records that tell a mass, a list and a word as attributes."""
    for path, mass in zip(sorted(folder.glob("*/*.hdf5")), masses, strict=True):
        with h5py.File(path, "r+") as file:
            file.attrs["mass_kg"], file.attrs["place"] = mass, [mass, 2 * mass]
            file.attrs["who"] = "me"


def test_constants_are_signals_that_stay_as_they_are(tmp_path):
    folder = dataset(tmp_path / "set", ".hdf5")
    with_masses(folder, (1.5, 2.5, 3.5, 4.5))  # test, train, train, valid
    constants = {
        "mass": {"attribute": "mass_kg"},
        "speed": {"file_name": r"speed_(\d+)"},
        "place": {"attribute": "place"},
    }
    request = {
        "path": str(folder),
        "inputs": ["u0", "mass", "speed"],
        "outputs": ["y0", "place"],
        "constants": constants,
    }
    reference = prepare(request)
    train = open_dataset(reference).part("train")
    assert train.shapes == {"u": (3,), "y": (3,)}
    files = sorted((folder / "train").glob("*"), key=lambda p: len(p.name))
    for i, path in enumerate(files):
        with h5py.File(path) as file:
            mass, length = file.attrs["mass_kg"], len(file["u0"])
            got = train.slice(i, 0, length)
            np.testing.assert_array_equal(got["u"][:, 0], file["u0"][:])
            assert (got["u"][:, 1] == mass).all() and (
                got["u"][:, 2] == [5, 15][i]
            ).all()
            assert (got["y"][:, 1] == mass).all() and (got["y"][:, 2] == 2 * mass).all()
    other = prepare(
        request | {"constants": {**constants, "mass": {"file_name": r"_(\d)"}}}
    )
    assert other.settings != reference.settings, (
        "another dataset, for a compiled program"
    )


def test_attributes_of_parquet_are_its_metadata(tmp_path):
    folder = dataset(tmp_path / "set", ".parquet")
    for path in folder.glob("*/*.parquet"):
        table = parquet.read_table(path)
        told = {"mass": "2.5", "place": "[1, 2.5]", "who": "me", "pandas": "{}"}
        parquet.write_table(table.replace_schema_metadata(told), path)
    request = {
        "path": str(folder),
        "inputs": ["u0", "mass", "place"],
        "constants": {n: {"attribute": n} for n in ("mass", "place")},
    }
    reference = prepare(request)
    found = open_dataset(reference).part("train").load(0)["u"]
    np.testing.assert_array_equal(found[:, 1:], np.tile([2.5, 1, 2.5], (40, 1)))
    # A prediction takes them over, in another layout too, and can be read again.
    like = folder / "test" / "speed_5.parquet"
    for name in ("out.parquet", "out.hdf5"):
        stores.write(tmp_path / name, [("y0", np.zeros(25))], like=like)
        told = stores.attributes(tmp_path / name)
        assert told["mass"] == 2.5 and list(told["place"]) == [1, 2.5]
        assert told["who"] == "me" and "pandas" not in told
    stores.write(
        tmp_path / "b.parquet", [("y0", np.zeros(25))], like=tmp_path / "out.hdf5"
    )
    assert stores.attributes(tmp_path / "b.parquet")["place"] == [1, 2.5]


@pytest.mark.parametrize("outputs", [["mass"], ["mass", "place"]])
def test_a_target_that_a_file_does_not_tell_is_predicted(outputs, tmp_path):
    """A number of a record is what a new file is asked for: it is not there yet."""
    folder = dataset(tmp_path / "set", ".hdf5")
    with_masses(folder, (1.5, 2.5, 3.5, 4.5))
    constants = {n: {"attribute": n.replace("mass", "mass_kg")} for n in outputs}
    request = {"path": str(folder), "outputs": outputs, "constants": constants}
    data, like = prepare(request).to_json(), folder / "test" / "speed_5.hdf5"
    task = task_of({"name": "estimation", "window": 20})
    given, measured = task.from_file(like, data=data)
    width = measured["y"].shape[1]
    assert (measured["y"][:, 0] == 1.5).all() and width == len(outputs) * 2 - 1
    close_files()
    with h5py.File(like, "r+") as file:
        del file.attrs["mass_kg"], file.attrs["place"]
    again, measured = task.from_file(like, data=data)
    np.testing.assert_array_equal(again["u"], given["u"])
    assert "y" not in measured
    task.to_file(
        tmp_path / "out.hdf5", {"y": np.arange(float(width))}, data=data, like=like
    )
    with h5py.File(tmp_path / "out.hdf5") as file:
        assert file["mass"][:].ravel().tolist() == [0.0]


def test_a_constant_takes_no_signals_place(tmp_path):
    folder = dataset(tmp_path / "set", ".hdf5")
    request = {"path": str(folder), "constants": {"u1": {"file_name": r"_(\d+)"}}}
    with pytest.raises(DataError, match="`u1` has the name of a signal of .*speed_5"):
        prepare({**request, "inputs": ["u0", "u1"]})


@pytest.mark.parametrize("begin", ["late", 2.5, float("nan")])
def test_where_scores_begin_is_a_whole_number(begin, tmp_path):
    folder = dataset(tmp_path / "set", ".hdf5")
    with h5py.File(folder / "train" / "speed_5.hdf5", "r+") as file:
        file.attrs["init_sz"] = begin
    with pytest.raises(DataError, match="`init_sz` counts samples"):
        prepare(str(folder))


def test_a_model_is_trained_and_used_with_constants_of_tables(tmp_path):
    folder = dataset(tmp_path / "set", ".parquet")
    request = {
        "path": str(folder),
        "inputs": ["u0", "u1", "speed"],
        "constants": {"speed": {"file_name": r"speed_(\d+)"}},
    }
    data = prepare(request).to_json()
    config = {
        "model.layers": 1, "model.hidden_size": 2, "data.window": 20,
        "data.batch_size": 4, "data.batches": 2, "loss.n_skip": 2,
    }  # fmt: skip
    learner = rnn.create(
        config, Context(task={"name": "simulation"}, data=data, epochs=1)
    )
    (epoch,) = learner.fit(1)
    assert np.isfinite(epoch.valid["rmse"])
    task, like = task_of("simulation"), folder / "test" / "speed_5.parquet"
    given, _ = task.from_file(like, data=data)
    assert given["u"].shape == (25, 3) and (given["u"][:, 2] == 5).all()
    assert learner.predict(given["u"]).shape == (25, 1)


@pytest.mark.parametrize(
    "constants,message",
    [
        (["mass"], "`constants` says by name"),
        ({"mass": "mass_kg"}, "found in an `attribute`, by a `file_name` or of"),
        ({"mass": {"place": "x"}}, "found in an `attribute`, by a `file_name` or of"),
        ({"mass": {"attribute": "mass"}}, "attribute `mass`, which .* does not have"),
        (
            {"mass": {"attribute": "who"}},
            "must be a number or a list of them, got 'me'",
        ),
        ({"mass": {"file_name": "mass_[0-9]+"}}, "must have one group, got 0"),
        ({"mass": {"file_name": "("}}, "is no regular expression"),
        ({"mass": {"file_name": r"m_(\d+)"}}, r"in speed_\d+.hdf5 it finds nothing"),
        ({"mass": {"file_name": r"(sp)"}}, "must be a number, and .* finds 'sp'"),
        ({"mass": {"file_name": r"spee(x)?"}}, "must be a number, and .* finds ''"),
        (
            {"mass": {"attribute": "mass_kg"}, "more": {"attribute": "mass_kg"}},
            "`more` is neither input nor output nor truth",
        ),
    ],
)
def test_constants_that_cannot_be_found_are_refused(constants, message, tmp_path):
    folder = dataset(tmp_path / "set", ".hdf5")
    with_masses(folder, (1.5, 2.5, 3.5, 4.5))
    request = {"path": str(folder), "inputs": ["u0", "mass"], "constants": constants}
    with pytest.raises(DataError, match=message):
        prepare(request)
