"""`hpo diff` against differences known by hand."""

from __future__ import annotations

import csv
import io
import json
import shutil

import pytest

from hpo.ledger.folder import RunFolder
from hpo.report.summary import load_summary
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run


@pytest.fixture
def sample(tmp_path):
    return sample_run.write(tmp_path / "results")


def diff(sample, *arguments, **more):
    where = ("--results", sample.parents[1])
    return run("diff", "sample", *arguments, *where, **more)


def test_the_table_looks_as_it_should(sample):
    result = diff(sample, 1, 3)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "3 configuration keys are equal\n"
    sample_run.check_golden("diff-1-3.txt", result.stdout)
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_records_give_differing_keys_and_all_results(sample):
    rows = json.loads(diff(sample, 1, 3, "--format", "json").stdout)
    keys = [r for r in rows if r["part"] == "configuration"]
    assert keys == [
        {"part": "configuration", "key": "model.cell", "a": "gru", "b": "lstm"},
        {
            "part": "configuration",
            "key": "optimizer.learning_rate",
            "a": 0.0031234,
            "b": 1.25e-05,
        },
    ]
    told = {r["key"]: (r["a"], r["b"]) for r in rows if r["part"] == "result"}
    assert told["rmse"] == (0.00097, 0.08)
    assert told["state"] == ("completed", "stopped at epoch 2 (asha)")
    assert told["best epoch"] == (8, 2) and told["rank"] == (1, None)
    back = diff(sample, 3, 1, "--format", "csv").stdout
    again = list(csv.DictReader(io.StringIO(back)))
    assert [(r["key"], r["a"], r["b"]) for r in again if r["part"] != "result"] == [
        ("model.cell", "lstm", "gru"),
        ("optimizer.learning_rate", "1.25e-05", "0.0031234"),
    ]


def test_families_that_share_no_key(sample):
    rows = json.loads(diff(sample, 2, 1, "--format", "json").stdout)
    keys = {r["key"]: r for r in rows if r["part"] == "configuration"}
    assert keys["model.order"]["a"] == 12 and "b" not in keys["model.order"]
    assert "a" not in keys["model.cell"]
    assert "0 configuration keys are equal" in diff(sample, 2, 1).stderr


def test_values_that_only_look_alike(sample):
    folder = RunFolder(sample)
    first = {"a": 1, "b": True, "c": float("nan"), "d": None, "e": 0.1, "f": 2}
    second = {"a": 1.0, "b": 1, "c": float("nan"), "e": 0.1 + 2**-54, "f": 2}
    for number, config in ((1, first), (6, second)):
        folder.write_json(folder.config_file(number), {"config": config})
    result = diff(sample, 1, 6)
    lines = [line.split() for line in result.stdout.splitlines()[-3:]]
    assert lines == [
        ["b", "true", "1"],
        ["d", "null", "–"],
        ["e", "0.1", "0.10000000000000006"],
    ]
    assert result.stderr == "3 configuration keys are equal\n"


def test_mistakes(sample):
    refused(diff(sample, 1, 1), "itself")
    refused(diff(sample, 1, 99), "no trial 99")
    refused(diff(sample, 1), "by their numbers", "only one")
    refused(diff(sample, 1, "two"), "by their numbers", "'two'")
    refused(diff(sample, "two"), "no run `two`")
    refused(diff(sample, sample), "itself")
    where = ("--results", sample.parents[1])
    refused(run("diff", "smaple", 1, 2, *where), "`sample`")


def test_two_runs(sample, tmp_path):
    other = sample.with_name("20260202-101500-0000beef")
    shutil.copytree(sample, other)
    path = other / "study.json"
    record = json.loads(path.read_text())
    record["study"]["budget"]["epochs"] += 1
    record["study"]["data"] = "other_data"
    record["study"]["families"][0]["share"] = 2.5
    path.write_text(json.dumps(record))
    result = run("diff", sample, other, "--format", "json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)
    told = {r["key"]: (r["a"], r["b"]) for r in rows if r["part"] == "study"}
    name = record["study"]["families"][0]["name"]
    assert set(told) == {"budget.epochs", "data", f"families.{name}.share"}
    assert told[f"families.{name}.share"][1] == 2.5
    summary = load_summary(sample)
    best = {r["key"]: r["a"] for r in rows if r["part"] == "result"}
    for family in summary.study.families:
        ranked = [
            r.objective for r in summary.rows if r.rank and r.family == family.name
        ]
        assert best[f"best {family.name}"] == (min(ranked) if ranked else None)
    shown = run("diff", sample, other, columns=200)
    assert "warning: the data differs" in shown.stderr
    assert "other_data" in shown.stdout
