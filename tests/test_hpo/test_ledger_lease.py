"""One driver a run, whatever a file lock is worth between its hosts."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace

import pytest

from hpo.errors import RunError, RunLocked
from hpo.ledger import lease
from hpo.ledger.events import Note, RunEvent
from hpo.ledger.folder import RunFolder
from hpo.ledger.lease import Keeper, Lease, Request
from hpo.ledger.log import Ledger
from hpo.run.driver import DistantDriver, find_driver
from hpo.testing import drivers
from hpo.testing import executors as suite


def elsewhere():
    return replace(Lease.own(), host="elsewhere")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


@pytest.fixture
def briefly(monkeypatch):
    short = functools.partial(lease.alive, seconds=1.0, poll=0.02)
    monkeypatch.setattr(lease, "alive", short)
    monkeypatch.setattr(lease, "BEAT", 0.1)


def kept(folder, own, hear=lambda request: None):
    return Keeper(own, folder.lease_file, requests=folder.request_file, hear=hear)


def test_the_older_of_two_writers_writes_nothing_any_more(tmp_path):
    path = tmp_path / "events.jsonl"
    with Ledger.open(path, write=True) as old:
        old.append(Note(text="mine"))
        with Ledger.open(path, write=True) as new:
            new.append(RunEvent(action="resume", host="elsewhere", pid=7))
            before = path.read_bytes()
            for _ in range(2):
                with pytest.raises(RunLocked, match="`elsewhere` .process 7."):
                    old.append(Note(text="lost"))
            assert path.read_bytes() == before
            new.append(Note(text="goes on"))
    with Ledger.open(path, write=False) as whole:
        assert whole.count == 3


def test_a_ledger_that_was_cut_is_not_written_either(tmp_path):
    path = tmp_path / "events.jsonl"
    with Ledger.open(path, write=True) as ledger:
        ledger.append(Note(text="one"))
        path.write_bytes(b"")
        with pytest.raises(RunLocked):
            ledger.append(Note(text="two"))
        assert path.read_bytes() == b""


def test_a_living_driver_on_another_host_keeps_the_run(folder, briefly):
    with (
        kept(folder, elsewhere()),
        pytest.raises(RunLocked, match="`elsewhere`"),
        folder.acquire(),
    ):
        pass
    assert not folder.lease_file.exists()


def test_a_lost_driver_on_another_host_does_not(folder, briefly):
    folder.lease_file.write_text(json.dumps(asdict(elsewhere())))
    with folder.acquire(), kept(folder, Lease.own()):
        assert lease.read(folder.lease_file).here
    assert not folder.lease_file.exists()


def test_after_a_new_start_of_the_machine_it_is_another_one(folder):
    assert Lease.own().here
    assert not replace(Lease.own(), boot="another").here


def test_a_lease_that_was_taken_over_is_left_to_its_new_driver(folder, briefly):
    with kept(folder, Lease.own()):
        theirs = elsewhere()
        folder.lease_file.write_text(json.dumps(asdict(theirs)))
        time.sleep(0.5)
        assert lease.read(folder.lease_file) == theirs
    assert lease.read(folder.lease_file) == theirs


@pytest.mark.parametrize("now", [False, True])
def test_a_request_reaches_the_driver_that_is_meant(folder, briefly, now):
    heard = []
    own = elsewhere()
    with kept(folder, own, hear=heard.append):
        found = find_driver(folder)
        assert isinstance(found, DistantDriver)
        other = Request(nonce="another", host="here")
        other.write(folder.request_file)
        time.sleep(0.4)
        assert not heard and not folder.request_file.exists()
        told = []
        asking = threading.Thread(
            target=found.stop, kwargs={"now": now, "timeout": 30, "tell": told.append}
        )
        asking.start()
        drivers.wait_until(lambda: len(heard) > now, 10)
    asking.join(10)
    assert not asking.is_alive()
    assert [r.now for r in heard] == [False, True][: 1 + now]
    assert "`elsewhere`" in told[0]


def test_a_silent_driver_is_said_to_be_lost(folder, briefly):
    folder.lease_file.write_text(json.dumps(asdict(elsewhere())))
    found = find_driver(folder)
    with pytest.raises(RunError, match="silent") as told:
        found.stop(now=False, timeout=5, tell=lambda text: None)
    assert "hpo resume" in told.value.hint


def another_host(name):
    """A command's first words that give it another host name; skips where that is refused."""
    words = ["unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh"]
    if shutil.which("unshare") is None:
        pytest.skip("there is no `unshare` here")
    if subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("this kernel or user allows no namespaces (unshare --uts)")
    return words


@pytest.mark.slow
def test_a_run_is_stopped_and_resumed_from_other_hosts(tmp_path):
    study = suite._study("local", ("none",), workers=1, pause=0.3)
    study = study.replace(budget=replace(study.budget, epochs=60))
    driver = drivers.start(tmp_path, study, under=another_host("one"))
    try:
        drivers.wait_until(
            lambda: sum(e.event == "epoch" for e in driver.events()) >= 2, 60
        )
        call = [sys.executable, "-m", "hpo.cli.main", "stop", str(driver.folder)]
        done = subprocess.run(
            [*another_host("two"), *call], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert "host `one`" in done.stderr
        assert driver.outcome()["state"] == "interrupted"
        events = driver.events()
        reasons = {e.reason for e in events if e.event == "interrupted"}
        assert reasons == {"stopped by `hpo stop` on host two"}
    finally:
        driver.end()
    again = drivers.start(tmp_path, resume=driver.folder, under=another_host("three"))
    try:
        assert again.outcome()["state"] == "finished"
        hosts = [e.host for e in again.events() if e.event == "run" and e.host]
        assert hosts == ["one", "three"]
    finally:
        again.end()
