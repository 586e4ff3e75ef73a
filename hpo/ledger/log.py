"""The append-only event log of a run: written, flushed, and only then acted on.

One line an event, ``n`` counting from 1, so that an event's ``n`` is its line number. A line
that the driver could not finish (the last one, without its newline) is cut when the ledger
is opened for writing; any other damage is refused and nothing on disk is changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from hpo.errors import RunError
from hpo.ledger.events import ENDINGS, KINDS, Event

SYNCED = frozenset((*ENDINGS, "started", "interrupted", "paused", "run"))
SYNC_SECONDS = 1.0
_UNREADABLE = (ValueError, TypeError, RecursionError, OverflowError)
_OF_RUN = frozenset(("run", "rerun", "test_read", "note"))


class Ledger:
    """A run's events on disk; made by `open`.

    Attributes:
        path: The file.
        events: Every event in it, in order.
        torn: What was cut from its end on opening, in words, or None.
    """

    def __init__(
        self,
        *,
        path: Path,
        events: list[Event],
        torn: str | None,
        descriptor: int | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.events = events
        self.torn = torn
        self._descriptor = descriptor
        self._clock = clock
        self._size = os.fstat(descriptor).st_size if descriptor is not None else 0
        self._synced = time.monotonic()
        self._dirty = False

    @classmethod
    def open(cls, path: Path, *, write: bool) -> Self:
        """Read a ledger, and keep it open for appending when `write`.

        Args:
            path: Usually ``RunFolder.events_file``; made when it is not there and `write`.
            write: Whether events will be appended. A torn last line is then cut from the
                file and the cut is recorded as a `note`.

        Raises:
            RunError: The file is missing, damaged, or cannot be written.
        """
        if not write:
            events, torn = read_events(path)
            return cls(path=path, events=events, torn=torn, descriptor=None)
        new = not path.exists()
        events, good, torn = ([], 0, None) if new else _parse(path)
        with _explained(path, "write"):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o644)
        try:
            with _explained(path, "write"):
                _mend(descriptor, good)
                if new:
                    _sync_folder(path.parent)
            ledger = cls(path=path, events=events, torn=torn, descriptor=descriptor)
            if torn is not None:
                elapsed = events[-1].elapsed if events else 0.0
                ledger.append(Event(event="note", elapsed=elapsed, data={"text": torn}))
                ledger.sync()
        except BaseException:
            os.close(descriptor)
            raise
        return ledger

    def append(self, event: Event) -> Event:
        """Write one event; when this returns, it is on its way to the disk.

        Starts, stops and endings are synced before returning, everything else at least
        once a second (call `sync` while nothing happens).

        Args:
            event: What happened; its `n` and `time` are stamped here.

        Returns:
            The event as a later reader of the file will see it: act on this one.

        Raises:
            RunError: The disk is full or the file cannot be written. The ledger is then as
                it was before.
        """
        assert self._descriptor is not None, "the ledger was not opened for writing"
        stamped = dataclasses.replace(
            event, n=len(self.events) + 1, time=self._clock(), elapsed=event.elapsed
        )
        line = stamped.to_line()
        written = Event.from_line(line)
        payload = line.encode()
        try:
            _write(self._descriptor, payload)
            self._dirty = True
            if event.event in SYNCED or self._due():
                self._sync()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise _error(self.path, "write", error) from error
        self._size += len(payload)
        self.events.append(written)
        return written

    def sync(self) -> None:
        """Make sure that everything appended is on the disk; cheap when it is.

        Raises:
            RunError: The disk refused it.
        """
        if self._dirty:
            with _explained(self.path, "write"):
                self._sync()

    def close(self) -> None:
        """Sync and close; closing twice is fine."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            try:
                with _explained(self.path, "write"):
                    os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def __enter__(self) -> Self:
        """The ledger itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _due(self) -> bool:
        return time.monotonic() - self._synced >= SYNC_SECONDS

    def _sync(self) -> None:
        assert self._descriptor is not None
        os.fdatasync(self._descriptor)
        self._synced = time.monotonic()
        self._dirty = False


def read_events(path: Path) -> tuple[list[Event], str | None]:
    """Every event of a ledger, without touching the file.

    Args:
        path: The file; another process may be appending to it.

    Returns:
        The events, and a sentence about a torn last line (None when there is none).

    Raises:
        RunError: The file is missing, unreadable, or a line is damaged.
    """
    events, _, torn = _parse(path)
    return events, torn


def _parse(path: Path) -> tuple[list[Event], int, str | None]:
    """Events, how many bytes hold them, and what is torn behind those."""
    events: list[Event] = []
    good = 0
    with _explained(path, "read"), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                events.append(_event(line.removesuffix(b"\n"), number))
            except _UNREADABLE as error:
                if not line.endswith(b"\n"):  # the last one, its writer was killed
                    text = f"the last line was torn after {len(line)} bytes"
                    return events, good, f"{text} and is left out"
                raise RunError(
                    f"{path}, line {number}: {error or type(error).__name__}",
                    hint="a ledger is never edited by hand; restore that line from a copy,"
                    f" or keep lines 1 to {number - 1} of it and resume from there",
                ) from error
            good += len(line)  # the last one may lack its newline: an editor's doing
    return events, good, None


def _event(line: bytes, number: int) -> Event:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError("a line must be UTF-8 text") from error
    try:
        event = Event.from_line(text)
    except ValueError as error:
        raise ValueError(f"a line must hold one whole event ({error})") from error
    if not _natural(event.n) or event.n != number:
        raise ValueError(f"events are numbered in order; `n` is {event.n!r} here")
    _check(event)
    return event


def _natural(value: Any, low: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _number(value: Any) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, float)


def _metrics(value: Any) -> bool:
    return isinstance(value, dict) and all(_number(v) for v in value.values())


_SHAPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "epoch": ("an integer from 0 up", _natural),
    "number": ("an integer from 0 up", _natural),
    "seed": ("an integer from 0 up", _natural),
    "donor": ("an integer from 1 up", lambda v: _natural(v, 1)),
    "seconds": ("a number", _number),
    "compile_seconds": ("a number", _number),
    "first": ("a number or null", lambda v: v is None or _number(v)),
    "second": ("a number or null", lambda v: v is None or _number(v)),
    "train": ("numbers by name", _metrics),
    "valid": ("numbers by name", _metrics),
    "params": ("values by name", lambda v: isinstance(v, dict)),
    **{
        key: ("text", lambda v: isinstance(v, str))
        for key in ("family", "rule", "reason", "text", "action", "metric", "purpose")
    },
}


def _check(event: Event) -> None:
    """Refuse values of a wrong type, which only an edited file can hold."""
    for name, value in (("time", event.time), ("elapsed", event.elapsed)):
        if not _number(value) or not math.isfinite(value):
            raise ValueError(f"`{name}` must be a finite number, got {value!r}")
    for name, which in (("trial", event.trial), ("attempt", event.attempt)):
        free = name == "attempt" or event.event in _OF_RUN
        if not (_natural(which, 1) or (free and which is None)):
            raise ValueError(f"`{name}` must be an integer from 1 up, got {which!r}")
    for key in KINDS[event.event]:
        if key in _SHAPES and not _SHAPES[key][1](event.data[key]):
            raise ValueError(
                f"`{key}` must be {_SHAPES[key][0]}, got {event.data[key]!r}"
            )


def _write(descriptor: int, payload: bytes) -> None:
    while payload:
        payload = payload[os.write(descriptor, payload) :]


def _mend(descriptor: int, good: int) -> None:
    """Cut what lies behind the good bytes and end them with a newline."""
    if os.fstat(descriptor).st_size > good:
        os.ftruncate(descriptor, good)
    if good and os.pread(descriptor, 1, good - 1) != b"\n":
        _write(descriptor, b"\n")
    os.fdatasync(descriptor)


def _sync_folder(path: Path) -> None:
    """Make a new file's name last, too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_REMEDIES = {
    errno.ENOSPC: "free some disk space; `hpo resume` then goes on where it stopped",
    errno.EDQUOT: "your disk quota is used up; free some space, then `hpo resume`",
    errno.EFBIG: "the file size limit is reached (`ulimit -f`); raise it, then resume",
    errno.EROFS: "the file system is read-only; choose another `--results` folder",
    errno.EACCES: "check the folder's permissions or choose another `--results` folder",
    errno.EPERM: "check the folder's permissions or choose another `--results` folder",
    errno.ENOENT: "check the path; `hpo list runs` shows what there is",
}


def _error(path: Path, verb: str, error: OSError) -> RunError:
    reason = error.strerror or str(error)
    hint = _REMEDIES.get(error.errno or 0, "check the disk, then try again")
    return RunError(f"cannot {verb} {path}: {reason}", hint=hint)


@contextlib.contextmanager
def _explained(path: Path, verb: str) -> Iterator[None]:
    """Turn an operating system's refusal into a message for a person."""
    try:
        yield
    except OSError as error:
        raise _error(path, verb, error) from error
