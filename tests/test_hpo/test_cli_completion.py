"""Completion of trial numbers and families; mistakes on the way complete to nothing."""

from __future__ import annotations

from types import SimpleNamespace

from hpo.cli import options
from tests.test_hpo import sample_run


def test_trials_and_families_of_the_chosen_run(tmp_path):
    run = sample_run.write(tmp_path)

    def context(name):
        return SimpleNamespace(params={"results": tmp_path, "run": name})

    ones = dict(options.complete_trial(context(str(run)), "1"))
    assert ones == {
        "1": "rnn, completed",
        "10": "rnn, pending",
        "11": "rnn, pending",
    }
    assert options.complete_family(context(None), "") == ["rnn", "linear"]
    assert options.complete_family(context("sample"), "l") == ["linear"]
    for complete in (options.complete_trial, options.complete_family):
        assert complete(context("smaple"), "") == []


def test_long_ledgers_are_not_read_for_it(tmp_path, monkeypatch):
    run = sample_run.write(tmp_path)
    monkeypatch.setattr(options, "_LONG", 0)
    context = SimpleNamespace(params={"results": tmp_path, "run": str(run)})
    ones = dict(options.complete_trial(context, "1"))
    assert ones == {"1": "rnn", "10": "rnn", "11": "rnn"}
    path = run / "events.jsonl"
    path.write_text(path.read_text() + "damaged\n")
    assert dict(options.complete_trial(context, "1")) == ones
