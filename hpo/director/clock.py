"""The virtual clock: an epoch takes one tick on a seat, whoever trains it and however long."""

from __future__ import annotations

import heapq
from collections.abc import Collection

from hpo.ledger.events import (
    Ending,
    EpochEvent,
    Event,
    Paused,
    Proposed,
    Reopened,
    Started,
)


class Clock:
    """Who has a seat, and when each of them reports next; a pure reducer over the ledger.

    A trial takes a seat where it comes into being, where it is promoted or where an extended run
    takes it up, and leaves it where it ends or pauses. An interruption or another attempt changes
    nothing. Of two that are due at the same tick the one that was seated first comes first.

    Attributes:
        now: The tick of the latest epoch.
    """

    def __init__(self) -> None:
        self.now = 0
        self._seats: dict[
            int, tuple[int, int]
        ] = {}  # trial → when due, order of seating
        self._next: list[
            tuple[int, int, int]
        ] = []  # the same with the trial, and old ones
        self._seated = 0

    @property
    def seated(self) -> Collection[int]:
        """The numbers of the trials that have a seat."""
        return self._seats.keys()

    def turn(self, trial: int) -> tuple[int, int]:
        """When a seated trial reports next; the smaller, the earlier.

        Args:
            trial: Its number.
        """
        return self._seats[trial]

    def head(self) -> int | None:
        """The trial whose report comes next; None when nobody has a seat."""
        while self._next:
            due, order, trial = self._next[0]
            if self._seats.get(trial) == (due, order):
                return trial
            heapq.heappop(self._next)
        return None

    def apply(self, event: Event) -> None:
        """Take note of the next event of the ledger.

        Args:
            event: The event. Trials taken over from another run never have a seat.
        """
        trial = event.trial or 0
        if isinstance(event, EpochEvent):
            if trial in self._seats:
                due, order = self._seats[trial]
                self.now = max(self.now, due)
                self._put(trial, due + 1, order)
        elif isinstance(event, (Ending, Paused)):
            self._seats.pop(trial, None)
        elif (
            (isinstance(event, Proposed) and event.origin != "carried")
            or (isinstance(event, Started) and event.attempt_of == "promoted")
            or (isinstance(event, Reopened) and event.state == "pending")
        ):
            self._seated += 1
            self._put(trial, self.now + 1, self._seated)

    def _put(self, trial: int, due: int, order: int) -> None:
        self._seats[trial] = due, order
        heapq.heappush(self._next, (due, order, trial))
