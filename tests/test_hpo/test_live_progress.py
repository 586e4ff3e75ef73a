"""The progress of a run at work, on a terminal and without one."""

from __future__ import annotations

import dataclasses
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpo.director import Director
from hpo.live.progress import Progress
from hpo.trials.states import ENDINGS
from tests.test_hpo import sample_run

ROOT = Path(__file__).parent.parent.parent
SLOW = sample_run.WALK.replace(
    '            yield {"rmse"',
    '            import time\n            time.sleep(0.1)\n            yield {"rmse"',
)


def play(progress, last=None):
    """The sample run as its driver tells it, up to the ending of a trial."""
    director = Director(sample_run.STUDY, workers=1)
    for event in sample_run.events():
        director.apply(event)
        progress.event(event, director)
        if event.trial == last and event.event in ENDINGS:
            break
    return director


def test_plain_lines_name_ending_value_and_best(capsys):
    play(Progress(sample_run.STUDY, live=False), last=5)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "[1/11] trial 1 rnn: completed after 8/8 epochs, rmse 0.97 mV (best so far)",
        "[2/11] trial 2 linear: completed after 1/1 epochs, rmse 43.4 mV",
        "[3/11] trial 3 rnn: stopped by asha after 2/8 epochs, rmse 80 mV",
        "[4/11] trial 4 rnn: diverged after 1/8 epochs",
        "[5/11] trial 5 rnn: failed after 0/8 epochs: ValueError: the window (250) is "
        "longer than every file",
    ]


def test_a_long_silence_is_broken_with_states_best_and_time_left(capsys):
    now = [0.0]
    progress = Progress(sample_run.STUDY, live=False, clock=lambda: now[0])
    director = play(progress, last=1)
    capsys.readouterr()
    progress.tick(director)
    assert capsys.readouterr().err == ""
    now[0] = 31.0
    progress.tick(director)
    line = capsys.readouterr().err.strip()
    # no epoch of the other family yet
    assert line == (
        "1 completed, 10 to come; best rmse 0.97 mV (rnn, trial 1); time left unknown"
    )


def test_a_time_budget_bounds_the_time_left(capsys):
    budget = dataclasses.replace(sample_run.STUDY.budget, seconds=100.0)
    study = sample_run.STUDY.replace(budget=budget)
    now = [0.0]
    progress = Progress(study, live=False, clock=lambda: now[0])
    director = play(progress, last=1)  # at second 9
    now[0] = 40.0
    progress.tick(director)
    assert "1 min 31 s to the limit" in capsys.readouterr().err


def on_a_terminal(arguments, *, interrupt_after=None, then=None):
    """Run `hpo` with stderr on a terminal; its status, stdout, and what was drawn.

    Once `interrupt_after` was drawn, `then` is done, or else it is interrupted.
    """
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
            if then is None:
                child.send_signal(signal.SIGINT)
            else:
                then()
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
