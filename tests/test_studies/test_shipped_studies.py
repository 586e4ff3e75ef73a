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
from models.tasks import reconstruction
from studies import augmenter

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
        "air_quality_latent",
        "vitals_latent",
        "feature_tokens",
        "arrhythmia_tokens",
        "hierarchical_posterior",
        "gaussian_linear",
        "two_moons",
        "slcp",
        "load_forecast",
        "ettm_forecast",
        "etth_forecast",
        "augmenter",
        "tanks_pbt",
        "attitude",
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
    for closed in {"linear", "pca", "pq", "linear_posterior"} & set(study.trials_of()):
        assert study.epochs_of(closed) == 1
    assert study.trials_of().get("linear", 1) == 1
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


def test_the_augmenter_s_pairs_are_compared_seed_by_seed():
    tests = {("none", s): {"mse": 1.0 * s} for s in range(5)}
    tests |= {("add", s): {"mse": 1.0 * s - 0.1} for s in reversed(range(5))}
    found = augmenter.compared(tests, "mse")
    assert found.count == 5 and found.mean == pytest.approx(-0.1)
    assert found.p == 2 / 2**5
    del tests["add", 3]
    with pytest.raises(ValueError, match=r"other half: \[3\]"):
        augmenter.compared(tests, "mse")


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
    ["wiener_hammerstein", "wiener_hammerstein_full", "cascaded_tanks", "bouc_wen"]
    + ["vitals_latent", "arrhythmia_tokens"],
)
def test_studies_on_real_data_start(name, tmp_path):
    options = ("--executor", "local", "--trials", 4, "--epochs", 1)
    done = hpo("launch", name, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


SMALL = """
import dataclasses
from hpo.study import Budget
from studies.air_quality_latent import STUDY as WHOLE

SMALLER = {
    "data.window": 24, "data.stride": 6, "data.batches": 1, "data.batch_size": 32,
    "quantizer.kind": "ema", "quantizer.bits": 3, "coder.channels": 4,
    "model.size": 12, "model.stride": 6, "model.bits": 3,
}

def smaller(family):
    space = family.space
    known = {k: v for k, v in SMALLER.items() if k in space.entries()}
    if "coder.channels" in known and space.constants["coder.kind"] == "recurrent":
        del known["coder.channels"]
    return dataclasses.replace(family, space=space.replace(known))

STUDY = WHOLE.replace(
    name="small", data=DATA, families=tuple(map(smaller, WHOLE.families)),
    budget=Budget(trials=5, epochs=1),
)
"""


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_air_quality_latent_in_small_ranks_all_that_it_names(tmp_path):
    """Waves instead of air: windows of 24 steps, one trial of one epoch for each family."""
    data = dict(reconstruction.Task().write_windows(tmp_path))
    (tmp_path / "small.py").write_text(SMALL.replace("DATA", repr(data)))
    done = hpo("launch", "small.py", "--executor", "local", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(hpo("results", "--format", "json", cwd=tmp_path).stdout)
    assert {row["family"] for row in rows} == families_of("air_quality_latent")
    assert all(row["state"] == "completed" for row in rows), rows
