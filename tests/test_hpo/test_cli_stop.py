"""`hpo stop` against real drivers in other processes."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpo.ledger.events import RunEvent
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import Ledger, read_events
from hpo.run import driver as drivers
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run

ROOT = Path(__file__).parent.parent.parent


def study(seconds):
    """The walk, whose epochs take so long."""
    slow = f"            import time\n            time.sleep({seconds})\n"
    return sample_run.WALK.replace(
        '            yield {"rmse"', slow + '            yield {"rmse"'
    )


def until(check, seconds=30.0):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@contextmanager
def launched(place, seconds, least=2):
    """A driver at work whose ledger holds at least so many epochs, and its run."""
    (place / "walk.py").write_text(study(seconds))
    command = ("launch", place / "walk.py", "--results", place / "out")
    child = subprocess.Popen(
        [sys.executable, "-m", "hpo.cli.main", *map(str, command)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def begun():
        assert child.poll() is None, child.stdout.read()
        runs = RunFolder.list(place / "out")
        return bool(runs) and events(runs[0]).count("epoch") >= least

    try:
        until(begun)
        yield child, RunFolder.list(place / "out")[0]
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        child.stdout.close()


def events(folder):
    if not folder.events_file.exists():
        return []
    return [e.event for e in read_events(folder.events_file)[0]]


def stop(folder, *options):
    return run("stop", folder.path, *options)


def test_a_driver_finishes_and_its_run_can_be_resumed(tmp_path):
    # Slow enough that the trial at work is not over before a busy machine's `stop` arrives.
    with launched(tmp_path, 0.6) as (child, folder):
        result = stop(folder)
        assert result.exit_code == 0, result.stderr
        assert f"asked process {child.pid} to finish" in result.stderr
        assert "of 5 trials ended" in result.stderr
        assert f"hpo resume {folder.path}" in result.stderr
        assert child.wait(20) == 130
        assert "finishing" in child.stdout.read()
    assert events(folder)[-1] == "interrupted"
    refused(stop(folder), "nobody is at work", "hpo resume")
    resumed = run("resume", folder.path)
    assert resumed.exit_code == 0 and "5 of 5 trials ended" in resumed.stdout
    refused(stop(folder), "nobody is at work", "hpo results")


def test_patience_ends_and_now_does_not_wait_for_the_epoch(tmp_path):
    with launched(tmp_path, 4.0, least=1) as (child, folder):
        result = stop(folder, "--timeout", "0.3s")
        refused(result, "still at work after 0.3 s", "--now")
        assert child.poll() is None
        begin = time.monotonic()
        result = stop(folder, "--now", "--timeout", "20s")
        assert result.exit_code == 0, result.stderr
        assert "asked it to leave at once" in result.stderr
        assert f"asked process {child.pid}" not in result.stderr  # it was, before
        assert time.monotonic() - begin < 10
        assert child.wait(20) == 130
    assert events(folder)[-1] == "interrupted"


def test_only_a_process_that_holds_the_run_is_signalled(tmp_path, monkeypatch):
    path = sample_run.write(tmp_path)
    folder = RunFolder(path)
    sent = []
    monkeypatch.setattr(drivers.os, "kill", lambda *a: sent.append(a))
    here = {"action": "resume", "pid": os.getpid(), "host": platform.node()}
    with Ledger.open(folder.events_file, write=True) as ledger:
        ledger.append(RunEvent(elapsed=50.0, **here))
    refused(stop(folder), "nobody is at work")  # alive, yet it does not hold the run
    with folder.acquire():
        found = drivers.find_driver(folder)
        assert found is not None and found.pid == os.getpid() and found.working
    assert not found.working and sent == []


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({}, "not its driver"),
        ({"pid": 2**22 + 5, "host": platform.node()}, "not its driver"),
        ({"pid": 1, "host": "elsewhere"}, "another machine, `elsewhere`"),
    ],
)
def test_who_cannot_be_told_is_left_alone(written, words, tmp_path):
    folder = RunFolder(sample_run.write(tmp_path))
    with Ledger.open(folder.events_file, write=True) as ledger:
        data = {"action": "resume", **written}
        ledger.append(RunEvent(elapsed=50.0, **data))
    with folder.acquire():
        refused(stop(folder), words)


def test_somebody_elses_process_is_said(tmp_path, monkeypatch):
    def forbidden(pid, number):
        assert number == signal.SIGINT
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(drivers.os, "kill", forbidden)
    folder = RunFolder(sample_run.write(tmp_path))
    here = {"action": "launch", **drivers.identity()}
    with Ledger.open(folder.events_file, write=True) as ledger:
        ledger.append(RunEvent(elapsed=50.0, **here))
    with folder.acquire():
        refused(stop(folder), "belongs to somebody else")


def test_mistakes(tmp_path):
    path = sample_run.write(tmp_path)
    refused(run("stop", "smaple", "--results", tmp_path), "`sample`")
    refused(run("stop", path, "--timeout", "soon"), "--timeout", "duration")
    refused(run("stop"), "RUN", status=2)
    refused(run("stop", path), "nobody is at work", "hpo resume")
