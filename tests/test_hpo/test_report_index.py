"""The index beside a long ledger never changes what is read: any cut, growth or damage."""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from hpo.errors import RunError
from hpo.ledger.events import Nondeterminism, Note
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import read_events
from hpo.report import formats, index, table
from hpo.report.summary import load_summary, summarize
from hpo.study import Objective
from tests.test_hpo import sample_run
from tests.test_hpo.simulated import SimulatedLoop, study

SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing
TWO = study(objectives=(Objective(), Objective(metric="fit", limit=-1.5)))


@pytest.fixture(autouse=True)
def any_ledger_is_worth_it(monkeypatch):
    monkeypatch.setattr(index, "WORTH", 1)


def told(folder):
    """All that a run's summary holds, or why it holds nothing."""
    try:
        summary = load_summary(folder)
    except RunError as error:
        return error.message
    return (repr(summary), formats.to_json(summary), table.render(summary).plain)


def without_index(folder):
    aside = folder / ".index-aside"
    kept = (folder / ".index").exists()
    if kept:
        os.replace(folder / ".index", aside)
    found = told(folder)
    (folder / ".index").unlink(missing_ok=True)
    if kept:
        os.replace(aside, folder / ".index")
    return found


def make(folder, a_study, lines=b""):
    folder.mkdir(parents=True)
    RunFolder(folder).write_study(a_study, provenance={})
    (folder / "events.jsonl").write_bytes(lines)
    return folder


@pytest.fixture(scope="module")
def ledgers():
    """Runs of parallel workers, with retries, one objective and two."""
    found = []
    for seed, a_study in enumerate((study(), TWO, study(stopping=()))):
        loop = SimulatedLoop(a_study, workers=3)
        loop.run(choose=random.Random(seed).choice)
        for _ in range(2):  # a late remark, and an epoch that came out differently
            data = {"epoch": 1, "metric": "rmse", "first": 1.0, "second": float("nan")}
            loop.ledger.append(Nondeterminism(trial=1, **data))
            loop.ledger.append(Note(trial=2, text="hm"))
            loop.ledger.append(Note(text="ä"))
        found.append((a_study, "".join(loop.ledger.lines).encode()))
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[SLOW])
@given(st.data())
def test_growing_tearing_and_editing(tmp_path_factory, ledgers, data):
    """After each change the table is that of the ledger alone, whatever the index was of."""
    a_study, whole = data.draw(st.sampled_from(ledgers))
    folder = make(tmp_path_factory.mktemp("run") / "one", a_study)
    path = folder / "events.jsonl"
    for _ in range(data.draw(st.integers(1, 5))):
        change = data.draw(st.sampled_from(["cut", "cut", "edit", "index", "swap"]))
        content = path.read_bytes()
        if change == "cut":  # to anywhere in the whole: growing, shrinking, torn
            path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
        elif change == "edit" and content:
            at = data.draw(st.integers(0, len(content) - 1))
            new = data.draw(st.sampled_from([b"1", b"9", b" ", b"x", b'"', b"\n", b""]))
            path.write_bytes(content[:at] + new + content[at + 1 :])
        elif change == "index" and (folder / ".index").exists():
            kept = bytearray((folder / ".index").read_bytes())
            at = data.draw(st.integers(0, len(kept) - 1))
            kept[at : at + data.draw(st.integers(0, 3))] = data.draw(
                st.binary(max_size=3)
            )
            (folder / ".index").write_bytes(kept)
        elif change == "swap":  # another study: other objectives, another best epoch
            other = data.draw(st.sampled_from(ledgers))[0]
            RunFolder(folder).write_study(other, provenance={})
        expected = without_index(folder)
        assert told(folder) == expected
        assert told(folder) == expected, "with the index that was just written"


def test_the_fold_is_the_summary_of_all_events(tmp_path, ledgers):
    """Read through lines and an index that grows, or event by event: one and the same."""
    for number, (a_study, whole) in enumerate(ledgers):
        folder = make(tmp_path / str(number), a_study)
        lines = whole.splitlines(keepends=True)
        for n in range(0, len(lines) + 1, 5):
            (folder / "events.jsonl").write_bytes(b"".join(lines[:n]))
            events, _ = read_events(folder / "events.jsonl")
            again = summarize(a_study, events, folder=folder)
            assert repr(load_summary(folder)) == repr(again)


def test_only_the_tail_is_decoded(tmp_path, ledgers, monkeypatch):
    a_study, whole = ledgers[0]
    folder = make(tmp_path / "run", a_study, whole)
    first = told(folder)
    read = []
    real = index.read_event
    monkeypatch.setattr(
        index, "read_event", lambda line, n: (read.append(n), real(line, n))[1]
    )
    assert told(folder) == first
    assert read == []
    count = whole.count(b"\n")
    note = structs.replace(Note(text="x"), n=count + 1)
    (folder / "events.jsonl").write_bytes(whole + note.to_line().encode())
    assert told(folder) != first
    assert read == [count + 1]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"{}\n", b"null\nx", b"[" * 10_000, b'{"name": 1}\n\x80', b"\xff\n"],
)
def test_a_foreign_index_is_ignored_and_replaced(tmp_path, ledgers, content):
    a_study, whole = ledgers[1]
    folder = make(tmp_path / "run", a_study, whole)
    expected = told(folder)
    good = (folder / ".index").read_bytes()
    (folder / ".index").write_bytes(content)
    assert told(folder) == expected
    assert (folder / ".index").read_bytes() == good


def test_an_index_of_another_run_is_not_believed(tmp_path, ledgers):
    a_study, whole = ledgers[0]
    one = make(tmp_path / "one", a_study, whole)
    lines = [json.loads(line) for line in whole.splitlines()]
    for record in lines:
        if record["event"] == "epoch":
            record["valid"] = dict.fromkeys(record["valid"], 7.0)
    text = "".join(json.dumps(r) + "\n" for r in lines)
    other = make(tmp_path / "other", a_study, text.encode())
    told(one)
    shutil.copy(one / ".index", other / ".index")
    assert told(other) == without_index(other)
    assert load_summary(other).best.objective == 7.0


def test_a_folder_that_cannot_be_written_to(tmp_path, ledgers, monkeypatch):
    a_study, whole = ledgers[0]
    folder = make(tmp_path / "run", a_study, whole)
    expected = told(folder)
    (folder / ".index").unlink()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(index, "write_atomically", refuse)
    assert told(folder) == expected
    assert not (folder / ".index").exists()


def test_a_short_ledger_gets_none(tmp_path, monkeypatch):
    monkeypatch.undo()
    folder = sample_run.write(tmp_path)
    before = sorted(p.name for p in folder.iterdir())
    load_summary(folder)
    assert sorted(p.name for p in folder.iterdir()) == before
