"""The studies that come with the project: what they name exists, and they run."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpo import discovery
from hpo.check import keys
from hpo.study import Study
from models.data.catalog import prepare

ROOT = Path(__file__).parents[2]
NAMES = sorted(found.name for found in discovery.studies())


def hpo(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "hpo.cli.main", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_the_promised_studies_are_there():
    promised = {
        "quickstart",
        "tanks_prediction",
        "five_families",
        "wiener_hammerstein",
        "wiener_hammerstein_full",
        "bouc_wen",
        "bouc_wen_prediction",
        "cascaded_tanks",
        "tanks_physics",
    }
    assert promised <= set(NAMES)


def first_point(family):
    """What the first trial of a study's family could be given."""
    if not family.initial_points:
        return family.space.constants
    return family.space.complete(dict(family.initial_points[0]))


@pytest.fixture(scope="module")
def answers():
    """What every family says to its first point, by study: one process asks for all."""
    asked = {
        name: [(family.reference, first_point(family)) for family in study.families]
        for name, study in ((name, discovery.load_study(name)) for name in NAMES)
    }
    said = iter(
        keys.check_configurations([one for all in asked.values() for one in all])
    )
    return {name: [next(said) for _ in points] for name, points in asked.items()}


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_every_space_is_one_its_family_knows(name, answers):
    families = discovery.load_study(name).families
    for family, checked in zip(families, answers[name], strict=True):
        assert not checked.error, (family.name, checked.error)
        assert set(family.space.entries()) <= set(checked.keys), family.name


@pytest.mark.parametrize("name", NAMES)
def test_the_resolved_study_survives_json(name):
    study = discovery.resolve(discovery.load_study(name))
    again = Study.from_json(json.loads(json.dumps(study.to_json())))
    assert again.to_json() == study.to_json()
    assert study.trials_of()["linear"] == study.epochs_of("linear") == 1
    assert sum(study.trials_of().values()) >= 16


def families_of(name):
    return {family.name for family in discovery.load_study(name).families}


@pytest.mark.slow
def test_the_quickstart_ranks_every_family_under_ray(tmp_path):
    done = hpo("launch", "quickstart", "--trials", 5, "--epochs", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = hpo("results", "--format", "json", cwd=tmp_path)
    rows = json.loads(table.stdout)
    assert {row["family"] for row in rows} == families_of("quickstart")
    assert all(row["state"] == "completed" for row in rows), rows
    exact = hpo("rerun", "latest", "--exact", "--format", "json", cwd=tmp_path)
    assert exact.returncode == 0, exact.stderr
    assert json.loads(exact.stdout)["max_difference"] == 0


@pytest.mark.slow
def test_tanks_prediction_learns_and_goes_on_from_known_levels(tmp_path, monkeypatch):
    # Without those that compile an equation, which takes longer than all the rest.
    few = ("rnn", "tcn", "crnn", "linear")
    shrunk = ("--trials", 4, "--epochs", 2, "--set", "data.batches=3")
    shrunk += ("--families", ",".join(few))
    done = hpo(
        "launch", "tanks_prediction", "--executor", "local", *shrunk, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(hpo("results", "--format", "json", cwd=tmp_path).stdout)
    assert {row["family"] for row in rows} == set(few)
    assert all(row["state"] == "completed" for row in rows), rows
    exact = hpo("rerun", "latest", "--exact", "--format", "json", cwd=tmp_path)
    assert exact.returncode == 0, exact.stderr
    readme = (ROOT / "README.md").read_text()
    (line,) = re.findall(r"<!-- prediction -->\n```python\n(.*?)```", readme, re.S)
    monkeypatch.chdir(tmp_path)
    study = discovery.load_study("tanks_prediction")
    u, levels = measured(study.data)
    found = {"hpo": importlib.import_module("hpo"), "u": u[:150], "y": levels[:150]}
    exec(line, found)  # noqa: S102 - the README's own words
    assert found["y"].shape == (150, 1) and np.isfinite(found["y"]).all()
    np.testing.assert_allclose(found["y"][:50], levels[:50], rtol=1e-6)


def measured(data):
    """Inputs and outputs of the test part, ``[T, 1]`` each."""
    with h5py.File(Path(prepare(data).path, "test", "test_0.hdf5")) as file:
        return file["u0"][:][:, None], file["y0"][:][:, None]


@pytest.mark.slow
def test_the_noise_of_tanks_prediction_is_20_mv():
    data = discovery.load_study("tanks_prediction").data
    noise = measured(data)[1] - measured({**data, "noise": 0.0})[1]
    assert noise.std() == pytest.approx(0.02, rel=0.03)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif("HPO_DATA" not in os.environ, reason="needs HPO_DATA")
@pytest.mark.parametrize(
    "name",
    ["wiener_hammerstein", "wiener_hammerstein_full", "cascaded_tanks", "bouc_wen"],
)
def test_studies_on_real_data_start(name, tmp_path):
    options = ("--executor", "local", "--trials", 4, "--epochs", 1)
    done = hpo("launch", name, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
