"""Scoring trials that have ended over a part of the data, through the executor that trained them.

Nothing is decided here, so the Director knows nothing of it: once it has nothing left to start,
each trial that has a value is given out once more, and what comes back is an event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import UNSET

from hpo.director import RETRIES
from hpo.ledger.events import Evaluated, Event, ReadTest
from hpo.trials.record import Trial
from hpo.trials.states import State
from hpo.worker.assignment import Report, Scores

_SCORED = (
    State.COMPLETED,
    State.CONVERGED,
    State.DIVERGED,
)  # endings of trials that were trained


class Evaluations:
    """Which trials are evaluated, are being evaluated, and still have to be.

    Args:
        part: The part of the data; empty evaluates nothing.

    Attributes:
        part: The same.
        announced: Whether the ledger says already that the part is read.
    """

    def __init__(self, part: str) -> None:
        self.part = part
        self.announced = False
        self._found: dict[int, tuple[Scores, str]] = {}
        self._given: dict[int, int] = {}  # trial → attempt
        self._deaths: Counter[int] = Counter()

    def apply(self, event: Event) -> None:
        """Take note of an event that is in the ledger."""
        if isinstance(event, ReadTest):
            self.announced = True
        elif isinstance(event, Evaluated) and event.part == self.part:
            scores = Scores(metrics=event.metrics, records=event.records)
            self._found[event.trial] = scores, event.reason or ""
            self._given.pop(event.trial, None)

    def of(self, trial: int) -> tuple[Scores, str] | None:
        """A trial's scores, and why there are none; None when it was not evaluated.

        Args:
            trial: Its number.
        """
        return self._found.get(trial)

    @property
    def given(self) -> tuple[int, ...]:
        """Numbers of the trials that are being evaluated, in order."""
        return tuple(sorted(self._given))

    def awaits(self, trial: int, attempt: int) -> bool:
        """Whether this is an evaluation that was given out and has not come back."""
        return self._given.get(trial) == attempt

    def left(self, trials: Mapping[int, Trial]) -> bool:
        """Whether any trial is still to be evaluated, or being evaluated."""
        return bool(self._given) or any(self._waiting(trials))

    def next(self, trials: Mapping[int, Trial]) -> Trial | None:
        """The next trial to evaluate, which counts as given out; None when there is none.

        Args:
            trials: Every trial by number.
        """
        found = next(iter(self._waiting(trials)), None)
        if found is not None:
            self._given[found.number] = found.attempt
        return found

    def returned(self, report: Report) -> Evaluated:
        """The event of an evaluation that came back."""
        return self._told(report.trial, report.scores or Scores(), report.reason)

    def lost(self, trial: int, reason: str, *, retry: bool) -> Evaluated | None:
        """The event of an evaluation that did not come back; None to try it again.

        Args:
            trial: The trial.
            reason: What happened, in words.
            retry: Whether its process died, which may be tried again.
        """
        self._deaths[trial] += 1
        if retry and self._deaths[trial] <= RETRIES:
            del self._given[trial]
            return None
        return self._told(trial, Scores(), reason)

    def displaced(self, trial: int) -> None:
        """The place at which a trial was evaluated is gone: it is tried again, at no cost.

        Args:
            trial: The trial.
        """
        del self._given[trial]

    def _waiting(self, trials: Mapping[int, Trial]) -> Iterable[Trial]:
        if not self.part:
            return ()
        return (
            t
            for t in trials.values()
            if t.state in _SCORED
            and t.last
            and t.number not in self._found
            and t.number not in self._given
        )

    def _told(self, trial: int, scores: Scores, reason: str) -> Evaluated:
        return Evaluated(
            trial=trial,
            part=self.part,
            metrics=dict(scores.metrics),
            records={n: dict(m) for n, m in scores.records.items()},
            reason=reason or UNSET,
        )
