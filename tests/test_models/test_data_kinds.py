"""Kinds of data are found by their module, and data finds its kind by its layout."""

from __future__ import annotations

import inspect

import h5py
import numpy as np
import pytest

from models.data import kinds
from models.data.catalog import kind_of, names, prepare
from models.data.dataset import open_dataset
from models.data.kinds.base import Kind, Part
from models.data.reference import Reference
from models.errors import DataError

FUNCTIONS = ("find", "prepare", "open", "read", "write")


def hdf5(path, groups=("",)):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for group in groups:
            for name in ("u0", "y0"):
                file[f"{group}/{name}"] = np.arange(9.0)
    return path


def test_every_module_is_a_kind():
    assert kinds.names() == ("records", "samples", "series", "windows")
    for name in kinds.names():
        module = kinds.kind(name)
        assert module.CUT in ("windows", "rows") and module.LAYOUT and module.KEYS
        for function in FUNCTIONS:
            own = inspect.signature(getattr(module, function)).parameters
            declared = list(inspect.signature(getattr(Kind, function)).parameters)
            assert list(own) == declared[1:], (name, function)
    with pytest.raises(DataError, match="(?s)unknown kind of data `record`.*`records`"):
        kinds.kind("record")
    with pytest.raises(DataError, match="unknown kind"):
        kinds.kind("base")


def test_every_part_has_the_declared_members(tmp_path):
    for part in ("train", "valid"):
        hdf5(tmp_path / "records" / part / "0.h5")
    hdf5(tmp_path / "samples.h5", ("train", "valid"))
    (tmp_path / "series.csv").write_text("a\n" + "1\n2\n" * 20)
    declared = {
        n for n in (*vars(Part), *Part.__annotations__) if not n.startswith("_")
    }
    assert len(declared) > 10
    for path, kind in [("records", "records"), ("samples.h5", "samples")] + [
        ("series.csv", "series")
    ]:
        part = open_dataset(prepare(str(tmp_path / path))).part("valid")
        assert part.reference.kind == kind
        assert not [name for name in declared if not hasattr(part, name)]


def test_the_layout_tells_the_kind(tmp_path, monkeypatch):
    monkeypatch.delenv("HPO_DATA", raising=False)
    (tmp_path / "records" / "train").mkdir(parents=True)
    hdf5(tmp_path / "one" / "any.hdf5")
    hdf5(tmp_path / "files" / "train.h5")
    hdf5(tmp_path / "files" / "valid.h5")
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "a.csv.gz").touch()
    (tmp_path / "table" / "README.md").touch()
    found = {
        "records": "records",
        "one": "samples",
        "one/any.hdf5": "samples",
        "files": "samples",
        "table": "series",
        "table/a.csv.gz": "series",
    }
    for name, kind in found.items():
        assert kind_of(str(tmp_path / name)) == kind
        assert kind_of({"path": str(tmp_path / name)}) == kind
        assert kind_of({"name": name}, root=tmp_path) == kind_of(name, root=tmp_path)
    shipped = {name: kind_of(name) for name in names() if name.startswith("sim")}
    assert shipped.pop("simulated_load") == "series"
    assert set(shipped.values()) == {"records"}
    reference = Reference(name="x", path="/gone", kind="series", roles={"y": ("a",)})
    assert kind_of(reference.to_json()) == "series"
    assert kind_of({"name": "x", "path": "/", "inputs": [], "hashes": {}}) == "records"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"some": "thing"},
            "(?s)either `name` or `path`, got .*some.*records: a folder",
        ),
        ([1, 2], "(?s)name, a path or a mapping, got .*known names"),
        (3, "a name, a path or a mapping"),
        ("two", r"(?s)is no dataset: name one of its files: a\.csv, b\.csv.*series: a"),
        ("both", "(?s)may be data of the kinds samples and series.*say which"),
        ("empty", "(?s)is no dataset: it has no part `train`.*records: a folder with"),
        ("notes.txt", "(?s)no kind of data is a file that ends in `.txt`.*series: a"),
        ({"name": "empty", "kind": "series"}, "(?s)holds no series.*a table in time"),
        ({"name": "empty", "kind": "table"}, "unknown kind of data `table`"),
        ("emty", "(?s)unknown dataset `emty`.*`empty`"),
    ],
)
def test_what_is_no_dataset_says_rule_value_and_remedy(tmp_path, data, message):
    for name in ("two/a.csv", "two/b.csv", "both/a.csv", "both/a.h5", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    for ask in (prepare, kind_of):
        with pytest.raises(DataError, match=message) as caught:
            ask(data, root=tmp_path)
        assert caught.value.message and caught.value.hint


@pytest.mark.parametrize(
    "reference", [{"some": "thing"}, {"name": "x", "path": "/x"}, None, [1]]
)
def test_what_is_no_reference_says_rule_value_and_remedy(reference):
    with pytest.raises(DataError) as caught:
        open_dataset(reference)
    assert caught.value.message and caught.value.hint


def test_fields_of_both_times_do_not_mix():
    new = Reference(name="x", path="/", roles={"u": ("a",)}).to_json()
    with pytest.raises(DataError, match="unknown field `score_from`"):
        Reference.from_json(new | {"score_from": 3})
