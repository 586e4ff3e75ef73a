"""The lease of a run's one driver: who it is, renewed for as long as it lives.

A file lock holds between the processes of one machine, but not between hosts everywhere. So a
driver also keeps a small file beside the ledger, which it renews every two seconds; who comes
from another host watches it for a moment before taking a run over. Should both be at work after
all, the ledger's length tells the older one before it writes (`hpo.ledger.log`).
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BEAT = 2.0  # seconds between two renewals
SILENCE = 3.5 * BEAT  # after which a driver on another host counts as lost


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A driver's claim on a run.

    Attributes:
        host: Its machine.
        boot: When that was started, by a name of the kernel's; empty where there is none.
        nonce: Its own, of this one time at work.
        pid: Its process id there.
        beat: How often it was renewed.
    """

    host: str
    boot: str
    nonce: str
    pid: int
    beat: int = 0

    @classmethod
    def own(cls) -> Self:
        """A new one, of this process."""
        return cls(
            host=platform.node(),
            boot=boot_id(),
            nonce=secrets.token_hex(8),
            pid=os.getpid(),
        )

    @property
    def here(self) -> bool:
        """Whether it is of this machine, since its last start: then the file lock counts."""
        return (self.host, self.boot) == (platform.node(), boot_id())


def boot_id() -> str:
    """The kernel's name for this start of the machine; empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def read(path: Path) -> Lease | None:
    """The lease that lies there; None where there is none, or none that is whole.

    Args:
        path: ``RunFolder.lease_file``. It is opened each time: NFS then asks its server.
    """
    try:
        return Lease(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def alive(path: Path, *, seconds: float = SILENCE, poll: float = 0.2) -> bool:
    """Whether a lease is renewed while one watches it.

    Args:
        path: The file.
        seconds: How long to watch.
        poll: Seconds between two looks.
    """
    before = read(path)
    end = time.monotonic() + seconds
    while before is not None and time.monotonic() < end:
        time.sleep(poll)
        now = read(path)
        if now is None:
            return False
        if now != before:
            return True
    return False


@dataclass(frozen=True, kw_only=True)
class Request:
    """What somebody asks a driver for, from wherever the run's folder is seen.

    Attributes:
        nonce: The driver that is meant.
        host: From where.
        now: Whether to leave without finishing the epochs in progress.
    """

    nonce: str
    host: str
    now: bool = False

    def write(self, path: Path) -> None:
        """Put it where the driver looks.

        Raises:
            OSError: The folder cannot be written.
        """
        _replace(path, asdict(self))


class Keeper:
    """Renews a lease in a thread and hears requests; a context that takes it away at the end.

    Args:
        lease: The driver's own.
        path: Where it lies.
        requests: Where requests lie.
        hear: Is called, in that thread, with each request.
    """

    def __init__(
        self,
        lease: Lease,
        path: Path,
        *,
        requests: Path,
        hear: Callable[[Request], None],
    ) -> None:
        self._lease, self._path, self._requests = lease, path, requests
        self._hear = hear
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Self:
        """Begin; requests to drivers of before are dropped."""
        with contextlib.suppress(OSError):
            self._requests.unlink(missing_ok=True)
        self._renew(0)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the lease away, where it is still this driver's."""
        self._over.set()
        self._thread.join()
        found = read(self._path)
        if found is not None and found.nonce == self._lease.nonce:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _keep(self) -> None:
        beat = 0
        while not self._over.wait(BEAT):
            beat += 1
            found = read(self._path)
            if found is not None and found.nonce != self._lease.nonce:
                continue  # somebody took the run over: the ledger says so
            self._renew(beat)
            self._look()

    def _renew(self, beat: int) -> None:
        with contextlib.suppress(OSError):  # a full disk is told where it matters
            _replace(self._path, {**asdict(self._lease), "beat": beat})

    def _look(self) -> None:
        try:
            request = Request(**json.loads(self._requests.read_text()))
            self._requests.unlink(missing_ok=True)
        except (OSError, ValueError, TypeError):
            return
        if request.nonce == self._lease.nonce:
            self._hear(request)


def _replace(path: Path, record: dict[str, Any]) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(record))
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
