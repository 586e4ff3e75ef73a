"""A machine dies with what the ledger had not synced: the run goes on all the same."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import run_helpers as helpers

from hpo.ledger import log
from hpo.ledger.log import read_events
from hpo.run.launch import launch, resume
from hpo.study import Budget
from hpo.worker.session import has_checkpoint

sys.path.pop(0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A finished run, whose trials were saved at every rung, and some of them at their ends."""
    outcome = launch(helpers.study(), results=tmp_path_factory.mktemp("whole"))
    assert outcome.state == "finished"
    return outcome.folder


def marks(folder):
    """Places at which a ledger may have been cut: before each kind of event that is waited for."""
    events, _ = read_events(folder / "events.jsonl")
    seen, found = set(), {}
    for event in events:
        kind = (event.event, event.trial == 1)
        if isinstance(event, log.SYNCED) and kind not in seen and event.trial:
            seen.add(kind)
            found[f"{event.event}-{event.trial}"] = event.n - 1
    return found


def test_what_the_ledger_lost_is_trained_again_and_nothing_of_it_is_believed(
    undisturbed, tmp_path
):
    wanted = helpers.story(undisturbed)
    lines = (undisturbed / "events.jsonl").read_text().splitlines(keepends=True)
    places = marks(undisturbed)
    assert {"started-1", "completed-1"} <= set(places) and len(places) >= 4
    for name, kept in places.items():
        folder = tmp_path / "steady" / f"20260101-00000{len(name) % 10}-0{kept:x}"
        shutil.copytree(undisturbed, folder)
        # The machine dies: what was acted on, trials/ with all its checkpoints, is still there.
        (folder / "events.jsonl").write_text("".join(lines[:kept]))
        outcome = resume(folder, create=helpers.create)
        assert outcome.state == "finished", name
        assert helpers.story(folder) == wanted, name
        events, _ = read_events(folder / "events.jsonl")
        assert not [e for e in events if e.event == "nondeterminism"], name


def test_a_stale_checkpoint_is_never_gone_on_from(tmp_path):
    """An attempt of another configuration lies where one is made that dies before it saves."""
    study = helpers.study(
        constants={"trouble": "die once"},
        stopping=(),
        budget=Budget(trials=2, epochs=5),
    )
    undisturbed = launch(study, results=tmp_path / "whole").folder
    lines = (undisturbed / "events.jsonl").read_text().splitlines(keepends=True)
    events, _ = read_events(undisturbed / "events.jsonl")
    start = next(e for e in events if e.event == "proposed" and e.trial == 2)
    folder = tmp_path / "steady" / "20260101-000000-0f"
    shutil.copytree(undisturbed, folder)
    (folder / "events.jsonl").write_text("".join(lines[: start.n - 1]))
    shutil.rmtree(folder / "trials" / "0002")
    stale = folder / "trials" / "0002" / "attempt-1"
    shutil.copytree(folder / "trials" / "0001" / "attempt-2", stale)
    assert has_checkpoint(stale)
    outcome = resume(folder, create=helpers.create)
    assert outcome.state == "finished"
    assert helpers.story(folder) == helpers.story(undisturbed)
    events, _ = read_events(folder / "events.jsonl")
    told = [e.text for e in events if e.event == "note"]
    assert not [text for text in told if "cannot be read" in text]  # nobody tried
