"""Groups of columns, cleaning and limits of independent rows: found on train, refused clearly."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.grouping import grouping_of
from models.data.hdf5 import close_files
from models.data.kinds import samples
from models.errors import ConfigError, DataError

NAMES = ("a0", "a1", "b0", "flat", "b1", "empty", "b2")
GROUPS = ("a", "a", "b", "b", "b", "a", "b")
SPLIT = {"train": [0, 40], "valid": [40, 50], "test": [50, 60]}
KEPT = [0, 1, 2, 4, 6]


@pytest.fixture
def path(tmp_path):
    """Seven columns: one constant, one empty in train alone, one with a wild value."""
    close_files()
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 7))
    x[:, 3] = 5.0
    x[:40, 5] = np.nan
    x[3, 0], x[55, 1] = 1e6, np.nan
    with h5py.File(tmp_path / "rows.hdf5", "w") as file:
        file["x"] = x
        file["names"] = list(NAMES)
        file["groups"] = list(GROUPS)
        file["short"] = list(GROUPS[:5])
    return tmp_path / "rows.hdf5"


def request(path, **more):
    return {"path": str(path), "arrays": {"values": "x"}, "split": SPLIT, **more}


CLEAN = {"clean": True, "names": "names"}


def test_what_is_constant_or_empty_in_train_is_dropped_and_written_again(path):
    reference = prepare(request(path, **CLEAN, groups="groups"))
    train = open_dataset(reference).part("train")
    with h5py.File(path) as file:
        stored = file["x"][:]
    np.testing.assert_array_equal(train.load(0)["values"], stored[:40][:, KEPT])
    what, where = train.locate("values", 0, (2, 3))
    assert "`x`" in what and "row 2, entry (4,)" in where  # as it is stored
    out = path.with_name("new.hdf5")
    samples.write(out, {"values": stored[:3][:, KEPT]}, reference=reference, like=path)
    with h5py.File(out) as file:
        again = file["x"][:]
    np.testing.assert_array_equal(again[:, KEPT], stored[:3][:, KEPT])
    assert (again[:, 3] == 5.0).all() and np.isnan(again[:, 5]).all()


def test_groups_are_numbered_as_columns_are_after_cleaning(path):
    found = grouping_of(prepare(request(path, **CLEAN, groups="groups")))
    assert found.names == ("a", "b")
    assert found.columns == ((0, 1), (2, 3, 4))
    assert found.size == 5
    with h5py.File(path) as file:
        rows = file["x"][:40][:, [2, 4, 6]]
    values = np.linalg.eigvalsh(np.corrcoef(rows.T))[::-1]
    np.testing.assert_allclose(found.spectra[1], values, atol=1e-4)


def test_limits_are_quantiles_of_train_alone(path):
    """A wild value of test moves nothing."""
    whole = {"clean": True, "clip": [0.05, 0.95]}
    first = prepare(request(path, **whole))
    close_files()
    with h5py.File(path, "r+") as file:
        x = file["x"][:]
        x[52] = 1e9
        file["x"][:] = x
    close_files()
    second = prepare(request(path, **whole))
    assert first.settings == second.settings and first.hashes != second.hashes
    assert first.hashes["train"] == second.hashes["train"]
    train = open_dataset(second).part("train").load(0)["values"]
    wanted = np.quantile(x[:40, 0], [0.05, 0.95])
    np.testing.assert_allclose([train[:, 0].min(), train[:, 0].max()], wanted)
    test = open_dataset(second).part("test").load(0)["values"]
    np.testing.assert_allclose(test[2, 0], wanted[1])


def test_a_file_to_predict_from_is_cleaned_alike(path):
    reference = prepare(request(path, clean=True, clip=[0.05, 0.95]))
    new = path.with_name("new.hdf5")
    with h5py.File(new, "w") as file:
        file["x"] = np.full((2, 7), 1e9)
    found = samples.read(new, reference=reference, roles=("values",))["values"]
    high = reference.settings["columns"]["values"]["limits"][1]
    np.testing.assert_allclose(found, [high, high])


def test_groups_by_names_by_file_and_of_an_earlier_run_are_the_same(path, tmp_path):
    by_name = {"a": ["a0", "a1", "empty"], "b": ["b0", "flat", "b1", "b2"]}
    by_number = {"a": [0, 1, 5], "b": [2, 3, 4, 6]}
    (tmp_path / "g.json").write_text(json.dumps({"columns": 7, "groups": by_number}))
    first = prepare(request(path, **CLEAN, groups=by_name))
    run = tmp_path / "run"
    run.mkdir()
    (run / "study.json").write_text(json.dumps({"data": first.to_json()}))
    several = {
        "names": by_name,
        "numbers": by_number,
        "file": str(tmp_path / "g.json"),
        "run": {"run": str(run)},
        "array": "groups",
    }
    found = prepare(request(path, **CLEAN, groups=several))
    each = [grouping_of(found, name) for name in several]
    assert all(one == each[0] for one in each)
    assert grouping_of(found) == each[0] == grouping_of(first)


@pytest.mark.parametrize(
    "groups,words",
    [
        ("group", "array `group` is not in"),
        ("short", "a text for each of 7 columns, got 5"),
        ("none.json", "there is no file"),
        ({"run": "results/none"}, "there is no file"),
        (
            {"a": [0, 1], "b": [1, 2, 3, 4, 5, 6]},
            "column 1 .`a1`. is in `a` and in `b`",
        ),
        ({"a": [0, 1], "b": [2, 3, 4, 6]}, "5 .`empty`. of 7 are in none"),
        ({"a": [0, 1], "b": [2, 3, 4, 5, 7]}, "there is no column 7, the data has 7"),
        ({"a": ["a0", "a9"], "b": [2]}, "there is no column `a9`"),
        ({"a": list(range(7)), "b": []}, "needs a column, got none in `b`"),
        ({"a": [0, 1, 2, 4, 6], "b": [3, 5]}, "group `b` is constant or missing"),
        ({"auto": {"linkages": "ward"}}, "no option `linkages`"),
        ({"auto": {"linkage": "single"}}, "`linkage` must be one of"),
        ({"auto": {"smallest": 4}}, "no two clusters of 4 columns"),
        (7, "must be a mapping of names to columns, got 7"),
    ],
)
def test_what_is_no_grouping_is_refused(path, groups, words):
    with pytest.raises(DataError, match=words):
        prepare(request(path, **CLEAN, groups=groups))


@pytest.mark.parametrize(
    "more,words",
    [
        ({}, "column 3 .`flat`. of role `values` of `rows` is constant or missing"),
        ({"names": "short"}, "`names` must .* different names|a text for each of 7"),
        ({"clean": "yes"}, "`clean` must be true or false"),
        ({"clip": [0.9, 0.1]}, "`clip` must be two fractions"),
        ({"arrays": {"a": "x", "b": "x"}}, "groups` are of the columns of one role"),
    ],
)
def test_what_does_not_go_with_groups_is_refused(path, more, words):
    asked = request(path, names="names", groups="groups") | more
    with pytest.raises(DataError, match=words):
        prepare(asked)


def test_a_file_for_other_columns_is_refused(path, tmp_path):
    groups = {"a": [0, 1, 5], "b": [2, 3, 4, 6]}
    for content, words in (
        ({"columns": 9, "groups": groups}, "groups 9 columns, and the data has 7"),
        ({"names": ["z0", *NAMES[1:]], "groups": groups}, "differ from column 0 on"),
    ):
        (tmp_path / "g.json").write_text(json.dumps(content))
        with pytest.raises(DataError, match=words):
            prepare(request(path, **CLEAN, groups=str(tmp_path / "g.json")))
    (tmp_path / "g.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        prepare(request(path, **CLEAN, groups=str(tmp_path / "g.json")))


def test_data_without_groups_says_how_to_ask_for_them(path):
    plain = prepare(request(path, clean=True))
    with pytest.raises(ConfigError, match="`rows` has none") as raised:
        grouping_of(plain)
    assert "grouped-features" in raised.value.hint
    with pytest.raises(ConfigError, match="no grouping `found`"):
        grouping_of(prepare(request(path, **CLEAN, groups="groups")), "found")
