"""An exported run in optuna-dashboard itself, asked through its HTTP interface.

Skipped where it is not installed; `OPTUNA_DASHBOARD` names its executable where it is not
on the path (it may live in an environment of its own).
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager

import pytest

from hpo.export.exporting import export
from hpo.study import Objective
from tests.test_hpo import sample_run

DASHBOARD = os.environ.get("OPTUNA_DASHBOARD") or shutil.which("optuna-dashboard")
pytestmark = pytest.mark.skipif(not DASHBOARD, reason="needs optuna-dashboard")


@contextmanager
def dashboard(place):
    """The dashboard at work on a storage: a function that gets JSON from it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    storage = str(place) if place.suffix == ".log" else f"sqlite:///{place}"
    # A storage that is newer or older than its Optuna would be refused here.
    command = [DASHBOARD, storage, "--host", "127.0.0.1", "--port", str(port)]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def get(path):
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}{path}", timeout=60
        ) as got:
            return json.load(got) if path.startswith("/api") else got.read().decode()

    try:
        end = time.monotonic() + 120
        while True:
            assert child.poll() is None, child.stdout.read()
            try:
                get("/api/meta")
                break
            except OSError:
                assert time.monotonic() < end, "it does not answer"
                time.sleep(0.2)
        yield get
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["runs.db", "runs.log"])
def test_the_dashboard_shows_studies_trials_curves_and_units(name, tmp_path):
    run = sample_run.write(tmp_path / "results")
    place = export(run, to="optuna", out=tmp_path / name)
    with dashboard(place) as get:
        listed = get("/api/studies")["study_summaries"]
        names = {s["study_name"]: s["study_id"] for s in listed}
        assert [*names] == ["sample/rnn", "sample/linear"]
        rnn = get(f"/api/studies/{names['sample/rnn']}")
        linear = get(f"/api/studies/{names['sample/linear']}")
        assert "<html" in get("/dashboard").lower()
    assert rnn["name"] == "sample/rnn" and rnn["directions"] == ["minimize"]
    assert rnn["objective_names"] == ["rmse [V]"]
    assert rnn["has_intermediate_values"] and len(linear["trials"]) == 1
    about = {a["key"]: a["value"] for a in rnn["user_attrs"]}
    assert about["unit"] == "V" and about["stopping"] == "divergence, asha"
    trials = {}
    for trial in rnn["trials"]:
        told = {a["key"]: a["value"] for a in trial["user_attrs"]}
        trials[int(told["trial"])] = trial | {"told": told}
    assert {n: t["state"] for n, t in trials.items()} == {
        1: "Complete",
        3: "Pruned",
        4: "Fail",
        5: "Fail",
        6: "Complete",
        7: "Complete",
        8: "Pruned",
        9: "Running",
        10: "Waiting",
        11: "Waiting",
    }
    assert [t["values"] for n, t in trials.items() if n in (1, 3)] == [
        [0.00097],
        [0.08],
    ]
    curve = [0.05, 0.03, 0.01, 0.004, 0.002, 0.0012, 0.00099, 0.00097]
    assert trials[1]["intermediate_values"] == [
        {"step": i, "value": v} for i, v in enumerate(curve, 1)
    ]
    assert trials[4]["intermediate_values"] == [{"step": 1, "value": "nan"}]
    assert trials[3]["told"]["ended_by"] == "asha"
    assert trials[4]["told"]["state"] == "diverged"
    assert "window (250)" in trials[5]["told"]["ended_by"]
    assert {p["name"]: p["param_external_value"] for p in trials[3]["params"]} == {
        "model.cell": "lstm",
        "model.hidden_size": "32",
        "optimizer.learning_rate": "1.25e-05",
        "data.window": "250",
    }
    assert [t["values"] for t in rnn["best_trials"]] == [[0.00097]]


@pytest.mark.slow
def test_the_dashboard_shows_several_objectives_and_limits(tmp_path):
    goals = (
        dataclasses.replace(sample_run.STUDY.objectives[0]),
        Objective(metric="parameters", limit=5000),
    )
    run = sample_run.write(
        tmp_path / "results", sample_run.STUDY.replace(objectives=goals)
    )
    place = export(run, to="optuna", out=tmp_path / "runs.db")
    with dashboard(place) as get:
        found = get("/api/studies/1")
    assert found["directions"] == ["minimize", "minimize"]
    assert found["objective_names"] == ["rmse [V]", "parameters"]
    first = found["trials"][0]
    assert first["values"] == [0.00097, 6689.0] and first["constraints"] == [1689.0]
