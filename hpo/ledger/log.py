"""The append-only event log of a run: written, flushed, and only then acted on.

One line an event, ``n`` counting from 1, so that an event's ``n`` is its line number. A line
that the driver could not finish (the last one, without its newline) is cut when the ledger
is opened for writing; any other damage is refused and nothing on disk is changed.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from msgspec import structs

from hpo.errors import RunError, RunLocked
from hpo.ledger.events import (
    Ending,
    Event,
    Interrupted,
    Note,
    Paused,
    RunEvent,
    Started,
)
from hpo.ledger.lines import UNREADABLE, OtherSchema, from_line, read_event

SYNCED = (Ending, Started, Interrupted, Paused, RunEvent)
SYNC_SECONDS = 1.0
_BATCH = 1 << 20  # bytes of a ledger that are read at a time
Record = TypeVar("Record")
Kind = TypeVar("Kind", bound=Event)


class Ledger:
    """A run's events on disk; made by `open`.

    Attributes:
        path: The file.
        count: How many events it holds.
        elapsed: Active seconds of the run at its latest event; 0 without one.
        torn: What was cut from its end on opening, in words, or None.
        lag: Seconds that starts, stops and endings may wait for a sync. Above 0, what was
            acted on meanwhile can be missing after the machine (not this process) has died.
    """

    def __init__(
        self,
        *,
        path: Path,
        count: int,
        elapsed: float,
        torn: str | None,
        descriptor: int | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.count = count
        self.elapsed = elapsed
        self.torn = torn
        self._descriptor = descriptor
        self._clock = clock
        self._size = os.fstat(descriptor).st_size if descriptor is not None else 0
        self._synced = time.monotonic()
        self._dirty = False
        self._gathering = False
        self._waiting: float | None = None  # since when a start, stop or ending waits
        self.lag = 0.0

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        write: bool,
        told: Callable[[Event], None] | None = None,
    ) -> Self:
        """Read a ledger, and keep it open for appending when `write`.

        Args:
            path: Usually ``RunFolder.events_file``; made when it is not there and `write`.
            write: Whether events will be appended. A torn last line is then cut from the
                file and the cut is recorded as a `note`.
            told: Is told of every event, in order; the ledger itself keeps none. What it
                raises leaves the file as it was.

        Raises:
            RunError: The file is missing, damaged, or cannot be written.
        """
        new = write and not path.exists()
        reader, elapsed = Reader(path, read_event), 0.0
        with uncollected():
            for event in () if new else reader:
                elapsed = max(elapsed, event.elapsed)
                if told is not None:
                    told(event)
        about: dict[str, Any] = {
            "path": path,
            "count": reader.lines,
            "elapsed": elapsed,
        }
        if not write:
            return cls(**about, torn=reader.torn, descriptor=None)
        with explained(path, "write"):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o644)
        try:
            with explained(path, "write"):
                _mend(descriptor, reader.size)
                if new:
                    _sync_folder(path.parent)
            ledger = cls(**about, torn=reader.torn, descriptor=descriptor)
            if reader.torn is not None:
                note = ledger.append(Note(elapsed=elapsed, text=reader.torn))
                ledger.sync()
                if told is not None:
                    told(note)
        except BaseException:
            os.close(descriptor)
            raise
        return ledger

    def append(self, event: Kind) -> Kind:
        """Write one event; when this returns, it is on its way to the disk.

        Starts, stops and endings are synced before returning, or together at the end of
        `gathered`, or within `lag`; everything else at least once a second (call `sync_due`
        while nothing happens).

        Args:
            event: What happened; its `n` and `time` are stamped here.

        Returns:
            The event as a later reader of the file will see it: act on this one.

        Raises:
            RunLocked: Another driver has written to it; this one writes nothing any more.
            RunError: The disk is full or the file cannot be written. The ledger is then as
                it was before.
        """
        assert self._descriptor is not None, "the ledger was not opened for writing"
        self._refuse_second_writer()
        number = self.count + 1
        stamped = structs.replace(event, n=number, time=self._clock())
        payload = stamped.to_line().encode()
        written = read_event(payload, number)
        assert isinstance(written, type(event)), (
            "a line of one kind is read as that kind"
        )
        try:
            _write(self._descriptor, payload)
            self._dirty = True
            if isinstance(event, SYNCED) and self._waiting is None:
                self._waiting = time.monotonic()
            if not self._gathering and self._due():
                self._sync()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise _error(self.path, "write", error) from error
        self._size += len(payload)
        self.count += 1
        self.elapsed = max(self.elapsed, written.elapsed)
        return written

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """Sync what is appended inside once, at the end: act on it only then.

        Raises:
            RunError: The disk refused it.
        """
        assert not self._gathering, "gathered already"
        self._gathering = True
        try:
            yield
        finally:
            self._gathering = False
        self.sync_due()

    def sync_due(self) -> None:
        """Sync what has waited long enough.

        Raises:
            RunError: The disk refused it.
        """
        if self._dirty and self._due():
            self.sync()

    def _refuse_second_writer(self) -> None:
        """Whatever a lock is worth here: the file is as long as this one left it.

        It is opened anew, which lets NFS ask its server.
        """
        with explained(self.path, "write"):
            other = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                size = os.fstat(other).st_size
                if size == self._size:
                    return
                text = os.pread(other, 1 << 16, self._size)
            finally:
                os.close(other)
        who = [e for e in map(_taken, text.splitlines()) if e is not None]
        by = f" on host `{who[-1].host}` (process {who[-1].pid})" if who else ""
        raise RunLocked(
            f"another driver{by} has taken over {self.path.parent}: this one writes nothing "
            "any more",
            hint="`hpo watch` shows the run; one driver at a time works on it",
        )

    def sync(self) -> None:
        """Make sure that everything appended is on the disk; cheap when it is.

        Raises:
            RunError: The disk refused it.
        """
        if self._dirty:
            with explained(self.path, "write"):
                self._sync()

    def close(self) -> None:
        """Sync and close; closing twice is fine."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            try:
                with explained(self.path, "write"):
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
        now, waiting = time.monotonic(), self._waiting
        overdue = waiting is not None and now - waiting >= self.lag
        return overdue or now - self._synced >= SYNC_SECONDS

    def _sync(self) -> None:
        assert self._descriptor is not None
        os.fdatasync(self._descriptor)
        self._synced = time.monotonic()
        self._dirty, self._waiting = False, None


class Reader(Generic[Record]):
    """A ledger read line by line, without touching the file or keeping what it holds.

    Args:
        path: The file; another process may be appending to it.
        read: What makes a record of a line and its number.
        start: Bytes to skip, all of them whole lines.
        lines: How many lines these are.
        digest: A hash of these bytes, to be continued with every whole line.

    Attributes:
        size: How many bytes hold what was read so far.
        lines: How many lines these are.
        ended: Whether these end with a newline; only the very last line may lack it.
        torn: A sentence about a torn last line, once it is reached; else None.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[bytes, int], Record],
        *,
        start: int = 0,
        lines: int = 0,
        digest: hashlib._Hash | None = None,
    ) -> None:
        self.path = path
        self.size = start
        self.lines = lines
        self.ended = True
        self.torn: str | None = None
        self._read = read
        self._digest = digest

    def __iter__(self) -> Iterator[Record]:
        """Each record, in order; can be walked once.

        Raises:
            RunError: The file is missing, unreadable, or a line is damaged.
        """
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[Record]]:
        """The same, many at a time; `size` and `lines` include what was just given.

        A last line that lacks its newline comes in a batch of its own.

        Raises:
            RunError: The file is missing, unreadable, or a line is damaged.
        """
        with explained(self.path, "read"), self.path.open("rb") as file:
            file.seek(self.size)
            while lines := file.readlines(_BATCH):
                last = [] if lines[-1].endswith(b"\n") else [lines.pop()]
                for group in filter(None, (lines, last)):
                    if (records := self._records(group)) is None:
                        return
                    self.size += sum(map(len, group))
                    self.lines += len(group)
                    self.ended = group is lines
                    if self.ended and self._digest is not None:
                        self._digest.update(b"".join(group))
                    yield records

    def _records(self, lines: list[bytes]) -> list[Record] | None:
        """The events of the lines; None for a torn one, which can only come alone."""
        read, number, records = self._read, self.lines, []
        try:
            for line in lines:
                number += 1
                records.append(read(line, number))
        except UNREADABLE as error:
            if not line.endswith(b"\n"):  # the last one, its writer was killed
                text = f"the last line was torn after {len(line)} bytes"
                self.torn = f"{text} and is left out"
                return None
            raise damaged(self.path, number, error) from error
        return records


def damaged(path: Path, number: int, error: Exception) -> RunError:
    """The message for a person on a line that cannot be read.

    Args:
        path: The ledger.
        number: The line's number.
        error: One of `UNREADABLE`.
    """
    hint = (
        "a ledger is never edited by hand; restore that line from a copy,"
        f" or keep lines 1 to {number - 1} of it and resume from there"
    )
    if isinstance(error, OtherSchema):
        hint = "a newer version of this project wrote it; update this one"
    text = str(error) or type(error).__name__
    return RunError(f"{path}, line {number}: {text}", hint=hint)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keep the cyclic garbage collector out of where very much is made and all of it kept.

    It would look through all of a long run again and again, and find nothing.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def read_events(path: Path) -> tuple[list[Event], str | None]:
    """Every event of a ledger, without touching the file.

    Args:
        path: The file; another process may be appending to it.

    Returns:
        The events, and a sentence about a torn last line (None when there is none).

    Raises:
        RunError: The file is missing, unreadable, or a line is damaged.
    """
    reader = Reader(path, read_event)
    with uncollected():
        return list(reader), reader.torn


def events_of(path: Path, kind: type[Kind]) -> list[Kind]:
    """The events of one kind alone, for which no other line is decoded or checked.

    Args:
        path: The file; another process may be appending to it.
        kind: Its class.

    Raises:
        RunError: The file is missing or unreadable, or one of those lines is damaged.
    """
    mark = json.dumps(kind.__struct_config__.tag).encode()

    def read(line: bytes, number: int) -> Event | None:
        return read_event(line, number) if mark in line else None

    return [event for event in Reader(path, read) if isinstance(event, kind)]


def _taken(line: bytes) -> RunEvent | None:
    """The event of a driver that took up the run; None for every other line."""
    try:
        event = from_line(line)
    except UNREADABLE:
        return None
    taken = isinstance(event, RunEvent) and event.action != "finish"
    return event if isinstance(event, RunEvent) and taken else None


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
def explained(path: Path, verb: str) -> Iterator[None]:
    """Turn an operating system's refusal into a message for a person."""
    try:
        yield
    except OSError as error:
        raise _error(path, verb, error) from error
