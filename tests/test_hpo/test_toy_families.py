"""Every toy family as a person would use it: a study file, the commands, a kill, a resume."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from models.tasks import forecast, task_of
from tests import toy_families
from tests.test_hpo import run_helpers as helpers
from tests.test_hpo import run_processes as processes
from tests.test_hpo.command_line import run

ROOT = Path(__file__).parents[2]
TOYS = sorted(m.name for m in pkgutil.iter_modules(toy_families.__path__))
FAST = "table_forecast"
SEEN = 5  # run, proposed, started, and two epochs
LAUNCH = """
import sys
from hpo import discovery
from hpo.run.launch import launch
from tests.test_hpo.run_helpers import KillAt
study, (results, seen) = discovery.load_study("./toy.py"), sys.argv[1:]
launch(study, results=results, observer=KillAt(int(seen)))
"""
STUDY = '''"""A toy family."""

from hpo.study import Budget, Family, Resources, Rule, Study
from search_spaces.space import Space

STUDY = Study(
    name="toy",
    data={data},
    task={task},
    families=(
        Family(
            name="toy",
            create="tests.toy_families.{name}:create",
            space=Space.from_json({space}),
        ),
    ),
    budget=Budget(trials=2, epochs=3),
    sampler=Rule(name="random"),
    stopping=(Rule(name="divergence"),),
    resources=Resources(executor="local", workers=1),
    seed=1,
)
'''


@pytest.fixture(
    params=[pytest.param(n, marks=() if n == FAST else pytest.mark.slow) for n in TOYS]
)
def name(request):
    return request.param


@pytest.fixture
def toy(name):
    return importlib.import_module(f"tests.toy_families.{name}")


@pytest.fixture
def place(name, toy, tmp_path):
    """A folder with a study file and its data."""
    task = task_of(toy.TASKS[0])
    request = task.write_example(tmp_path / "data")
    small = {
        key: value
        for key, value in toy.example(task.name).config.items()
        if key in ("data.batch_size", "data.batches")
    }
    space = toy.SPACE.replace(small)
    (tmp_path / "toy.py").write_text(
        STUDY.format(
            name=name,
            data=dict(request),
            task={"name": task.name, **task.EXAMPLE},
            space=space.to_json(),
        )
    )
    return tmp_path


def ask(place, *arguments):
    done = run(*arguments, "--results", place / "results")
    assert done.exit_code == 0, (arguments, done.output, done.stderr)
    return done


def test_check_launch_results_predict_and_rerun(toy, place):
    checked = run("check", place / "toy.py", "--format", "json")
    assert checked.exit_code == 0, checked.stderr
    (family,) = json.loads(checked.stdout)
    assert family["parameters"][0] > 0 and family["memory"] > 0
    assert not family["refused"]

    ask(place, "launch", place / "toy.py")
    rows = json.loads(ask(place, "results", "toy", "--format", "json").stdout)
    assert [row["state"] for row in rows] == ["completed"] * 2
    metric, _ = task_of(toy.TASKS[0]).OBJECTIVE
    (folder,) = (place / "results" / "toy").glob("2*")
    measured = [e for e in helpers.events_of(folder) if e.event == "epoch"]
    assert len(measured) == 6
    assert all(np.isfinite(e.valid[metric]) for e in measured)
    terms = [n for n in measured[0].valid if n.startswith("loss.")]
    assert terms, "the loss terms are not in the ledger"

    file = a_file(toy.TASKS[0], place)
    out = place / f"out{file.suffix}"
    ask(place, "predict", "toy", file, "--out", out)
    assert look(toy.TASKS[0], out), "the prediction is empty or not finite"

    again = ask(place, "rerun", "toy", "--exact", "--format", "json")
    assert json.loads(again.stdout)["max_difference"] == 0


def test_a_killed_driver_resumes_and_ends_as_if_never_killed(place):
    """Killed with -9 right after the first trial's second epoch is on disk."""
    results = place / "results"
    undisturbed = drive(place, "-c", LAUNCH, place / "whole", 0)
    assert undisturbed.returncode == 0, undisturbed.stderr
    killed = drive(place, "-c", LAUNCH, results, SEEN)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    events = helpers.events_of(processes.run_folder(results))
    assert [e.event for e in events[:SEEN]][-2:] == ["epoch", "epoch"]
    assert "completed" not in [e.event for e in events]
    resumed = drive(place, "-m", "hpo.cli.main", "resume", "toy", "--results", results)
    assert resumed.returncode == 0, resumed.stderr
    whole, pieces = (
        helpers.story(processes.run_folder(where))
        for where in (place / "whole", results)
    )
    assert pieces == whole
    assert [t["state"][0] for t in whole.values()] == ["completed"] * 2
    again = helpers.events_of(processes.run_folder(results))
    assert "nondeterminism" not in [e.event for e in again]


def drive(place, *arguments):
    """Python in a process of its own, started elsewhere than in the project."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=250,
    )


def a_file(task, place):
    """What a person would predict from: the data's own layout."""
    if task == "prediction":
        return place / "data" / "test" / "test_0.hdf5"
    if task == "forecast":
        return place / "data" / "table.csv"
    (path,) = (place / "data").glob("*.hdf5")
    with h5py.File(path) as file, h5py.File(place / "new.hdf5", "w") as new:
        for role, values in file["test"].items():
            if role != "theta":
                new[role] = values[:7]
    return place / "new.hdf5"


def look(task, out):
    """Whether a prediction has the shape that its task gives, and only numbers."""
    if task == "forecast":
        head, *rows = out.read_text().splitlines()
        horizon = forecast.Task.EXAMPLE["horizon"]
        values = np.array([[float(cell) for cell in row.split(",")] for row in rows])
        return head == "first,second" and values.shape == (horizon, 2)
    role, shape = {
        "prediction": ("y0", (80,)),
        "reconstruction": ("values", (7, 12)),
        "posterior": ("theta", (7, 16, 2)),
    }[task]
    with h5py.File(out) as file:
        values = file[role][:]
    return values.shape == shape and np.isfinite(values).all()
