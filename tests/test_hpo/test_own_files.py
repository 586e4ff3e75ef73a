"""Files of one's own that a study names: found beside it, and held to what they were."""

from __future__ import annotations

import os
import shutil

import pytest
from optuna.distributions import CategoricalDistribution

from hpo.discovery import load_study
from hpo.run.own_files import changed, digests, own_files
from hpo.run.sources import Sources
from hpo.study import Family, Study
from hpo.worker.environment import STUDY_FOLDER, worker_environment
from models.physics.found import find_equation

STUDY = """
from hpo.study import Family, Study
from search_spaces import greybox
STUDY = Study(
    name="mine",
    data="mass_spring_damper",
    task="simulation",
    families=(
        Family(name="greybox", space=greybox.SPACE.replace({"physics.equation": "springs:SOFT"})),
    ),
)
"""
EQUATION = """
from models.physics.equations.mass_spring_damper import EQUATION
SOFT = EQUATION.given(stiffness=10.0)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(STUDY_FOLDER, "")  # put back afterwards, whatever is set here
    place = tmp_path / "somewhere"
    place.mkdir()
    (place / "mine.py").write_text(STUDY)
    (place / "springs.py").write_text(EQUATION)
    return place


def test_what_lies_beside_the_study_is_found_from_anywhere(folder):
    study = load_study(str(folder / "mine.py"))
    assert worker_environment()[STUDY_FOLDER] == str(folder) != os.getcwd()
    assert find_equation("springs:SOFT").values["stiffness"] == 10.0
    assert set(own_files(study)) == {"springs:SOFT"}
    assert all(own_files(study).values())


def test_a_changed_or_missing_file_is_named(folder):
    study = load_study(str(folder / "mine.py"))
    before = own_files(study)
    assert changed(before, digests(before)) == []
    (folder / "springs.py").write_text(EQUATION + "# softer\n")
    assert changed(before, digests(before)) == ["the file of `springs:SOFT` changed"]
    (folder / "springs.py").unlink()
    assert changed(before, digests(before)) == ["the file of `springs:SOFT` is gone"]


def test_only_names_of_ones_own_count():
    space = {"a": CategoricalDistribution(("x:Y", "rnn", 3)), "b": "models.rnn:create"}
    study = Study(
        name="s",
        data="d",
        families=(Family(name="f", space=space),),
        settings={"c": "my.file:N", "d": "12:30"},
    )
    assert set(own_files(study)) == {"x:Y", "my.file:N"}


def test_a_recorded_run_knows_where_its_study_lies(folder):
    record = {"study_file": {"path": str(folder / "mine.py"), "sha256": "0"}}
    Sources.from_json(record)
    assert find_equation("springs:SOFT").values["stiffness"] == 10.0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_from_another_folder_trains_ones_own_equation_and_refuses_another(
    folder, tmp_path
):
    """Launch, exact re-run and prediction, all in processes of their own."""
    from tests.test_studies.test_shipped_studies import hpo

    here = tmp_path / "here"
    here.mkdir()
    done = hpo(
        *("launch", folder / "mine.py", "--trials", 1, "--epochs", 2),
        *("--executor", "local", "--set", "data.batches=2"),
        cwd=here,
    )
    assert done.returncode == 0, done.stderr
    again = hpo("rerun", "mine", "--trial", 1, "--exact", cwd=here)
    assert again.returncode == 0, again.stderr
    shutil.move(folder / "springs.py", folder / "kept.py")
    (folder / "springs.py").write_text(EQUATION.replace("10.0", "20.0"))
    refused = hpo("rerun", "mine", "--trial", 1, "--exact", cwd=here)
    assert refused.returncode != 0
    assert "the file of `springs:SOFT` changed since the launch" in refused.stderr
