"""A ledger followed from another process while its driver appends to it."""

from __future__ import annotations

from pathlib import Path

from hpo.errors import RunError
from hpo.ledger.events import Event
from hpo.ledger.lines import UNREADABLE, read_event


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
            return read_event(line, self._lines)
        except UNREADABLE as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> RunError:
        return RunError(
            f"{self.path}, line {self._lines}: {why}",
            hint="a ledger is never edited by hand; restore it from a copy",
        )
