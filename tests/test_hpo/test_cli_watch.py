"""`hpo watch` beside a real driver, with a terminal and without one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from hpo.cli.progress import Progress
from hpo.director import Director, replay
from hpo.ledger.events import Event
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run
from tests.test_hpo.test_cli_progress import on_a_terminal
from tests.test_hpo.test_cli_stop import ROOT, launched, until


def test_lines_without_a_terminal_until_the_run_ends(tmp_path):
    with launched(tmp_path, 0.1) as (child, _):
        result = run("watch", "walks", "--results", tmp_path / "out")
        assert result.exit_code == 0, result.stderr
        assert child.wait(20) == 0
    assert "[5/5] trial 5 walk: " in result.stderr
    assert "5 of 5 trials ended" in result.stdout
    assert "hint" not in result.stderr


@pytest.mark.slow
def test_a_terminal_sees_curves_and_a_killed_driver_ends_it(tmp_path):
    with launched(tmp_path, 0.5) as (child, folder):
        watcher = [sys.executable, "-c", KILLER.format(pid=child.pid)]
        with subprocess.Popen(watcher) as killer:
            status, out, drawn = on_a_terminal(["watch", folder.path])
        assert killer.returncode == 0 and child.wait(5) == -signal.SIGKILL
    assert status == 0
    assert "trial 1 walk " in drawn and "epochs a minute" in drawn
    assert any(bar in drawn for bar in "▂▃▄▅▆▇█")
    assert "running" in out and "hpo resume" in drawn


KILLER = "import os, time; time.sleep(3); os.kill({pid}, 9)"


@pytest.mark.slow
def test_ctrl_c_ends_the_watching_and_not_the_run(tmp_path):
    # Slow epochs: on a busy machine the run must not end before the watcher is told to.
    with launched(tmp_path, 1.0) as (child, folder):
        watcher = subprocess.Popen(
            [sys.executable, "-m", "hpo.cli.main", "watch", str(folder.path)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = watcher.stderr.readline()  # it is at work once it has said something
        assert "trial" in line
        watcher.send_signal(signal.SIGINT)
        said = watcher.communicate(timeout=20)[1]
        assert watcher.returncode == 130
        assert "the run goes on" in said and "Traceback" not in said
        assert child.poll() is None
        os.kill(child.pid, signal.SIGINT)
        until(lambda: child.poll() is not None)


def test_the_view_has_states_families_pace_and_running_curves(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    study, now = sample_run.STUDY, [0.0]
    director = Director(study, workers=2)
    progress = Progress(study, live=False, clock=lambda: now[0])
    progress._bar(director)
    now[0] = 30.0
    told = [e for e in sample_run.events() if e.event != "nondeterminism"]
    director = replayed(study, told)
    lines = [str(r) for r in progress._bar(director).renderables[1:]]
    assert lines == [
        "1 running, 3 completed, 1 converged, 1 stopped, 1 diverged, 1 failed, "
        "1 cancelled, 2 to come",
        "best rmse 0.97 mV (rnn, trial 1); 58 epochs a minute",
        "  rnn     0.97 mV  trial 1",
        "  linear  43.4 mV  trial 2",
        "  trial 9 rnn 2/8  █▁ 50 mV",
    ]


def replayed(study, events):
    """The sample counts a family's trials by their number; a ledger by their index."""
    counts, out = {}, []
    for event in events:
        if event.event == "proposed":
            family = event.data["family"]
            index = counts[family] = counts.get(family, -1) + 1
            data = {**event.data, "number": index}
            event = Event(event="proposed", trial=event.trial, data=data)
        out.append(event)
    return replay(study, out, workers=2)


def test_a_finished_run_is_shown_at_once(tmp_path):
    (tmp_path / "walk.py").write_text(sample_run.WALK)
    where = ("--results", tmp_path / "out")
    run("launch", tmp_path / "walk.py", "--trials", 1, *where)
    result = run("watch", *where)
    assert result.exit_code == 0 and "1 of 1 trials ended" in result.stdout
    assert result.stderr == ""


def test_mistakes(tmp_path):
    path = sample_run.write(tmp_path)
    refused(run("watch", "smaple", "--results", tmp_path), "`sample`")
    refused(run("watch", "--results", tmp_path / "nothing"), "no run under")
    ledger = path / "events.jsonl"
    ledger.write_text(ledger.read_text().replace('"trial": 1,', '"trial": "one",', 1))
    refused(run("watch", path), "events.jsonl, line 2")
