"""The public door with somebody else's model, as the README shows it: no JAX."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution

from hpo import HPOptimizer
from hpo.errors import StudyError
from hpo.ledger.folder import RunFolder
from models.errors import UserError
from search_spaces.space import Space

ROOT = Path(__file__).parent.parent.parent

README = (ROOT / "README.md").read_text()
(EXAMPLE,) = [
    block
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    if "HPOptimizer" in block
]


@pytest.mark.parametrize(
    "executor", ["local", pytest.param("ray", marks=pytest.mark.slow)]
)
def test_the_example_runs_as_written_in_a_fresh_process(executor, tmp_path):
    script = tmp_path / "example.py"
    call = f'trials=12, executor="{executor}"'
    script.write_text(
        EXAMPLE.replace("trials=12", call) if executor == "local" else EXAMPLE
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    value = float(done.stdout.splitlines()[0])
    assert value < 1e-2  # half of Newton's steps converge: any rate near 0.5 will do
    assert len(list((tmp_path / "results" / "Newton").iterdir())) == 1
    assert "12 of 12 trials ended" in done.stdout


class Model:
    """Its value is its rate plus a seeded jitter; it may fail."""

    def __init__(self, config, context):
        self.rate, self.offset = config["rate"], config.get("offset", 0.0)
        self.jitter = random.Random(context.seed).random() * 1e-6
        self.data = context.data or {"shift": 0.0}

    def fit_iter(self, epochs):
        for epoch in range(1, epochs + 1):
            value = self.rate + self.offset + self.data["shift"] + self.jitter
            yield {"rmse": value + 1 / epoch}


def create_failing(config, context):
    raise ValueError("cannot be made")


SPACE = {"rate": FloatDistribution(0.0, 1.0), "offset": 0.5}


def optimize(tmp_path, create=Model, data=None, **options):
    defaults = {
        "n_epochs": 3,
        "trials": 4,
        "executor": "local",
        "results": tmp_path,
        "quiet": True,
        "stopping": (),
    }
    return HPOptimizer(create, data).optimize(SPACE, **{**defaults, **options})


def test_the_result_tells_value_configuration_table_and_folder(tmp_path):
    best = optimize(tmp_path, data={"shift": 10.0}, unit="V")
    assert best.state == "finished"
    assert best.value == pytest.approx(best.config["rate"] + 10.5 + 1 / 3, abs=1e-5)
    assert best.config["offset"] == 0.5
    assert [row["rank"] for row in best.table] == [1, 2, 3, 4]
    assert best.value == min(row["objective"] for row in best.table)
    assert best.folder.parent == tmp_path / "Model"
    assert "rmse [V]" in str(best)


def test_the_same_call_gives_the_same_search(tmp_path):
    tables = [
        [(r["params"], r["objective"], r["seed"]) for r in optimize(tmp_path).table]
        for _ in range(2)
    ]
    assert tables[0] == tables[1]
    other = optimize(tmp_path, seed=1).table
    assert [r["seed"] for r in other] != [seed for *_, seed in tables[0]]


def test_maximizing_and_points_to_try_first(tmp_path):
    best = optimize(tmp_path, direction="maximize", initial_points=[{"rate": 1.0}])
    assert best.table[0]["trial"] == 1
    assert best.config["rate"] == 1.0 and best.value == pytest.approx(2.5, abs=1e-5)


def test_functions_that_no_worker_can_import_travel_by_value(tmp_path):
    shift = 7.0

    class Inner(Model):
        def __init__(self, config, context):
            super().__init__({**config, "offset": shift}, context)

    best = optimize(tmp_path, create=lambda c, x: Inner(c, x), name="inner")
    assert best.value > 7 and best.folder.parent.name == "inner"


def test_when_every_trial_fails_there_is_no_value_but_a_table(tmp_path):
    best = optimize(tmp_path, create=create_failing)
    assert best.value is None and best.config == {}
    assert {r["state"] for r in best.table} == {"failed"}
    assert "ValueError: cannot be made" in best.table[0]["ended_by"]


def test_an_interrupted_search_goes_on_from_the_same_call(tmp_path):
    from hpo.run import launch as runner

    whole = optimize(tmp_path / "a")
    begun = optimize(tmp_path / "b")
    ledger = RunFolder(begun.folder).events_file
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[: len(lines) // 2]))  # as a kill leaves it
    gone_on = optimize(tmp_path / "b", resume=True)
    assert gone_on.folder == begun.folder
    key = [(r["trial"], r["params"], r["objective"], r["state"]) for r in whole.table]
    assert key == [
        (r["trial"], r["params"], r["objective"], r["state"]) for r in gone_on.table
    ]
    assert (
        optimize(tmp_path / "b", resume=True).folder != begun.folder
    )  # it is finished
    assert runner is not None


def test_wrong_calls_are_refused(tmp_path):
    with pytest.raises(StudyError, match="must be a Space or a mapping"):
        HPOptimizer(Model).optimize([1, 2])
    with pytest.raises(StudyError, match="breaks a rule"):
        HPOptimizer(Model).optimize({"rate": object()})
    with pytest.raises(StudyError, match="unknown sampler"):
        optimize(tmp_path, sampler="tp")
    with pytest.raises(StudyError, match="positive"):
        optimize(tmp_path, trials=0)
    with pytest.raises(UserError, match="cannot be imported|cannot be found"):
        optimize(tmp_path, create="no_such_module:create")


def test_a_study_gives_what_the_call_does_not(tmp_path):
    from hpo.study import Budget, Family, Objective, Resources, Study

    study = Study(
        name="base",
        families=(Family(name="unused", space=Space({"a": 1})),),
        objectives=(Objective(metric="rmse", unit="m"),),
        budget=Budget(trials=2),
        resources=Resources(executor="local"),
        seed=3,
    )
    best = HPOptimizer(Model, study=study).optimize(
        Space(SPACE), n_epochs=2, results=tmp_path, quiet=True
    )
    assert len(best.table) == 2 and best.table[0]["unit"] == "m"
    assert best.folder.parent.name == "base"
