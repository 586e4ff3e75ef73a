"""Every toy family as a person would use it: a study file, the commands, a kill, a resume."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from models.tasks import task_of
from tests import toy_families
from tests.test_hpo import run_helpers as helpers
from tests.test_hpo import run_processes as processes
from tests.test_hpo.command_line import run

ROOT = Path(__file__).parents[2]
TOYS = sorted(m.name for m in pkgutil.iter_modules(toy_families.__path__))
FAST = "table_forecast"
SEEN = 4  # lines of the ledger behind which the driver is killed
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


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    processes.end_all()


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
    assert all(np.isfinite(e.data["valid"][metric]) for e in measured)
    terms = [n for n in measured[0].data["valid"] if n.startswith("loss.")]
    assert terms, "the loss terms are not in the ledger"

    file = a_file(toy.TASKS[0], place)
    out = place / f"out{file.suffix}"
    ask(place, "predict", "toy", file, "--out", out)
    assert look(toy.TASKS[0], out), "the prediction is empty or not finite"

    again = ask(place, "rerun", "toy", "--exact", "--format", "json")
    assert json.loads(again.stdout)["max_difference"] == 0


def test_a_killed_driver_resumes_and_ends_as_if_never_killed(place):
    whole = drive(place, "launch", place / "toy.py", "--results", place / "whole")
    assert whole.wait(timeout=250) == 0, whole.communicate()
    results = place / "results"
    killed = drive(place, "launch", place / "toy.py", "--results", results)
    processes.wait_until(lambda: processes.lines(results) >= SEEN, 200)
    killed.kill()
    killed.wait()
    processes.wait_until(lambda: not processes.descendants(killed.mark), 60)
    ended = [e.event for e in helpers.events_of(processes.run_folder(results))]
    assert "completed" not in ended[-1:] and ended.count("completed") < 2
    resumed = drive(place, "resume", "toy", "--results", results)
    assert resumed.wait(timeout=250) == 0, resumed.communicate()
    stories = [
        helpers.story(processes.run_folder(where))
        for where in (place / "whole", results)
    ]
    assert stories[0] == stories[1]
    assert [t["state"][0] for t in stories[0].values()] == ["completed"] * 2


def drive(place, *arguments):
    """`hpo` in a process of its own, started elsewhere than in the project."""
    mark = f"{os.getpid()}-{len(processes._started)}-{place.name}"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "hpo.cli.main", *map(str, arguments)],
        cwd=place,
        env={**os.environ, "PYTHONPATH": path, "HPO_TEST_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    process.mark = mark
    processes._started.append(process)
    return process


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
        values = np.array([[float(cell) for cell in row.split(",")] for row in rows])
        return head == "first,second" and values.shape == (8, 2)
    role, shape = {
        "prediction": ("y0", (80,)),
        "reconstruction": ("values", (7, 12)),
        "posterior": ("theta", (7, 16, 2)),
    }[task]
    with h5py.File(out) as file:
        values = file[role][:]
    return values.shape == shape and np.isfinite(values).all()
