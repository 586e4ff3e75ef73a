"""Least squares through the real command: checked, killed, resumed, repeated and used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUDY = """
from hpo.study import Budget, Family, Rule, Study
from search_spaces import ssm

SPACE = ssm.SPACE.replace(
    {
        "model.order": 2,
        "model.extra_states": 0,
        "model.hidden_size": 3,
        "model.ridge": 1e-3,
        "data.window": 80,
        "data.batch_size": 8,
        "loss.n_skip": 20,
        "optimizer.stage_windows": [8],
        "optimizer.stage_epochs": [3],
    }
)
STUDY = Study(
    name="small",
    data={"name": "mass_spring_damper", "samples": 2048},
    task={"name": "prediction", "known": 20, "horizon": 40},
    families=(Family(name="ssm", space=SPACE),),
    budget=Budget(trials=2, epochs=40),
    stopping=(Rule(name="none"),),
)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def command(*arguments):
    return [sys.executable, "-m", "hpo.cli.main", *map(str, arguments)]


def hpo(*arguments, cwd):
    done = subprocess.run(
        command(*arguments), cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_run_goes_on_and_repeats_exactly(tmp_path):
    (tmp_path / "small.py").write_text(STUDY)
    hpo("check", "small.py", cwd=tmp_path)
    launch = command("launch", "small.py", "--executor", "local")
    run = subprocess.Popen(
        launch, cwd=tmp_path, env=ENVIRONMENT, start_new_session=True
    )
    try:
        wait_for_epochs(tmp_path / "results", run)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    hpo("resume", "small", cwd=tmp_path)
    rows = json.loads(hpo("results", "--format", "json", cwd=tmp_path))
    assert [row["state"] for row in rows] == ["completed"] * 2
    exact = json.loads(
        hpo("rerun", "small", "--exact", "--format", "json", cwd=tmp_path)
    )
    assert exact["max_difference"] == 0


def wait_for_epochs(results, run):
    """Until some epochs of the first trial are in the ledger."""
    for _ in range(3000):
        ledgers = list(results.glob("*/*/events.jsonl"))
        if ledgers and ledgers[0].read_text().count('"epoch"') >= 3:
            return
        assert run.poll() is None, "the run ended before it could be killed"
        time.sleep(0.1)
    raise AssertionError("no epoch came")
