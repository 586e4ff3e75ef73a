"""Every decision of a ledger taken once more, each on the lines before it.

The ledger says which trial reports next, so this holds for any number of workers, for interrupted
and for resumed runs; in virtual order it is held against the clock. Trials taken over from other
runs, failures, lost workers and learners that end by themselves are facts, not decisions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from hpo.audit.finding import Finding
from hpo.director import RETRIES, Director, replay
from hpo.director import events as made
from hpo.director.decisions import Done
from hpo.errors import RunError
from hpo.ledger.events import (
    Cancelled,
    CheckpointEvent,
    Completed,
    Ending,
    EpochEvent,
    Evaluated,
    Event,
    Exploited,
    Extended,
    Failed,
    Interrupted,
    Note,
    Paused,
    Proposed,
    ReadTest,
    Reopened,
    RerunEvent,
    RunEvent,
    Started,
    TrialEvent,
)
from hpo.study import Study
from hpo.trials.record import Trial
from hpo.trials.states import State

_AFTERWARDS = (RunEvent, Note, RerunEvent, ReadTest, Extended, Reopened)
_ENDS_ITSELF = ("the learner ended after ", "the learner reported epoch ")


class Decisions:
    """Walks a ledger beside a Director of its own.

    Args:
        study: The study as it is now; earlier ones are in the ledger of an extended run.
        events: The ledger.

    Attributes:
        taken: How many decisions were taken once more.
        facts: How many ends of trials and attempts came from a worker, not the Director.
        director: What the ledger amounts to, as far as it could be followed.
    """

    def __init__(self, study: Study, events: Sequence[Event]) -> None:
        self._events = events
        extended = [e for e in events if isinstance(e, Extended)]
        self._studies = [*(Study.from_json(e.before) for e in extended), study]
        self._study = self._studies[0]
        self.director = Director(self._study, workers=self._study.resources.seats)
        self.taken = self.facts = 0
        self._due: Event | None = None  # what has to follow the epoch before
        self._finished = False

    def findings(self) -> Iterator[Finding]:
        """Everything that does not hold; behind a contradiction nothing can be followed."""
        for place, event in enumerate(self._events):
            for text in self._weigh(place, event):
                yield Finding(event.n, text)
            try:
                self.director.apply(event)
            except RunError as error:
                told = error.message.removeprefix(f"line {event.n} of the ledger ")
                yield Finding(event.n, f"it {told}")
                return

    def _weigh(self, place: int, event: Event) -> Iterator[str]:
        if self._finished and not isinstance(event, _AFTERWARDS):
            yield f"the run had finished before this `{event.event}`"
            self._finished = False
        if isinstance(event, Extended):
            del self._studies[0]
            self._study = self._studies[0]
            known = self._events[:place]
            self.director = replay(
                self._study, known, workers=self._study.resources.seats
            )
            self._due, self._finished = None, False
        elif isinstance(event, RunEvent):
            yield from self._run_event(event)
        elif isinstance(event, TrialEvent):
            trial = self.director.trials.get(event.trial)
            carried = getattr(event, "origin", "") == "carried"
            if carried or (trial is not None and trial.origin == "carried"):
                return
            yield from self._of_trial(event, trial)

    def _run_event(self, event: RunEvent) -> Iterator[str]:
        if event.action != "finish":
            return
        self._finished = True
        self.taken += 1
        decision, left = self.director.next(event.elapsed)
        if not isinstance(decision, Done) or left:
            yield "the run finished, though something was left to do"
        elif decision.reason != event.reason:
            yield f"the run finished by `{event.reason}`, today by `{decision.reason}`"

    def _of_trial(self, event: TrialEvent, trial: Trial | None) -> Iterator[str]:
        due = self._due
        if due is not None and _decides(event):
            # Where a driver failed before a decision, others may be interrupted before it.
            aside = isinstance(event, Interrupted) and not event.death
            if not aside or event.trial == due.trial:
                self._due = None
                yield from self._compare(event, due)
                return
        if isinstance(event, Proposed):
            yield from self._next(event)
        if trial is None:
            return  # the Director says so
        if isinstance(event, EpochEvent):
            yield from self._epoch(event, trial)
        elif isinstance(event, (Started, Exploited)):
            placed = self._study.resources.virtual and trial.state is State.PENDING
            yield from self._place(event, trial) if placed else self._next(event)
        elif isinstance(event, Interrupted):
            yield from self._interrupted(event, trial)
        elif isinstance(event, (Ending, Paused)):
            yield from self._end(event, trial)
        elif isinstance(event, CheckpointEvent) and event.epoch > trial.last:
            yield f"a checkpoint of epoch {event.epoch}, and {trial.last} is the last one"
        elif isinstance(event, Evaluated) and not self._study.evaluate:
            yield "a trial was evaluated, and the study evaluates none"

    def _epoch(self, event: EpochEvent, trial: Trial) -> Iterator[str]:
        self.taken += 1  # that it went on, or was begun
        if event.epoch != trial.last + 1:
            what = "comes twice" if event.epoch in trial.epochs else "leaves a gap"
            yield (
                f"epoch {event.epoch} of trial {trial.number} {what}: {trial.last} was the "
                "last one"
            )
        if self._study.resources.virtual:
            yield from self._turn(trial.number)
            _, missing = self.director.next(event.elapsed)
            if missing:
                told = _told(missing[0])
                yield f"a seat was free: {told} comes before this epoch"
        _, found = self.director.judge(
            trial.number, event.attempt or 0, event.record(), event.elapsed
        )
        self._due = found[1] if len(found) > 1 else None

    def _turn(self, trial: int) -> Iterator[str]:
        head = self.director.clock.head()
        if head != trial and self.director.trials[trial].state is State.RUNNING:
            yield f"it is not trial {trial}'s turn by the virtual clock, but trial {head}'s"

    def _next(self, event: TrialEvent) -> Iterator[str]:
        """A trial was drawn, or goes on."""
        self.taken += 1
        _, found = self.director.next(event.elapsed, serves=self._served(event))
        yield from self._compare(event, found[0] if found else None)

    def _served(self, event: TrialEvent) -> tuple[str] | None:
        """Where families take different things, and a slot serves some: of those, the trial's."""
        requests = [*self._study.requests.values()]
        if self._study.resources.virtual or all(r == requests[0] for r in requests):
            return None
        if isinstance(event, Proposed):
            return (event.family,)
        trial = self.director.trials.get(event.trial)
        return None if trial is None else (trial.family,)

    def _place(self, event: TrialEvent, trial: Trial) -> Iterator[str]:
        """A worker took a trial that has a seat: when it did decides nothing."""
        yield from self._compare(event, made.started(trial, event.elapsed))

    def _interrupted(self, event: Interrupted, trial: Trial) -> Iterator[str]:
        self.facts += 1
        if event.epoch != trial.last:
            yield f"interrupted at epoch {event.epoch}, and {trial.last} was the last one"
        if event.death and trial.deaths >= RETRIES:
            yield f"a death that is tried again, and {trial.deaths} were before it"

    def _end(self, event: Ending | Paused, trial: Trial) -> Iterator[str]:
        director, due = self.director, None
        waits = trial.state is State.PAUSED
        if waits or isinstance(event, Cancelled):
            expired = director.expire(event.elapsed)
            due = next((e for e in expired if e.trial == trial.number), None)
        if due is None and waits:
            _, found = director.next(event.elapsed, serves=self._served(event))
            due = found[0] if found else None
        elif due is None and self._is_fact(event, trial):
            self.facts += 1
            if self._study.resources.virtual:
                yield from self._turn(trial.number)
            return
        self.taken += 1
        yield from self._compare(event, due)

    def _is_fact(self, event: Ending | Paused, trial: Trial) -> bool:
        """Whether only a worker could know of this end."""
        if event.epoch != trial.last:
            return False
        if isinstance(event, Completed):
            return str(event.reason or "").startswith(_ENDS_ITSELF)
        return isinstance(event, Failed) and not event.rule

    def _compare(self, recorded: Event, found: Event | None) -> Iterator[str]:
        if found is None:
            yield f"{_told(recorded)}, and nothing calls for that"
        elif _plain(recorded) != _plain(found):
            yield f"{_told(recorded)}, and what comes there is {_told(found)}"


def _decides(event: TrialEvent) -> bool:
    return not isinstance(event, CheckpointEvent | Evaluated) and event.event not in (
        *("nondeterminism", "reopened"),
    )


def _told(event: Event) -> str:
    """An event in words, with what a person would compare."""
    text = f"`{event.event}` of trial {event.trial}"
    if isinstance(event, Proposed):
        return f"{text} ({event.family}, {json.dumps(event.params, default=str)})"
    epoch = getattr(event, "epoch", None)
    return text if epoch is None else f"{text} at epoch {epoch}"


def _plain(event: Event) -> str:
    """The decided part of an event; a reason is its wording."""
    left_out = ("reason", "from_attempt")
    data = {k: v for k, v in event.details().items() if k not in left_out}
    return json.dumps(
        (event.event, event.trial, event.attempt, data), sort_keys=True, default=str
    )
