"""A ledger followed from another process while its driver appends to it."""

from __future__ import annotations

from pathlib import Path

from hpo.errors import RunError
from hpo.ledger.events import Event


class Tail:
    """Reads a ledger's new events; never the line that is still being written.

    Args:
        path: The file; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._lines = 0

    def read(self) -> list[Event]:
        """The events whose lines were completed since the last call.

        Raises:
            RunError: The file cannot be read, or a line of it is damaged.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                fresh = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"cannot read {self.path}: {error.strerror}") from error
        whole = fresh[: fresh.rfind(b"\n") + 1]
        events = [self._event(line) for line in whole.splitlines()]
        self._offset += len(whole)
        return events

    def _event(self, line: bytes) -> Event:
        self._lines += 1
        try:
            event = Event.from_line(line.decode())
        except (ValueError, TypeError, RecursionError) as error:
            raise self._damaged(str(error)) from error
        if event.n != self._lines:
            raise self._damaged(
                f"events are numbered in order; `n` is {event.n!r} here"
            )
        return event

    def _damaged(self, why: str) -> RunError:
        return RunError(
            f"{self.path}, line {self._lines}: {why}",
            hint="a ledger is never edited by hand; restore it from a copy",
        )
