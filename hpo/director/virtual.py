"""Virtual order: early reports wait for their turn, and free workers train ahead.

A run in virtual order takes its decisions in the order of the `Clock`, which knows nothing of
workers: so they are the same with any number of them, whatever the delays. What depends on the
workers is here, and nothing of it decides anything: who has one, which reports came before their
turn, and which trial a free worker takes. None of it is in the ledger. A new driver begins with
nothing held; what a lost report told is told again from the checkpoint beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Generic, TypeVar

from hpo.director.decisions import Continue, Done, Park, Pause, Start, Stop, Wait
from hpo.director.director import Director
from hpo.ledger.events import Event
from hpo.trials.states import State
from models.training.protocol import Epoch

Held = TypeVar("Held")


class VirtualOrder(Generic[Held]):
    """Takes each report when its turn has come; the trial loop and simulations go by it.

    Args:
        director: The brain of a run in virtual order.
        take: Judges a report of a trial, writes and applies what follows from it.
        write: Writes and applies events, first to last.
        elapsed: Active seconds of the run.
    """

    def __init__(
        self,
        director: Director,
        *,
        take: Callable[[int, Held], object],
        write: Callable[[Iterable[Event]], None],
        elapsed: Callable[[], float],
    ) -> None:
        self._director = director
        self._take = take
        self._write = write
        self._elapsed = elapsed
        self._working: set[int] = set()
        self._held: dict[int, deque[tuple[Epoch | None, Held]]] = {}
        self._seated: Wait | Done | None = None  # None until the seats are filled

    @property
    def working(self) -> frozenset[int]:
        """The numbers of the trials that have a worker."""
        return frozenset(self._working)

    def next(self, serves: Collection[str] | None = None) -> Start | Wait | Done:
        """The trial for a free worker: the one whose next epoch has its turn first.

        Args:
            serves: The families that it can train; None for all. It decides nothing.
        """
        if self._seated is None:
            self._seated = self._fill()
        if isinstance(self._seated, Done):
            return self._seated
        number = self._first(serves)
        if number is None:
            return Wait()
        start, events = self._director.place(number, self._elapsed())
        self._write(events)
        self._working.add(number)
        return start

    def report(
        self, trial: int, epoch: Epoch | None, held: Held
    ) -> Continue | Park | Pause | Stop:
        """Hold a report of a trial at work, and take whatever has its turn now.

        Args:
            trial: The trial's number.
            epoch: What it reports; None where its training has ended.
            held: The report, as `take` gets it.

        Returns:
            Whether its worker goes on with it.
        """
        if epoch is not None and epoch.number <= self._director.trials[trial].last:
            self._take(trial, held)  # told before, so that nothing follows from it
            return Continue()
        self._held.setdefault(trial, deque()).append((epoch, held))
        if epoch is None:
            self._working.discard(trial)
        self._take_turns()
        return self._answer(trial)

    def lost(self, trial: int) -> None:
        """A trial has no worker any more, and what it reported early is to come again.

        Args:
            trial: The trial's number; it is tried again.
        """
        self._working.discard(trial)
        self._held.pop(trial, None)

    def forget(self) -> None:
        """All trials have lost their workers: the run ends or begins."""
        self._working.clear()
        self._held.clear()
        self._seated = None

    def _take_turns(self) -> None:
        clock = self._director.clock
        while (trial := clock.head()) is not None and self._held.get(trial):
            _, held = self._held[trial].popleft()
            self._take(trial, held)
            self._look_at(trial)
            expired = self._director.expire(self._elapsed())
            self._write(expired)
            for event in expired:
                self.lost(event.trial or 0)
            self._seated = self._fill()

    def _look_at(self, trial: int) -> None:
        """Note what became of a trial whose report was taken."""
        if self._director.trials[trial].state is not State.RUNNING:
            self.lost(trial)
        elif trial not in self._working and not self._held[trial]:
            self._write(self._director.left(trial, self._elapsed()))

    def _fill(self) -> Wait | Done:
        """Seat as many trials as there are seats, at this virtual moment."""
        while True:
            decision, events = self._director.next(self._elapsed())
            self._write(events)
            if not isinstance(decision, Start):
                return decision

    def _answer(self, trial: int) -> Continue | Park | Pause | Stop:
        record = self._director.trials[trial]
        if record.ended:
            return Stop(state=record.state, rule=record.rule)
        if record.state is State.PAUSED:
            return Pause(record.rule)
        if trial not in self._working:
            return Park()  # its end waits for its turn, or it was promoted just now
        held = self._held.get(trial)
        ahead = [epoch for epoch, _ in held or () if epoch is not None]
        if ahead and (
            self._director.parks(trial, ahead) or self._goes_too_far(trial, len(ahead))
        ):
            self._working.discard(trial)
            return Park()
        return Continue()

    def _first(self, serves: Collection[str] | None = None) -> int | None:
        """Of the trials that could be trained and have no worker, whose turn comes first."""
        clock = self._director.clock
        free = (
            number
            for number in clock.seated
            if number not in self._working and not self._held.get(number)
        )
        if serves is not None:
            free = (n for n in free if self._director.trials[n].family in serves)
        return min(free, key=clock.turn, default=None)

    def _goes_too_far(self, trial: int, ahead: int) -> bool:
        """Whether the run's epochs will be spent before a trial's next one has its turn.

        Another trial then gets the worker, if there is one whose epoch still counts.
        """
        total = self._director.study.budget.total_epochs
        if total is None:
            return False
        clock = self._director.clock
        left = total - self._director.epochs
        end = clock.now + -(-left // max(1, len(clock.seated)))
        if clock.turn(trial)[0] + ahead <= end:
            return False
        first = self._first()
        return first is not None and clock.turn(first)[0] <= end
