"""A ledger followed from another process while its driver appends to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hpo.errors import RunError
from hpo.ledger.events import Event
from hpo.ledger.lines import UNREADABLE, read_event
from hpo.ledger.log import damaged

_BATCH = 1 << 20  # bytes that are read at a time


class Tail:
    """Reads a ledger's new events; never the line that is still being written.

    Args:
        path: The file; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._lines = 0

    def read(self) -> Iterator[Event]:
        """The events whose lines were completed since the last call, one after the other.

        Raises:
            RunError: The file cannot be read, or a line of it is damaged.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                while lines := file.readlines(_BATCH):
                    for line in lines:
                        if not line.endswith(b"\n"):
                            return  # it is still being written
                        self._offset += len(line)
                        yield self._event(line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunError(f"cannot read {self.path}: {error.strerror}") from error

    def _event(self, line: bytes) -> Event:
        self._lines += 1
        try:
            return read_event(line, self._lines)
        except UNREADABLE as error:
            raise damaged(self.path, self._lines, error) from error
