"""The driver of a run, seen from another process: who it is, and asking it to finish.

A driver writes its process id and host into the ledger's `run` event and keeps the run's lock
file open while it is at work. A process is only believed to be the driver when both agree, so
that a number which the system has given to another program since is never signalled. One on
another host is asked by a file beside its lease.
"""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.errors import RunError
from hpo.ledger import lease
from hpo.ledger.events import RunEvent
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import events_of

STOP_FILE = ".stopping"  # there while a driver is finishing
_POLL = 0.05
_HEARD = 5.0  # seconds within which a driver reacts to a signal


def identity(own: lease.Lease | None = None) -> dict[str, Any]:
    """The fields by which a driver can be found again, written into its `run` event.

    Args:
        own: Its lease; None for a new one.
    """
    mine = own or lease.Lease.own()
    return {
        "pid": mine.pid,
        "host": mine.host,
        "boot": mine.boot,
        "nonce": mine.nonce,
    }


@dataclass(frozen=True, kw_only=True)
class Driver:
    """A process that is at work on a run.

    Attributes:
        pid: Its process id.
        folder: The run.
    """

    pid: int
    folder: RunFolder

    @property
    def working(self) -> bool:
        """Whether it still holds the run."""
        return _holds(self.pid, self.folder.lock_file)

    def stop(
        self,
        *,
        now: bool,
        timeout: float,
        tell: Callable[[str], None],
    ) -> None:
        """Ask it to finish and wait until it has let the run go.

        A driver that was asked before is not signalled again (that would cut its epochs
        short) unless `now`.

        Args:
            now: Do not let it finish the epochs in progress.
            timeout: Seconds to wait.
            tell: Is told what is done.

        Raises:
            RunError: The process belongs to somebody else, or is still at work after the
                timeout.
        """
        asked = self.folder.path / STOP_FILE
        if not asked.exists():
            self._signal()
            tell(f"asked process {self.pid} to finish the epochs in progress")
        else:
            tell(f"process {self.pid} is finishing the epochs in progress")
        if now and self._wait(_HEARD, asked.exists):
            self._signal()
            tell("asked it to leave at once")
        if not self._wait(timeout, lambda: False):
            return
        raise RunError(
            f"process {self.pid} is still at work after {timeout:g} s",
            hint="it was asked and goes on finishing; `hpo stop --now` makes it leave "
            "at once, the epochs in progress are then trained again",
        )

    def _wait(self, seconds: float, seen: Callable[[], bool]) -> bool:
        """Whether it is still at work once `seen`, or after so many seconds."""
        end = time.monotonic() + seconds
        while self.working:
            if seen() or time.monotonic() >= end:
                return True
            time.sleep(_POLL)
        return False

    def _signal(self) -> None:
        try:
            os.kill(self.pid, signal.SIGINT)
        except ProcessLookupError:
            return  # it has just ended
        except PermissionError as error:
            raise RunError(
                f"process {self.pid} belongs to somebody else",
                hint="ask its owner to stop the run",
            ) from error


@dataclass(frozen=True, kw_only=True)
class DistantDriver:
    """A driver on another host, or in another container of this one.

    Attributes:
        lease: Its lease when it was found.
        folder: The run.
    """

    lease: lease.Lease
    folder: RunFolder

    def stop(
        self,
        *,
        now: bool,
        timeout: float,
        tell: Callable[[str], None],
    ) -> None:
        """Ask it to finish and wait until it has let the run go.

        Args:
            now: Do not let it finish the epochs in progress.
            timeout: Seconds to wait.
            tell: Is told what is done.

        Raises:
            RunError: It is silent, or still at work after the timeout, or nothing can be
                written into the run's folder.
        """
        whose = f"the driver on host `{self.lease.host}` (process {self.lease.pid})"
        if not lease.alive(self.folder.lease_file):
            if lease.read(self.folder.lease_file) is None:
                return  # it has just ended
            raise RunError(
                f"{whose} is silent: it is lost, or cannot write to {self.folder.path}",
                hint="`hpo resume` takes the run over, from any host",
            )
        self._ask(now=False)
        tell(f"asked {whose} to finish the epochs in progress")
        end = time.monotonic() + timeout
        leaves_at = time.monotonic() + 2 * lease.BEAT if now else end
        while self._at_work():
            if time.monotonic() >= end:
                raise RunError(
                    f"{whose} is still at work after {timeout:g} s",
                    hint="it was asked and goes on finishing; `hpo stop --now` makes it "
                    "leave at once, the epochs in progress are then trained again",
                )
            if time.monotonic() >= leaves_at:
                leaves_at = end
                self._ask(now=True)
                tell("asked it to leave at once")
            time.sleep(0.2)

    def _at_work(self) -> bool:
        found = lease.read(self.folder.lease_file)
        return found is not None and found.nonce == self.lease.nonce

    def _ask(self, *, now: bool) -> None:
        request = lease.Request(nonce=self.lease.nonce, host=platform.node(), now=now)
        try:
            request.write(self.folder.request_file)
        except OSError as error:
            raise RunError(
                f"cannot write to {self.folder.path}: {error.strerror}",
                hint=f"go to `{self.lease.host}` and stop it there",
            ) from error


def find_driver(folder: RunFolder) -> Driver | DistantDriver | None:
    """The driver at work on a run; None when nobody holds the run.

    Raises:
        RunError: Somebody holds the run who cannot be told: a driver that is only starting,
            or one on another machine that left no lease.
    """
    found = lease.read(folder.lease_file)
    if found is not None and not found.here:
        return DistantDriver(lease=found, folder=folder)
    run = _latest(folder)
    here = run.get("host") == platform.node()
    pid = run.get("pid")
    if here and isinstance(pid, int) and _holds(pid, folder.lock_file):
        return Driver(pid=pid, folder=folder)
    if not folder.held():
        return None
    if run.get("host") and not here:
        raise RunError(
            f"the driver of run `{folder.name}` is on another machine, `{run['host']}`",
            hint=f"go to `{run['host']}`",
        )
    raise RunError(
        f"run `{folder.name}` is held by a process that is not its driver",
        hint="a launch, a resume or a re-run is only starting or ending: wait a moment, or "
        "press Ctrl-C in its terminal",
    )


def _latest(folder: RunFolder) -> dict[str, Any]:
    """The fields that the latest launch or resume wrote of itself."""
    if not folder.events_file.exists():
        folder.read_study()  # says so where this is no run
        return {}
    runs = reversed(events_of(folder.events_file, RunEvent))
    return next((e.details() for e in runs if e.action != "finish"), {})


def _holds(pid: int, lock: Path) -> bool:
    """Whether that process has the lock file open."""
    import psutil

    try:
        inode = lock.stat()
        opened = psutil.Process(pid).open_files()
    except (OSError, psutil.Error):
        return False
    return any(_same(Path(f.path), inode) for f in opened)


def _same(path: Path, inode: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), inode)
    except OSError:
        return False
