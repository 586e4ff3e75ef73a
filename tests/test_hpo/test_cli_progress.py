"""What a person sees while a run is at work, on a terminal and without one."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from hpo.cli.progress import Progress
from hpo.ledger.events import Event
from tests.test_hpo import sample_run

ROOT = Path(__file__).parent.parent.parent
SLOW = sample_run.WALK.replace(
    '            yield {"rmse"',
    '            import time\n            time.sleep(0.1)\n            yield {"rmse"',
)


class Directed:
    """Stands for a Director: a few trials and an elapsed time."""

    total = 11

    def __init__(self, *trials, elapsed=0.0):
        self.trials = {t.number: t for t in trials}
        self.elapsed = elapsed

    def counts(self):
        states = [t.state for t in self.trials.values()]
        return {s: states.count(s) for s in states}

    def best(self):
        ranked = [t for t in self.trials.values() if t.state == "completed"]
        return min(ranked, key=lambda t: t.value, default=None)


def trial(number, state, last, value=None, **more):
    plain = {"family": "rnn", "budget": 8, "rule": "", "reason": "", "ended": True}
    return SimpleNamespace(
        number=number, state=state, last=last, value=value, **{**plain, **more}
    )


def test_plain_lines_name_ending_value_and_best(capsys):
    clock = iter(float(i) for i in range(0, 10_000, 20))
    progress = Progress(sample_run.STUDY, live=False, clock=lambda: next(clock))
    first = trial(1, "completed", 8, 0.00097)
    second = trial(2, "stopped", 2, 0.08, rule="asha")
    third = trial(3, "failed", 0, reason="ValueError: no")
    ending = {"completed": {"epoch": 8}, "stopped": {"epoch": 2, "rule": "asha"}}
    director = Directed(first)
    progress.event(
        Event(event="completed", trial=1, data=ending["completed"]), director
    )
    director = Directed(first, second)
    progress.event(Event(event="stopped", trial=2, data=ending["stopped"]), director)
    director = Directed(first, second, third)
    failed = Event(
        event="failed", trial=3, data={"epoch": 0, "reason": "ValueError: no"}
    )
    progress.event(failed, director)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "[1/11] trial 1 rnn: completed after 8/8 epochs, rmse 0.97 mV (best so far)",
        "[2/11] trial 2 rnn: stopped by asha after 2/8 epochs, rmse 80 mV",
        "[3/11] trial 3 rnn: failed after 0/8 epochs: ValueError: no",
    ]


def test_a_long_silence_is_broken_with_states_best_and_time_left(capsys):
    now = [0.0]
    progress = Progress(sample_run.STUDY, live=False, clock=lambda: now[0])
    done = [trial(i, "completed", 8, 0.001 * i) for i in (1, 2)]
    progress.tick(Directed(*done[:1]))
    assert capsys.readouterr().err == ""
    now[0] = 31.0
    progress.tick(Directed(*done[:1]))
    capsys.readouterr()
    now[0] = 62.0  # one more of eleven trials in 62 s: nine to go
    progress.tick(Directed(*done))
    line = capsys.readouterr().err.strip()
    assert line == (
        "2 completed, 9 to come; best rmse 1 mV (rnn, trial 1); about 9 min 18 s left"
    )


def test_a_time_budget_bounds_the_time_left(capsys):
    import dataclasses

    budget = dataclasses.replace(sample_run.STUDY.budget, seconds=100.0)
    now = [0.0]
    progress = Progress(
        sample_run.STUDY.replace(budget=budget), live=False, clock=lambda: now[0]
    )
    now[0] = 40.0
    progress.tick(Directed(trial(1, "running", 1, ended=False), elapsed=40.0))
    assert "about 1 min 00 s left" in capsys.readouterr().err


def on_a_terminal(arguments, *, interrupt_after=None):
    """Run `hpo` with stderr on a terminal; its status, stdout, and what was drawn."""
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "hpo.cli.main", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=slave,
    )
    os.close(slave)
    drawn = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not piece:
            break
        drawn += piece
        if interrupt_after and interrupt_after in drawn:
            interrupt_after = None
            child.send_signal(signal.SIGINT)
    out = child.stdout.read().decode()
    child.stdout.close()
    os.close(master)
    status = child.wait(60)
    return status, out, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_bar_on_stderr_and_the_table_on_stdout(tmp_path):
    study = tmp_path / "walk.py"
    study.write_text(SLOW)
    status, out, drawn = on_a_terminal(["launch", study, "--results", tmp_path / "out"])
    assert status == 0
    assert "5 of 5 trials ended" in out and "━" not in out
    assert "━" in drawn and "best rmse" in drawn and "1 running" in drawn


def test_ctrl_c_leaves_a_run_that_resume_finishes(tmp_path):
    study = tmp_path / "walk.py"
    study.write_text(SLOW)
    where = ["--results", tmp_path / "out"]
    status, out, drawn = on_a_terminal(
        ["launch", study, *where], interrupt_after=b"[1/5]"
    )
    assert status == 130
    assert "hpo resume" in drawn and "finishing" in drawn
    assert "interrupted at epoch" in out or "1 of 5 trials ended" in out
    begin = time.monotonic()
    status, out, drawn = on_a_terminal(["resume", "walks", *where])
    assert status == 0, drawn
    assert "5 of 5 trials ended" in out
    assert time.monotonic() - begin < 60
