"""Datasets by name and folder; the real ones where HPO_DATA points at them."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from models.data.catalog import describe, names, prepare
from models.data.dataset import open_dataset
from models.data.options import SIMULATED, Options
from models.errors import DataError


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch):
    monkeypatch.delenv("HPO_DATA", raising=False)


@pytest.fixture
def root(tmp_path):
    for name in ("mine", "bouc_wen"):
        for part in ("train", "valid", "test"):
            path = tmp_path / name / part / "a.h5"
            path.parent.mkdir(parents=True)
            with h5py.File(path, "w") as file:
                file["u0"], file["y0"] = np.ones(300), np.ones((300, 2))
                file["force"] = np.arange(600.0).reshape(300, 2)
                file.attrs.update(fs=4.0, init_sz=7, y_unit="mm")
    return tmp_path


def test_every_name_is_described():
    assert len(names()) == len(set(names())) == 21
    for name in names():
        info = describe(name)
        assert info.summary and info.source
        assert info.units or name in SIMULATED and SIMULATED[name].kind == "samples"
        assert bool(info.needs) == (info.kind == "real")
    with pytest.raises(DataError, match="did you mean `duffing`"):
        describe("dufing")


def test_a_folder_by_name_path_and_mapping(root):
    by_name = prepare("mine", root=root)
    assert by_name.name == "mine" and by_name.path == str(root / "mine")
    assert by_name.roles == {"u": ("u0",), "y": ("y0",)}
    assert by_name.units == {"y": ("mm", "mm")} and by_name.sampling_rate == 4.0
    assert by_name.settings == {"score_from": 7, "also_score_from": ()}
    assert prepare(str(root / "mine")) == by_name
    assert prepare({"path": str(root / "mine")}) == by_name
    assert prepare({"name": "mine"}, root=root) == by_name


def test_the_data_folder_of_the_environment(root, monkeypatch):
    monkeypatch.setenv("HPO_DATA", str(root))
    assert prepare("mine") == prepare("mine", root=root)


def test_a_relative_path_becomes_absolute(root, monkeypatch):
    monkeypatch.chdir(root)
    assert prepare("./mine").path == str(root / "mine")


def test_chosen_signals_and_protocol(root):
    asked = {
        "path": str(root / "mine"),
        "inputs": ["force", "u0"],
        "units": ["mm", "deg"],
        "score_from": 3,
        "also_score_from": [0, 9],
    }
    reference = prepare(asked)
    assert reference.roles == {"u": ("force", "u0"), "y": ("y0",)}
    assert reference.units == {"y": ("mm", "deg")}
    assert reference.settings == {"score_from": 3, "also_score_from": (0, 9)}
    record = open_dataset(reference).part("train").load(0)
    assert record["u"].shape == (300, 3) and record["y"].shape == (300, 2)


def test_a_name_of_ones_own_without_a_data_folder_says_where_one_is_given(root):
    with pytest.raises(DataError, match="(?s)unknown dataset `mine`.*HPO_DATA.*known:"):
        prepare("mine")
    with pytest.raises(DataError) as caught:
        prepare("nine_of_them", root=root)
    assert "HPO_DATA" not in str(caught.value)  # a folder was given


def test_a_known_name_brings_its_protocol(root):
    reference = prepare("bouc_wen", root=root)
    assert reference.units == {"y": ("m", "m")}
    assert reference.settings == {"score_from": 100, "also_score_from": (0,)}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("bouc_when", "(?s)unknown dataset.*did you mean `bouc_wen`"),
        ("mines", "(?s)unknown dataset.*did you mean `mine`"),
        ("cascaded_tanks", "(?s)there is no `cascaded_tanks` under.*--data"),
        ("/nowhere/at/all", "there is no folder or file /nowhere/at/all"),
        ({}, "either `name` or `path`"),
        ({"name": "mine", "path": "/x"}, "either `name` or `path`"),
        ({"name": 3}, "must be text"),
        ({"name": "mine", "input": ["u0"]}, "(?s)unknown key `input`.*`inputs`"),
        ({"name": "mine", "samples": 600}, "only simulated data has the option"),
        ({"name": "mine", "inputs": ["forc"]}, "(?s)`forc` is not in.*`force`"),
        ({"name": "mine", "inputs": ["u0", "u0"]}, "different names"),
        ({"name": "mine", "units": ["a", "b", "c"]}, "each of 2 output channels"),
        ({"name": "mine", "score_from": -1}, "got -1"),
        ({"name": "mine", "score_from": 300}, "the shortest file .* 300 samples"),
        ({"name": "mine", "also_score_from": [999]}, "from sample 999"),
    ],
)
def test_requests_that_are_refused(root, data, message):
    with pytest.raises(DataError, match=message) as caught:
        prepare(data, root=root)
    assert str(caught.value)


def test_a_known_table_is_found_by_its_file(tmp_path):
    """Packed or not, in a folder of its own or not; parted as published."""
    start = np.datetime64("2016-07-01T00:00:00")
    lines = ["date,HUFL,OT"]
    for hour in range(14401):
        when = str(start + np.timedelta64(hour, "h")).replace("T", " ")
        lines.append(f"{when},{hour % 24},{hour % 7}.5")
    (tmp_path / "ett").mkdir()
    packed = tmp_path / "ett" / "ETTh1.csv.gz"
    packed.write_bytes(gzip.compress("\n".join(lines).encode(), 1))
    reference = prepare("etth1", root=tmp_path)
    assert reference.name == "etth1" and reference.path == str(packed)
    assert reference.settings["borders"] == (0, 8640, 11520, 14400)
    assert reference.roles == {"y": ("HUFL", "OT"), "t": ("day", "second")}
    assert reference.units == {"y": ("", "")}
    asked = {"name": "etth1", "shares": [0.5, 0.25, 0.25], "calendar": False}
    other = prepare(asked, root=tmp_path)
    assert other.settings["borders"] == (0, 7200, 10801, 14401)
    assert set(other.roles) == {"y"}
    packed.write_bytes(gzip.compress("\n".join(lines[:9000]).encode(), 1))
    with pytest.raises(DataError, match="8999 rows"):
        prepare("etth1", root=tmp_path)
    with pytest.raises(DataError, match="no `ettm1` under") as caught:
        prepare("ettm1", root=tmp_path)
    assert "ETTm1.csv.gz" in caught.value.hint


def test_real_data_without_a_folder_names_the_remedy():
    with pytest.raises(DataError) as caught:
        prepare("wiener_hammerstein")
    assert "--data DIR" in caught.value.hint and "HPO_DATA" in caught.value.hint


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"samples": 100}, "`samples` must be a whole number from 512"),
        ({"samples": 1e4}, "`samples` must be a whole number"),
        ({"samples": True}, "`samples` must be a whole number"),
        ({"seed": -1}, "`seed` must be a whole number from 0"),
        ({"noise": -0.1}, "`noise` must be from 0 to 10"),
        ({"noise": float("nan")}, "`noise` must be from 0 to 10"),
        ({"noise": "loud"}, "`noise` must be from 0 to 10"),
        ({"excitation": "step"}, "(?s)`excitation` must be one of.*`steps`"),
    ],
)
def test_simulator_options_are_checked(values, message):
    with pytest.raises(DataError, match=message):
        Options(samples=1000).updated(values)
    with pytest.raises(DataError, match=message):
        prepare({"name": "duffing", **values})


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "lengths", "units", "starts"),
    [
        ("wiener_hammerstein", (80_000,), ("V",), (50,)),
        ("cascaded_tanks", (864,), ("V",), (50, 5)),
        ("bouc_wen", (6_554, 6_554), ("m",), (100, 0)),
    ],
)
def test_real_data(name, lengths, units, starts, real_root):
    reference = prepare(name, root=real_root)
    dataset = open_dataset(reference)
    assert dataset.part("train").lengths == lengths
    settings = reference.settings
    assert (settings["score_from"], *settings["also_score_from"]) == starts
    assert reference.units == {"y": units}
    file = sorted((real_root / name / "train").iterdir())[0]
    with h5py.File(file) as opened:
        whole = opened["y0"][:]
    np.testing.assert_array_equal(dataset.part("train").load(0)["y"][:, 0], whole)


_REAL_ROOT = os.environ.get("HPO_DATA")  # before the fixture hides it


@pytest.fixture
def real_root():
    if not _REAL_ROOT:
        pytest.skip("point HPO_DATA at the real benchmark data")
    return Path(_REAL_ROOT)
