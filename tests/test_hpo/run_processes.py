"""Starting, killing and counting the processes of a driver under test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def start(results, **options):
    """A driver in a process group of its own, as a terminal would start it."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
        "HPO_TEST_MARK": mark,
    }
    process = subprocess.Popen(
        [
            sys.executable,
            str(HERE / "run_helpers.py"),
            str(results),
            json.dumps(options),
        ],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    process.mark = mark
    _started.append(process)
    return process


_started = []


def end_all():
    """Leave nothing behind, whatever a test ended with."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            process.kill()
            for orphan in descendants(process.mark):
                orphan.kill()
        process.communicate()


def finish(process, timeout=120):
    out, err = process.communicate(timeout=timeout)
    return out, err


def outcome(process, timeout=120):
    """The driver's last line, decoded; fails with its stderr."""
    out, err = finish(process, timeout)
    assert process.returncode == 0, (process.returncode, out, err)
    return json.loads(out.strip().splitlines()[-1])


def interrupted(results, after, **options):
    """The words of a driver that got Ctrl-C after so many lines of its ledger."""
    driver = start(results, **options)
    wait_until(lambda: lines(results) >= after, 60)
    interrupt(driver)
    answer = outcome(driver)
    assert answer["state"] == "interrupted"
    assert not descendants(driver.mark)
    return answer


def descendants(mark):
    """Every living process that was started under this driver, orphans included."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            marked = process.environ().get("HPO_TEST_MARK") == mark
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def is_worker(process):
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return False
    if "Agent" in line:  # Ray's own `ray::DashboardAgent`: idle, ends a minute later
        return False
    return "hpo.worker.process" in line or "ray::" in line or "default_worker" in line


def wait_until(condition, timeout, step=0.05):
    """How long it took until the condition held; fails when it does not."""
    begin = time.monotonic()
    while time.monotonic() - begin < timeout:
        if condition():
            return time.monotonic() - begin
        time.sleep(step)
    raise AssertionError(f"not within {timeout} s")


def run_folder(results):
    folders = list(Path(results).glob("*/*/events.jsonl"))
    return folders[0].parent if folders else None


def lines(results):
    folder = run_folder(results)
    return (folder / "events.jsonl").read_text().count("\n") if folder else 0


def trained(folder):
    """How many epochs were really trained, by trial."""
    return {
        int(path.parent.name): [
            int(line.split()[0]) for line in path.read_text().splitlines()
        ]
        for path in Path(folder).glob("trials/*/trained.txt")
    }


def trained_in(results):
    """Likewise, of the one run among results; nothing before it is there."""
    folder = run_folder(results)
    return trained(folder) if folder else {}


def interrupt(process):
    """Ctrl-C in the terminal: the whole process group hears it."""
    os.killpg(process.pid, signal.SIGINT)
