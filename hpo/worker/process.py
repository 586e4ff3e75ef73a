"""One child process that trains and evaluates, and dies with its parent.

It is started as ``python -m hpo.worker.process``, not by `multiprocessing`: the driver may be a
script without a main guard, a notebook or pytest, and must not be imported again.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hpo.worker.assignment import Assignment, Report
from hpo.worker.environment import compose
from hpo.worker.evaluation import Evaluation, begin
from hpo.worker.session import Session

_PR_SET_PDEATHSIG = 1
_PATIENCE = 5.0  # seconds a child gets to save and leave before it is killed


class ChildDied(Exception):
    """The child process is gone; the text says how it ended."""


class Child:
    """The driver's handle on a child process.

    Args:
        environment: Variables to set on top of the driver's own.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "hpo.worker.process"),
                    *(str(theirs.fileno()), str(os.getpid())),
                ],
                env=compose(environment),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in the terminal is for the driver alone
            )
        self._connection = Connection(ours.detach())
        self._leaving = False

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def fileno(self) -> int:
        """For `multiprocessing.connection.wait`: readable when a report is there."""
        return self._connection.fileno()

    def assign(self, assignment: Assignment) -> None:
        """Give the child an attempt to train; it ends the one before.

        Raises:
            ChildDied: It is gone.
        """
        self._send(("assign", assignment))

    def step(self) -> None:
        """Ask for the next report; `poll` fetches it.

        Raises:
            ChildDied: It is gone.
        """
        self._send(("step", None))

    def poll(self, timeout: float) -> Report | None:
        """Wait at most `timeout` seconds for a report.

        Raises:
            ChildDied: It is gone.
        """
        try:
            if not self._connection.poll(timeout):
                return None
            report: Report = self._connection.recv()
        except (EOFError, OSError) as error:
            raise ChildDied(self._obituary()) from error
        return report

    def end(self) -> None:
        """Let it end the attempt, which saves it; then `poll` has nothing to give, but is due.

        Raises:
            ChildDied: It is gone.
        """
        self._send(("end", None))

    def leave(self) -> None:
        """Tell it to save and leave; `close` waits for that."""
        if not self._leaving:
            self._leaving = True
            with suppress(ChildDied):
                self._send(("exit", None))

    def close(self) -> None:
        """Let it save and leave; kill it if it takes too long."""
        self.leave()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
        self._connection.close()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def _send(self, message: tuple[str, Any]) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise ChildDied(self._obituary()) from error

    def _obituary(self) -> str:
        try:
            status = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            return "the worker process stopped answering"
        if status < 0:
            with suppress(ValueError):
                return (
                    f"the worker process was killed by {signal.Signals(-status).name}"
                )
        return f"the worker process ended with exit status {status}"


def redirect(log: Path) -> None:
    """Send this process's stdout and stderr, C libraries included, to the end of a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def die_with(parent: int) -> None:
    """Make this process end when its parent does, however that ends.

    Args:
        parent: The parent's process id, known beforehand: it may be dead already.
    """
    if sys.platform == "linux":  # at once, even while the interpreter is busy
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    watch(parent)


def watch(parent: int) -> None:
    """End this process soon after its parent is another one than `parent`.

    Args:
        parent: The parent's process id, known beforehand.
    """

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def serve(connection: Connection) -> None:
    """Train what comes in until told to leave or the driver is gone.

    Args:
        connection: The other end of the driver's `Child`.
    """
    session: Session | Evaluation | None = None
    while True:
        try:
            verb, assignment = connection.recv()
        except (EOFError, OSError):
            return
        if verb == "step":
            assert session is not None, "a step before an assignment"
            connection.send(session.step())
            continue
        if session is not None:
            session.close()
            session = None
        if verb == "exit":
            return
        if verb == "end":
            connection.send(None)
            continue
        with suppress(OSError):  # a full disk must not cost the log its trial
            redirect(assignment.folder / "log.txt")
        session = begin(assignment)


def main() -> None:
    """Entry of the child process: the socket's number and the parent's process id."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    die_with(parent)
    serve(Connection(descriptor))
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)  # threads of user code must not keep the process


if __name__ == "__main__":
    main()
