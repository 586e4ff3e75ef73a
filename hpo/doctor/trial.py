"""A one-epoch trial through Ray, from the command line to the ranked table."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from hpo import packages
from hpo.doctor.finding import Finding
from hpo.errors import HpoError
from hpo.ledger.folder import RunFolder
from hpo.report.summary import load_summary
from hpo.worker.environment import compose, search_path

COMMAND = (
    *("launch", "quickstart", "--families", "rnn", "--trials", "1", "--epochs", "1"),
    *("--set", "data.batches=2", "--workers", "1", "--executor", "ray"),
)
_GRACE = 15.0  # seconds for a driver that was asked to stop


def trial(*, deadline: float, executor: str = "ray") -> Finding:
    """Launch one trial of one epoch in a folder that is thrown away.

    Args:
        deadline: Seconds after which it is ended.
        executor: ``ray``, or ``local`` for a machine that cannot have it.
    """
    name = f"a trial through {'Ray' if executor == 'ray' else executor}"
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="hpo-doctor-", ignore_cleanup_errors=True
    ) as place:
        log = Path(place) / "log.txt"
        study = packages.ours("studies") / "quickstart.py"  # not one of ./studies
        command = [COMMAND[0], str(study), *COMMAND[2:-1], executor]
        command += ["--results", str(Path(place) / "results"), "--address", "local"]
        with log.open("wb") as file:
            driver = subprocess.Popen(
                [sys.executable, "-P", "-m", "hpo.cli.main", *command],
                env=compose({"PYTHONPATH": search_path(), "NO_COLOR": "1"}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        try:
            driver.wait(deadline)
        except subprocess.TimeoutExpired:
            _end(driver)
            return Finding(
                check=name,
                status="error",
                found=f"not done within {deadline:g} s; last: {_last(log)}",
                remedy="see where it hangs: `hpo launch quickstart --workers 1`; give a "
                "slow machine more time with `--timeout`",
            )
        except BaseException:  # Ctrl-C: nothing is left behind
            _end(driver)
            raise
        seconds = time.monotonic() - begin
        return _verdict(name, driver.returncode, Path(place) / "results", log, seconds)


def _verdict(
    name: str, status: int, results: Path, log: Path, seconds: float
) -> Finding:
    try:
        rows = load_summary(RunFolder.find(results, "latest").path).rows
    except HpoError:
        rows = ()
    if status == 0 and [row.state for row in rows] == ["completed"]:
        found = f"1 epoch in {seconds:.1f} s, start and end included"
        return Finding(check=name, status="ok", found=found)
    return Finding(
        check=name,
        status="error",
        found=f"exit status {status}: {_last(log)}",
        remedy=f"`hpo --debug {' '.join(COMMAND)}` shows the whole error",
    )


def _end(driver: subprocess.Popen[bytes]) -> None:
    """Ask for an end as Ctrl-C does, then take one, of every process it has started."""
    family = _descendants(driver.pid)
    driver.send_signal(signal.SIGINT)
    try:
        driver.wait(_GRACE)
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait()
    for process in family:
        try:
            process.kill()  # psutil refuses where the number was given to another
        except psutil.Error:
            continue


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
    return found


def _last(log: Path) -> str:
    """The first error that it printed, or else its last line."""
    lines = log.read_text(errors="replace").strip().splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    return (told or lines or ["it printed nothing"])[-1].removeprefix("error: ")
