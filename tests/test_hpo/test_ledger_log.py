"""The ledger on disk: what is written stays, what is torn is cut, what is damaged refused."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo.errors import RunError
from hpo.ledger import log
from hpo.ledger.events import KINDS, EpochEvent, Event, Note, RunEvent
from hpo.ledger.log import Ledger, read_events
from tests.test_hpo.simulated import SimulatedLoop, study

SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing

NAN = float("nan")


def epoch(number: int, value: float = 0.5) -> Event:
    data = {"epoch": number, "train": {"loss": value}, "valid": {"rmse": value}}
    data |= {"seconds": 0.25, "compile_seconds": 0.0}
    return EpochEvent(trial=1, attempt=1, elapsed=number / 3, **data)


def note(text: str) -> Event:
    return Note(text=text)


@pytest.fixture(scope="module")
def real_lines():
    """A whole run's ledger, as bytes."""
    loop = SimulatedLoop(study())
    loop.run()
    return "".join(loop.ledger.lines).encode()


def test_what_is_appended_is_what_a_reader_sees(tmp_path):
    path = tmp_path / "events.jsonl"
    with Ledger.open(path, write=True) as ledger:
        given_back = [ledger.append(e) for e in (note("ä"), epoch(1), epoch(2, NAN))]
        assert given_back[1].elapsed == 0.333333
    read, torn = read_events(path)
    assert torn is None
    assert [repr(e) for e in read] == [repr(e) for e in given_back]
    assert [e.n for e in read] == [1, 2, 3]
    with Ledger.open(path, write=True) as ledger:
        assert ledger.append(note("more")).n == 4
    assert len(read_events(path)[0]) == 4


def test_strict_json_whatever_the_numbers(tmp_path):
    path = tmp_path / "events.jsonl"
    with Ledger.open(path, write=True) as ledger:
        ledger.append(epoch(1, NAN))
        ledger.append(epoch(2, -float("inf")))

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_cut_and_reported(tmp_path, cut):
    path = tmp_path / "events.jsonl"
    with Ledger.open(path, write=True) as ledger:
        for number in (1, 2, 3):
            ledger.append(epoch(number))
    whole = path.read_bytes()
    keep = whole.rindex(b"\n", 0, -1) + 1
    path.write_bytes(whole[: keep + cut])
    events, torn = read_events(path)
    assert [e.epoch for e in events] == [1, 2]
    assert torn is not None and str(cut) in torn
    assert path.read_bytes() == whole[: keep + cut], "reading must not write"
    with Ledger.open(path, write=True) as ledger:
        assert ledger.torn == torn
        assert ledger.count == 3
        assert [e.event for e in read_events(path)[0]] == ["epoch", "epoch", "note"]
        ledger.append(epoch(3))
    events, torn = read_events(path)
    assert torn is None
    assert [e.event for e in events] == ["epoch", "epoch", "note", "epoch"]


def test_a_last_line_that_lacks_only_its_newline_is_kept(tmp_path):
    path = tmp_path / "events.jsonl"
    with Ledger.open(path, write=True) as ledger:
        ledger.append(epoch(1))
        ledger.append(epoch(2))
    path.write_bytes(path.read_bytes()[:-1])
    assert len(read_events(path)[0]) == 2
    with Ledger.open(path, write=True) as ledger:
        assert ledger.torn is None
        ledger.append(epoch(3))
    assert [e.epoch for e in read_events(path)[0]] == [1, 2, 3]


def edited(**changes):
    def edit(lines: list[str]) -> list[str]:
        record = json.loads(lines[1])
        for key, value in changes.items():
            if value is None:
                del record[key]
            else:
                record[key] = value
        return [lines[0], json.dumps(record), *lines[2:]]

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: [lines[0], lines[1][:-9], lines[2]],
        lambda lines: [lines[0], "", lines[1], lines[2]],
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[0], lines[0], *lines[1:]],
        lambda lines: [lines[0], "[" * 100_000, lines[2]],
        lambda lines: [lines[0], "null", lines[2]],
        edited(n=7),
        edited(n=2.0),
        edited(schema=2),
        edited(event="epcoh"),
        edited(event=["epoch"]),
        edited(valid=None),
        edited(trial=None),
        edited(epoch="two"),
        edited(epoch=-1),
        edited(trial="1"),
        edited(trial=0),
        edited(attempt=True),
        edited(elapsed="soon"),
        edited(valid={"rmse": "small"}),
        edited(train=[1.0]),
        edited(seconds="long"),
    ],
)
def test_damage_is_refused_and_left_alone(tmp_path, edit):
    path = tmp_path / "events.jsonl"
    with Ledger.open(path, write=True) as ledger:
        for number in (1, 2, 3):
            ledger.append(epoch(number))
    damaged = "\n".join(edit(path.read_text().splitlines())) + "\n"
    path.write_text(damaged)
    for write in (False, True):
        with pytest.raises(RunError) as caught:
            Ledger.open(path, write=write)
        assert f"{path}, line 2" in caught.value.message
        assert caught.value.hint
        assert path.read_text() == damaged


@settings(max_examples=300, deadline=None, suppress_health_check=[SLOW])
@given(st.data())
def test_any_damage_gives_an_error_or_a_prefix(tmp_path_factory, real_lines, data):
    """Cut anywhere, overwrite anything: never a traceback, never an invented event."""
    content = bytearray(real_lines)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        with_what = data.draw(st.binary(max_size=12))
        length = data.draw(st.integers(0, 12))
        content[at : at + length] = with_what
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    path = tmp_path_factory.mktemp("fuzz") / "events.jsonl"
    path.write_bytes(content)
    try:
        events, torn = read_events(path)
    except RunError as error:
        assert str(path) in error.message
        with pytest.raises(RunError):
            Ledger.open(path, write=True)
        assert path.read_bytes() == content
        return
    kept = content.count(b"\n")
    assert kept <= len(events) <= kept + 1
    with Ledger.open(path, write=True) as ledger:
        assert ledger.count == len(events) + (torn is not None)
        again = read_events(path)[0]
        assert again[: len(events)] == events or "nan" in repr(events)
        assert len(again) == ledger.count
    assert len(read_events(path)[0]) == len(events) + (torn is not None)


@settings(max_examples=100, deadline=None, suppress_health_check=[SLOW])
@given(st.integers(0, 10**9))
def test_a_truncated_ledger_is_a_prefix(tmp_path_factory, real_lines, where):
    path = tmp_path_factory.mktemp("cut") / "events.jsonl"
    content = real_lines[: where % (len(real_lines) + 1)]
    path.write_bytes(content)
    events, torn = read_events(path)
    lines = real_lines.splitlines()
    assert [e.to_line().encode().strip() for e in events] == lines[: len(events)]
    assert len(events) in (content.count(b"\n"), content.count(b"\n") + 1)
    assert torn is None or not content.endswith(b"\n")


FULL_DISK = """
    import resource, signal, sys
    from pathlib import Path
    from hpo.errors import RunError
    from hpo.ledger.events import Note
    from hpo.ledger.log import Ledger, read_events
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = Path(sys.argv[1])
    ledger = Ledger.open(path, write=True)
    for i in range(5):
        ledger.append(Note(text=f"note {i}"))
    size = path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, resource.RLIM_INFINITY))
    try:
        ledger.append(Note(text="does not fit"))
    except RunError as error:
        print(error)
    assert path.stat().st_size == size, "half a line stayed"
    assert len(read_events(path)[0]) == 5
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    ledger.append(Note(text="room again"))
    assert [e.n for e in read_events(path)[0]] == [1, 2, 3, 4, 5, 6]
"""


def test_a_file_that_cannot_grow_keeps_its_last_whole_line(tmp_path):
    """The kernel itself writes half a line and then refuses the rest."""
    path = tmp_path / "events.jsonl"
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(path)],
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    assert str(path) in out.stdout and "ulimit" in out.stdout


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_full_disk_is_a_message(tmp_path, monkeypatch, call):
    path = tmp_path / "events.jsonl"
    ledger = Ledger.open(path, write=True)
    ledger.append(note("fits"))
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(log.os, call, full)
        with pytest.raises(RunError, match="No space left") as caught:
            ledger.append(RunEvent(action="launch"))
    assert "free some disk space" in caught.value.hint
    assert path.read_bytes() == before
    assert ledger.append(note("fits again")).n == 2
    ledger.close()
    ledger.close()
    assert len(read_events(path)[0]) == 2


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(RunError, match="/proc/none.jsonl"):
        Ledger.open(log.Path("/proc/none.jsonl"), write=True)
    with pytest.raises(RunError, match="cannot read"):
        Ledger.open(tmp_path / "missing.jsonl", write=False)
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(RunError):
        Ledger.open(tmp_path / "folder.jsonl", write=True)


def test_what_is_synced_when(tmp_path, monkeypatch):
    """Starts and endings at once, the rest at least once a second, `sync` when idle."""
    synced, real, now = [], os.fdatasync, [100.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    ledger = Ledger.open(tmp_path / "events.jsonl", write=True)
    monkeypatch.setattr(log.os, "fdatasync", lambda f: (synced.append(1), real(f)))
    ledger.append(epoch(1))
    assert len(synced) == 0
    ledger.sync()
    ledger.sync()
    assert len(synced) == 1
    now[0] += 0.5
    ledger.append(epoch(2))
    assert len(synced) == 1
    now[0] += 0.6
    ledger.append(epoch(3))
    assert len(synced) == 2
    for kind, data in {
        "started": {"attempt_of": "first", "epoch": 0},
        "stopped": {"rule": "asha", "epoch": 3},
        "completed": {"epoch": 3},
        "converged": {"rule": "patience", "epoch": 3},
        "diverged": {"rule": "divergence", "epoch": 3},
        "failed": {"reason": "x", "epoch": 3},
        "cancelled": {"reason": "x", "epoch": 3},
        "interrupted": {"reason": "x", "epoch": 3},
    }.items():
        before = len(synced)
        ledger.append(KINDS[kind](trial=1, attempt=1, **data))
        assert len(synced) == before + 1, kind


def counted_syncs(monkeypatch):
    synced, real, now = [], os.fdatasync, [100.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(log.os, "fdatasync", lambda f: (synced.append(1), real(f)))
    return synced, now


def started(trial):
    return KINDS["started"](trial=trial, attempt=1, attempt_of="first", epoch=0)


def test_gathered_events_are_synced_once_at_the_end(tmp_path, monkeypatch):
    ledger = Ledger.open(tmp_path / "events.jsonl", write=True)
    synced, _ = counted_syncs(monkeypatch)
    with ledger.gathered():
        for trial in range(1, 40):
            ledger.append(started(trial))
        assert not synced
    assert len(synced) == 1
    with ledger.gathered():
        ledger.append(epoch(1))
    assert len(synced) == 1  # nothing that is acted on
    with pytest.raises(ValueError), ledger.gathered():
        ledger.append(started(40))
        raise ValueError
    ledger.append(started(41))
    assert len(synced) == 2


def test_a_lag_is_the_most_that_anything_waits(tmp_path, monkeypatch):
    ledger = Ledger.open(tmp_path / "events.jsonl", write=True)
    synced, now = counted_syncs(monkeypatch)
    ledger.lag = 0.05
    ledger.append(started(1))
    now[0] += 0.03
    ledger.append(started(2))
    ledger.sync_due()
    assert not synced
    now[0] += 0.03  # since the first that waits, not the last
    ledger.sync_due()
    assert len(synced) == 1
    now[0] += 0.04
    ledger.append(started(3))
    assert len(synced) == 1
    ledger.close()
    assert len(synced) == 2


WRITER = """
    import sys
    from pathlib import Path
    from hpo.ledger.events import Note
    from hpo.ledger.log import Ledger
    ledger = Ledger.open(Path(sys.argv[1]), write=True)
    for i in range(10**6):
        ledger.append(Note(text="x" * 300))
        print(i + 1, flush=True)
"""


def test_a_killed_writer_leaves_every_event_it_acted_on(tmp_path):
    path = tmp_path / "events.jsonl"
    for _ in range(3):
        before = len(read_events(path)[0]) if path.exists() else 0
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        with child:
            acted = [int(child.stdout.readline()) for _ in range(200)][-1]
            child.kill()
        assert len(read_events(path)[0]) >= before + acted
