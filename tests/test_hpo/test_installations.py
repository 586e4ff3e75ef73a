"""Launching from an installed environment, however it was installed and wherever one stands."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest

from hpo.ledger.log import read_events
from tests.test_hpo import installations

WHERE = ("clone", "elsewhere")
EXECUTORS = ("local", "ray")
HOW = ("name", "path", "script")
FAST = {  # one cell of each row
    ("regular", "elsewhere", "local", "name"),
    ("editable", "elsewhere", "local", "path"),
    ("PYTHONPATH", "clone", "local", "script"),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """One installation of each kind that is asked for."""
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = installations.install(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return get


def completed(folder):
    """The families of the run below a folder, each trial of which completed; and its logs."""
    (ledger,) = folder.glob("results/*/*/events.jsonl")
    events, _ = read_events(ledger)
    proposed = {e.trial: e.family for e in events if e.event == "proposed"}
    ended = {e.trial for e in events if e.event == "completed"}
    assert set(proposed) == ended and len(ended) == 2
    logs = [log.read_text() for log in sorted(ledger.parent.glob("trials/*/log.txt"))]
    return list(proposed.values()), logs


def assert_workers_of(logs, home):
    """Every worker had our packages from there."""
    for log in logs:
        found = {line for line in log.splitlines() if line.startswith("worker has ")}
        assert found == {
            f"worker has {home / name / '__init__.py'}" for name in ("hpo", "models")
        }


CELLS = [
    pytest.param(*cell, marks=() if cell in FAST else pytest.mark.slow)
    for cell in itertools.product(installations.KINDS, WHERE, EXECUTORS, HOW)
]


@pytest.mark.parametrize(("kind", "where", "executor", "how"), CELLS)
def test_a_study_is_launched(kind, where, executor, how, installed, tmp_path):
    there = installed(kind)
    folder = tmp_path
    if where == "clone":
        folder = there.clone
        shutil.rmtree(folder / "results", ignore_errors=True)
    home = there.home
    if how == "script":
        (folder / "tune.py").write_text(installations.SCRIPT)
        there.python("tune.py", executor, folder=folder)
        home = (
            folder if where == "clone" else home
        )  # a script finds what lies beside it
        families = ["create", "create"]
    else:
        (folder / "mine.py").write_text(installations.STUDY)
        study = {"name": "walks", "path": "mine.py"}[how]
        there.hpo("launch", study, "--executor", executor, folder=folder)
        families = ["walk", "own"]
    found, logs = completed(folder)
    assert found == families
    assert_workers_of(logs, home)


def test_what_is_dropped_into_an_editable_clone_is_found_everywhere(
    installed, tmp_path
):
    there = installed("editable")
    for kind, name in (("families", "walk"), ("spaces", "walk"), ("studies", "walks")):
        listed = there.hpo("list", kind, "--format", "csv", folder=tmp_path).stdout
        assert f"\n{name}," in listed


@pytest.mark.parametrize("kind", ["regular", "editable"])
def test_a_study_in_the_current_folder_is_found_by_name(
    kind, installed, tmp_path, tmp_path_factory
):
    there = installed(kind)
    (tmp_path / "studies").mkdir()
    file = tmp_path / "studies" / "pump.py"
    file.write_text(installations.STUDY.replace('"walks"', '"pump"'))
    (tmp_path / "studies" / "quickstart.py").write_text('"""Another."""\nSTUDY = 1\n')
    listed = there.hpo("list", "studies", "--format", "json", folder=tmp_path).stdout
    found = [(s["name"], s["path"]) for s in json.loads(listed)]
    assert found[0] == ("pump", str(file))
    both = [tmp_path, there.home]
    assert [Path(p) for n, p in found if n == "quickstart"] == [
        place / "studies" / "quickstart.py" for place in both
    ]
    table = there.hpo("list", "studies", folder=tmp_path).stdout
    assert "studies/pump.py" in table and ".../studies/quickstart.py" in table
    there.hpo("launch", "pump", "--executor", "local", folder=tmp_path)
    families, logs = completed(tmp_path)
    assert families == ["walk", "own"]
    assert_workers_of(logs, there.home)
    (run,) = tmp_path.glob("results/pump/*")  # elsewhere its name leads nowhere
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    there.hpo("rerun", run, "--trial", 2, "--exact", folder=elsewhere)


@pytest.mark.parametrize(
    "executor", ["local", pytest.param("ray", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "kind", ["regular", pytest.param("editable", marks=pytest.mark.slow)]
)
def test_packages_of_the_current_folder_do_not_take_the_place_of_ours(
    kind, executor, installed, tmp_path
):
    there = installed(kind)
    for name in ("hpo", "models", "studies"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('not ours')\n")
    settings = ("--executor", executor, "--set", "rate=0.5")
    there.hpo("launch", "walks", *settings, folder=tmp_path)
    _, logs = completed(tmp_path)
    assert_workers_of(logs, there.home)
    there.hpo("rerun", "walks", "--exact", folder=tmp_path)
