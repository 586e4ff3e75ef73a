"""`hpo discover-categories`: the file that it writes, and what it refuses."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from models.data.catalog import prepare
from models.data.grouping import grouping_of
from models.data.hdf5 import close_files
from tests.test_hpo.command_line import refused, run


@pytest.fixture
def path(tmp_path):
    close_files()
    random = np.random.default_rng(0)
    hidden = random.normal(size=(100, 2))
    rows = hidden[:, [0] * 4 + [1] * 3] + 0.3 * random.normal(size=(100, 7))
    with h5py.File(tmp_path / "rows.hdf5", "w") as file:
        file["x"] = np.concatenate([rows, np.ones((100, 1))], axis=1)
        file["feature_groups"] = ["a", "b"] * 4
    return tmp_path / "rows.hdf5"


def discover(path, *more):
    out = path.with_name("groups.json")
    result = run("discover-categories", path, "--out", out, *more)
    close_files()
    return result, out


def test_clusters_are_written_for_a_study_to_read(path):
    result, out = discover(path, "--by", "correlation", "--clean", "--most", 4)
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert content["groups"] == {
        "group_1": [0, 1, 2, 3],
        "group_2": [4, 5, 6],
        "constant": [7],
    }
    assert content["columns"] == 8 and content["discovery"]["rows"] == 70
    assert "over 70 train rows: silhouette" in result.stderr
    assert result.stdout.split() == (
        ["group", "columns", "group_1", "4", "group_2", "3", "constant", "1"]
    )
    request = {"path": str(path), "arrays": {"values": "x"}}
    request["split"] = {"seed": 0, "shares": [0.7, 0.1, 0.2]}
    groups = {**content["groups"], "group_2": [4, 5, 6, 7]}
    del groups["constant"]
    out.write_text(json.dumps(groups))
    reference = prepare({**request, "clean": True, "groups": str(out)})
    assert grouping_of(reference).columns == ((0, 1, 2, 3), (4, 5, 6))
    refused(discover(path)[0], "is there already")


def test_names_come_first(path):
    result, out = discover(path)
    assert result.exit_code == 0, result.output
    groups = json.loads(out.read_text())["groups"]
    assert groups == {"a": [0, 2, 4, 6], "b": [1, 3, 5, 7]}
    assert "2 groups of 8 features, by name" in result.stderr


@pytest.mark.parametrize(
    "more,words",
    [
        (["--feature-path", "y"], ["array `y` is not in", "hint"]),
        (["--by", "sound"], ["by `name` or by `correlation`, got 'sound'"]),
        (["--by", "correlation"], ["column 7 is constant", "--clean"]),
        (["--by", "correlation", "--linkage", "single"], ["`linkage` must be one of"]),
        (["--split", "{"], ["`--split` must be JSON"]),
        (["--split", '{"seed": 0, "shares": [1]}'], ["add up to 1"]),
        (["--registry", "none.json"], ["there is no file"]),
    ],
)
def test_what_cannot_be_grouped_is_refused(path, more, words):
    result, out = discover(path, *more)
    refused(result, *words)
    assert not out.exists()


def test_data_that_is_not_there_is_refused(tmp_path):
    out = tmp_path / "groups.json"
    refused(
        run("discover-categories", tmp_path / "none.h5", "--out", out), "there is no"
    )
    refused(run("discover-categories", "duffing", "--out", out), "simulated")
