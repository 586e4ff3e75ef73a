"""A run's folder: made, found by what a person types, locked, described."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from hpo.errors import RunError, RunLocked
from hpo.ledger import folder as module
from hpo.ledger.folder import RunFolder
from hpo.ledger.provenance import provenance
from hpo.study import Study
from tests.test_hpo.simulated import study


def made(results, a_study, name=None) -> RunFolder:
    run = RunFolder.create(results, a_study)
    run.write_study(a_study, provenance={"argv": []})
    if name is not None:
        run = RunFolder(run.path.rename(run.path.with_name(name)))
    return run


def test_layout(tmp_path):
    run = RunFolder.create(tmp_path, study())
    assert run.path.parent == tmp_path / "simulated" and run.path.is_dir()
    assert run.name.endswith(study().fingerprint())
    assert run.study_name == "simulated"
    assert run.attempt(7, 2) == run.path / "trials/0007/attempt-2"
    assert run.config_file(7).parent == run.error_file(7).parent == run.trial(7)
    assert RunFolder.create(tmp_path, study()) != run, "two launches within a second"


def test_found_by_what_a_person_types(tmp_path, monkeypatch):
    old = made(tmp_path, study(), "20260101-000000-aaaaaaaa")
    new = made(tmp_path, study(), "20260201-000000-aaaaaaaa")
    other = made(tmp_path, study(name="tanks"), "20260301-000000-bbbbbbbb")
    (tmp_path / "simulated" / "20270101-000000-cccccccc").mkdir()  # nothing in it yet
    (tmp_path / ".gitignore").write_text("*")
    assert RunFolder.list(tmp_path) == [other, new, old]
    assert RunFolder.list(tmp_path, "simulated") == [new, old]
    assert RunFolder.find(tmp_path, "latest") == other
    assert RunFolder.find(tmp_path, "simulated") == new
    assert RunFolder.find(tmp_path, old.name) == old
    assert RunFolder.find(tmp_path, f"simulated/{old.name}").path == old.path
    assert RunFolder.find(tmp_path / "elsewhere", str(old.path)) == old
    monkeypatch.chdir(old.path)
    assert RunFolder.find(tmp_path, ".").name == old.name
    with pytest.raises(RunError) as caught:
        RunFolder.find(tmp_path, "simulatde")
    assert "`simulated`" in caught.value.hint


def test_nothing_to_find(tmp_path):
    for run in ("latest", "quickstart", ""):
        with pytest.raises(RunError, match="no run") as caught:
            RunFolder.find(tmp_path / "none", run)
        assert "hpo launch" in caught.value.hint


def test_study_file_says_what_ran(tmp_path):
    run = RunFolder.create(tmp_path, study())
    run.write_study(
        study(), provenance=provenance(argv=["hpo", "launch"]), extra={"data": {"a": 1}}
    )
    record = run.read_study()
    assert Study.from_json(record["study"]).to_json() == study().to_json()
    assert record["provenance"]["argv"] == ["hpo", "launch"]
    assert record["data"] == {"a": 1}
    assert os.listdir(run.path) == ["study.json"], "no temporary file stays"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}', '{"study": {}}'])
def test_a_damaged_study_file_is_refused(tmp_path, content):
    run = RunFolder(tmp_path)
    with pytest.raises(RunError, match="missing"):
        run.read_study()
    run.study_file.write_text(content)
    with pytest.raises(RunError, match=r"study\.json"):
        run.read_study()


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    run = made(tmp_path, study())
    before = run.study_file.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        run.write_study(study(seed=9), provenance={})
    assert run.study_file.read_bytes() == before
    assert os.listdir(run.path) == ["study.json"]


def test_a_folder_that_cannot_be_made(tmp_path):
    with pytest.raises(RunError, match="/proc"):
        RunFolder.create("/proc/results", study())
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError):
        RunFolder.create(tmp_path / "file", study())
    with pytest.raises(RunError), RunFolder(tmp_path / "missing").acquire():
        pass


HOLDER = """
    import sys, time
    from hpo.ledger.folder import RunFolder
    with RunFolder(sys.argv[1]).acquire():
        print("locked", flush=True)
        time.sleep(60)
"""


def test_one_driver_at_a_time_and_a_killed_one_frees_the_run(tmp_path):
    run = made(tmp_path, study())
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(run.path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(RunLocked, match=run.name), run.acquire():
            pass
        child.send_signal(signal.SIGKILL)
    with run.acquire(), pytest.raises(RunLocked), run.acquire():
        pass
    with run.acquire():
        pass


def test_looking_at_who_holds_a_run_refuses_nobody(tmp_path):
    run, over, looks = made(tmp_path, study()), threading.Event(), []

    def look():
        while not over.wait(0.0005):
            looks.append(run.held())

    watchers = [threading.Thread(target=look) for _ in range(3)]
    for watcher in watchers:
        watcher.start()
    try:
        deadline = time.monotonic() + 20
        while len(looks) < 100 and time.monotonic() < deadline:
            with run.acquire():
                pass
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()
    assert len(looks) >= 100
    assert not run.held()
    with run.acquire():
        assert run.held()


def test_a_missing_folder_is_held_by_nobody(tmp_path):
    with pytest.raises(RunError, match="No such file"):
        RunFolder(tmp_path / "missing").held()


def test_provenance_names_what_changes_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    found = provenance(argv=["hpo"], folder=tmp_path)
    json.dumps(found)
    assert found["versions"]["jax"] and found["versions"]["python"]
    assert found["git"] == {"commit": None, "dirty": None}
    assert found["environment"]["JAX_ENABLE_X64"] == "1"
    assert found["environment"]["NPROC"] == "1"
    assert "hidden" not in json.dumps(found)
    assert found["cpu"] and found["cores"] >= 1
    assert len(found["instructions"]) == 8, "the set of instructions has a short name"


def test_provenance_knows_the_commit_and_whether_it_is_what_ran(tmp_path):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True)

    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    clean = provenance(folder=tmp_path)["git"]
    assert len(clean["commit"]) == 40 and clean["dirty"] is False
    (tmp_path / "file").write_text("2")
    assert provenance(folder=tmp_path)["git"] == {**clean, "dirty": True}


def test_provenance_without_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance()["git"] == {"commit": None, "dirty": None}
