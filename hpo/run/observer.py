"""Watching a run: what a live display sees. An observer can never break the run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hpo.director import Director
    from hpo.ledger.events import Event

_log = logging.getLogger(__name__)


class Observer(Protocol):
    """Is told what happens in a run, in the driver's main thread."""

    def recall(self, event: Event, director: Director) -> None:
        """An event that the ledger held before this driver began, applied; all come first."""
        ...

    def event(self, event: Event, director: Director) -> None:
        """An event was written and applied."""
        ...

    def tick(self, director: Director) -> None:
        """Time passes: called several times a second, for redrawing."""
        ...

    def message(self, text: str) -> None:
        """Something a person should read now, such as ``starting Ray``."""
        ...


class Silent:
    """An observer that does nothing."""

    def recall(self, event: Event, director: Director) -> None:
        """Ignore what was."""

    def event(self, event: Event, director: Director) -> None:
        """Ignore the event."""

    def tick(self, director: Director) -> None:
        """Ignore the time."""

    def message(self, text: str) -> None:
        """Ignore the text."""


class Guarded:
    """Passes everything on to another observer until that one raises, then goes silent.

    Args:
        observer: The observer to protect the run from.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer: Observer = observer

    def recall(self, event: Event, director: Director) -> None:
        """Pass an event of before on."""
        try:
            self._observer.recall(event, director)
        except Exception:
            self._silence()

    def event(self, event: Event, director: Director) -> None:
        """Pass an event on."""
        try:
            self._observer.event(event, director)
        except Exception:
            self._silence()

    def tick(self, director: Director) -> None:
        """Pass a moment on."""
        try:
            self._observer.tick(director)
        except Exception:
            self._silence()

    def message(self, text: str) -> None:
        """Pass a message on."""
        try:
            self._observer.message(text)
        except Exception:
            self._silence()

    def _silence(self) -> None:
        _log.warning("the display failed and is off; the run goes on", exc_info=True)
        self._observer = Silent()
