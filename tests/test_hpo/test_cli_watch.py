"""`hpo watch` beside a real driver, with a terminal and without one."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run
from tests.test_hpo.test_cli_stop import ROOT, launched, until
from tests.test_hpo.test_live_progress import on_a_terminal


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
        bar = "█".encode()  # a curve of two epochs or more
        status, out, drawn = on_a_terminal(
            ["watch", folder.path], interrupt_after=bar, then=child.kill
        )
        assert child.wait(5) == -signal.SIGKILL
    assert status == 0
    assert "trial 1 walk " in drawn and "epochs/min" in drawn and "idle" in drawn
    assert "running" in out and "hpo resume" in drawn
    assert "the run died: its driver is gone while a trial was running" in drawn


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


def test_a_finished_run_is_shown_at_once(tmp_path):
    (tmp_path / "walk.py").write_text(sample_run.WALK)
    where = ("--results", tmp_path / "out")
    run("launch", tmp_path / "walk.py", "--trials", 1, *where)
    result = run("watch", *where)
    assert result.exit_code == 0 and "1 of 1 trials ended" in result.stdout
    assert result.stderr == ""


READER = """
import sys
from typer.testing import CliRunner
from hpo.cli.main import app
from hpo.ledger.folder import RunFolder
run = sys.argv[1]
for _ in sys.stdin:
    print(RunFolder(run).held(), flush=True)
for command in ("watch", "results"):
    found = CliRunner().invoke(app, [command, run], prog_name="hpo")
    print(found.exit_code, found.stdout, found.stderr)
"""


# Root may write wherever it likes, unless it gives that right up.
ROOT_USER = hasattr(os, "geteuid") and os.geteuid() == 0
BOUND = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if ROOT_USER else ()


@pytest.mark.skipif(
    ROOT_USER and not shutil.which("setpriv"), reason="needs setpriv, being root"
)
def test_a_run_that_one_may_only_read_is_watched(tmp_path):
    """Somebody else's, or one on a read-only disk; whether it is at work is seen all the same."""
    path = sample_run.write(tmp_path)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    (path / ".lock").touch()
    (path / ".lock").chmod(0o444)
    path.chmod(0o555)
    with subprocess.Popen(
        [*BOUND, sys.executable, "-c", READER, str(path)],
        env=env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as reader:

        def answer():
            reader.stdin.write("?\n")
            reader.stdin.flush()
            return reader.stdout.readline().strip()

        try:
            assert answer() == "False"
            with (path / ".lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                assert answer() == "True"
            assert answer() == "False"
            said = reader.communicate(timeout=60)[0]
        finally:
            path.chmod(0o755)
            reader.kill()
    assert said.count("unfinished; `hpo resume") == 2, said
    assert "cannot write" not in said and "Traceback" not in said
    assert said.startswith("0 ")


def test_mistakes(tmp_path):
    path = sample_run.write(tmp_path)
    refused(run("watch", "smaple", "--results", tmp_path), "`sample`")
    refused(run("watch", "--results", tmp_path / "nothing"), "no run under")
    ledger = path / "events.jsonl"
    ledger.write_text(ledger.read_text().replace('"trial": 1,', '"trial": "one",', 1))
    refused(run("watch", path), "events.jsonl, line 2")
