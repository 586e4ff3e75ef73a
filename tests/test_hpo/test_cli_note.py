"""`hpo note`: what the ledger holds afterwards, and that nothing else changed."""

from __future__ import annotations

import pytest

from hpo.director import replay
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import read_events
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run


@pytest.fixture
def sample(tmp_path):
    return sample_run.write(tmp_path / "results")


def note(sample, *words):
    return run("note", "sample", *words, "--results", sample.parents[1])


def test_notes_are_appended_and_shown(sample):
    before = (sample / "events.jsonl").read_bytes()
    where = ("--results", sample.parents[1])
    assert note(sample, "rerun with\n less  noise").exit_code == 0
    result = note(sample, 6, "µ looks odd: 100 %")
    assert result.exit_code == 0
    assert "noted on trial 6 of" in result.stderr and result.stdout == ""
    after = (sample / "events.jsonl").read_bytes()
    assert after.startswith(before)
    *_, first, second = read_events(sample / "events.jsonl")[0]
    assert (first.event, first.trial) == ("note", None)
    assert first.text == "rerun with less noise"
    assert (second.trial, second.attempt, second.elapsed) == (6, None, 47)
    table = run("results", "sample", *where).stdout
    assert "note: rerun with less noise" in table and "µ looks odd: 100 %" in table
    assert "notes\n  µ looks odd: 100 %" in run("show", "sample", 6, *where).stdout
    assert "odd" not in run("show", "sample", 1, *where).stdout


def test_a_note_changes_no_decision(tmp_path):
    study = tmp_path / "walk.py"
    study.write_text(sample_run.WALK)
    where = ("--results", tmp_path / "out")
    assert run("launch", study, "--trials", 2, *where).exit_code == 0
    folder = RunFolder.find(tmp_path / "out", "walks")

    def state():
        from hpo.study import Study

        chosen = Study.from_json(folder.read_study()["study"])
        director = replay(chosen, read_events(folder.events_file)[0], workers=1)
        return {n: (t.state, t.value) for n, t in director.trials.items()}

    before = state()
    assert run("note", "walks", 1, "fine", *where).exit_code == 0
    assert state() == before
    again = run("resume", "walks", *where)
    assert again.exit_code == 0 and "2 of 2 trials ended" in again.stdout


def test_mistakes_write_nothing(sample):
    before = (sample / "events.jsonl").read_bytes()
    refused(note(sample, 99, "x"), "no trial 99", "1 … 11")
    refused(note(sample, "  "), "needs a text")
    refused(note(sample, "bell \x07"), "printable")
    refused(note(sample, "not", "quoted"), "quotes", status=2)
    refused(note(sample, 3, "not", "quoted"), "quotes", status=2)
    refused(note(sample), "TEXT", status=2)
    refused(run("note", "smaple", "x", "--results", sample.parents[1]), "`sample`")
    with RunFolder(sample).acquire():
        refused(note(sample, "x"), "another driver")
    assert (sample / "events.jsonl").read_bytes() == before


def test_a_damaged_ledger_is_left_as_it_is(sample):
    path = sample / "events.jsonl"
    path.write_text(path.read_text().replace('"trial": 1,', '"trial": "one",', 1))
    before = path.read_bytes()
    refused(note(sample, "x"), "events.jsonl, line 2")
    assert path.read_bytes() == before
