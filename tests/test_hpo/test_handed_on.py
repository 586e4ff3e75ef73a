"""Trials handed on: re-run with other values, promoted to a study, saved with a model card."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import FloatDistribution

from hpo.discovery import load_study
from hpo.errors import StudyError
from hpo.ledger.folder import RunFolder
from hpo.report.summary import load_summary
from hpo.run import parent
from hpo.run.launch import launch
from hpo.study import Budget, Family, Objective, Resources, Rule, Study
from models.data.dataset import open_dataset
from tests.test_hpo.command_line import refused, run
from tests.test_hpo.run_helpers import real_study

ROOT = Path(__file__).parents[2]
STUDY = Study(
    name="walk",
    families=(
        Family(
            name="walk",
            space={"rate": FloatDistribution(0.05, 0.9), "start": 1.0, "size": 1},
            create="hpo.testing.steady:create",
        ),
    ),
    objectives=(Objective(metric="rmse", unit="V", matters="2%"),),
    budget=Budget(trials=2, epochs=3),
    sampler=Rule(name="random"),
    stopping=(Rule(name="divergence"),),
    resources=Resources(executor="local", workers=1),
    seed=5,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return launch(STUDY, results=tmp_path_factory.mktemp("walk")).folder


def test_a_rerun_with_other_values_says_whose_it_is(folder):
    how = ("--seeds", 2, "--epochs", 5, "--set", "size=3", "--set", "rate=0.5")
    result = run("rerun", folder, *how, "--format", "json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["altered"] == "5 epochs, size=3, rate=0.5" and found["search"] is None
    assert [r["epochs"] for r in found["runs"]] == [5, 5]
    place = RunFolder(found["folder"])
    record = place.read_study()
    best = load_summary(folder).best
    assert record["rerun"]["parent"] == "../.." and record["rerun"]["trials"] == [
        best.trial
    ]
    assert record["rerun"]["settings"] == {"size": 3, "rate": 0.5}
    study = Study.from_json(record["study"])
    assert study.family("walk").space.complete({})["size"] == 3
    assert study.fixed[0].params == {} and study.epochs_of("walk") == 5
    # the toy's error grows by a hundredth a size: larger by 0.02 than the same walk of size 1
    small = json.loads(
        run("rerun", folder, *how[:4], "--set", "rate=0.5", "--format", "json").stdout
    )
    gaps = [
        a["objective"] - b["objective"]
        for a, b in zip(found["runs"], small["runs"], strict=True)
    ]
    assert gaps == pytest.approx([0.02, 0.02])
    assert "with 5 epochs" in run("rerun", folder, *how).stdout
    listed = run("results", folder, columns=200).stdout
    assert "2 fresh seeds, 5 epochs, size=3, rate=0.5" in listed


def test_what_a_rerun_cannot_change_is_refused(folder):
    refused(run("rerun", folder, "--set", "budget.trials=3"), "of the study", "promote")
    refused(run("rerun", folder, "--set", "sise=3"), "sise", "size")
    refused(run("rerun", folder, "--exact", "--epochs", 5), "--exact")


def test_an_exact_rerun_after_a_change_needs_leave(folder, monkeypatch):
    assert run("rerun", folder, "--exact").exit_code == 0
    real = parent.provenance
    changed = {**real(), "cpu": "another one"}
    monkeypatch.setattr(parent, "provenance", lambda: changed)
    refused(run("rerun", folder, "--exact"), "is another one", "--allow-different")
    leave = run("rerun", folder, "--exact", "--allow-different")
    assert leave.exit_code == 0 and "warning: changed since" in leave.stderr


def test_a_promoted_trial_launches_and_gives_the_same_numbers(folder, tmp_path):
    into = tmp_path / "studies"
    result = run("promote", folder, "--name", "walk-best", "--into", into)
    assert result.exit_code == 0, result.stderr
    path = Path(result.stdout.strip())
    assert path == into / "walk_best.py"
    study = load_study(str(path))
    assert study.name == "walk-best" and study.objectives == STUDY.objectives
    again = launch(
        study.replace(resources=STUDY.resources), results=tmp_path / "results"
    ).folder
    best = load_summary(folder).best
    (row,) = load_summary(again).rows
    assert (row.objective, row.seed) == (best.objective, best.seed)
    assert [p.value for p in row.curve] == [p.value for p in best.curve]
    refused(run("promote", folder, "--name", "walk-best", "--into", into), "already")
    refused(run("promote", folder, "--name", "a b", "--into", into), "name is")
    refused(
        run("promote", folder, "--name", "x", "--rank", 1, "--trial", 1), "not both"
    )
    assert [p.name for p in into.iterdir()] == ["walk_best.py"]


def test_what_no_file_can_name_is_not_promoted(tmp_path):
    from hpo.run.promote import promote
    from hpo.testing.steady import create

    def local(config, context):
        return create(config, context)

    family = Family(name="walk", space=STUDY.families[0].space, create=local)
    folder = launch(STUDY.replace(families=(family,)), results=tmp_path).folder
    summary = load_summary(folder)
    with pytest.raises(StudyError, match="by name"):
        promote(summary, summary.ranked(1), name="x", folder=tmp_path / "studies")


def test_a_saved_model_tells_what_it_is(folder):
    result = run("best", folder, "--save")
    assert result.exit_code == 0, result.stderr
    place = folder / "best" / "walk"
    assert result.stdout.strip() == str(place)
    best = load_summary(folder).best
    assert {p.name for p in place.iterdir()} == {
        "checkpoint", "configuration.json", "README.md", "load.py"
    }  # fmt: skip
    card = (place / "README.md").read_text()
    assert f"trial {best.trial}, rank 1" in card and "Nothing is settled" in card
    config = json.loads((place / "configuration.json").read_text())
    assert config["rate"] == best.params["rate"]
    assert run("best", folder, "--save").exit_code == 0, "it can be written again"
    refused(run("best", folder, "--save", "--family", "wlak"), "no family `wlak`")


@pytest.mark.slow
def test_a_saved_network_is_loaded_by_its_example(tmp_path):
    study = real_study(Resources(executor="local", workers=1))
    study = study.replace(budget=Budget(trials=1, epochs=1))
    folder = launch(study, results=tmp_path).folder
    assert run("best", folder, "--save").exit_code == 0
    place = folder / "best" / "rnn"
    found = json.loads((place / "normalisation.json").read_text())
    data = open_dataset(RunFolder(folder).read_study()["data"])
    for role in ("u", "y"):
        values = np.concatenate([*data.part("train").blocks(role)])
        assert found["mean"][role] == pytest.approx(values.mean(axis=0).tolist())
        assert found["std"][role] == pytest.approx(values.std(axis=0).tolist())
    done = subprocess.run(
        [sys.executable, str(place / "load.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("rnn ")
    assert len((place / "load.py").read_text().splitlines()) == 5
