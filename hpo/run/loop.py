"""The trial loop: ask the Director, write the ledger, apply, and only then act.

Every executor works through one `TrialLoop`; none of them writes an event by itself.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec import UNSET, structs

from hpo.chaos import Chaos
from hpo.director import RETRIES, Director
from hpo.director.decisions import Continue, Done, Park, Pause, Start, Stop, Wait
from hpo.director.virtual import VirtualOrder
from hpo.errors import RunError
from hpo.ledger.events import (
    CheckpointEvent,
    Ending,
    EpochEvent,
    Evaluated,
    Event,
    Exploited,
    Nondeterminism,
    Note,
    ReadTest,
)
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import Ledger
from hpo.run import signals
from hpo.run.evaluations import Evaluations
from hpo.run.observer import Observer
from hpo.run.places import Places
from hpo.run.retention import KEPT, Retention
from hpo.study import Study
from hpo.trials.record import Trial
from hpo.trials.states import State
from hpo.worker import session
from hpo.worker.assignment import Assignment, Report
from search_spaces.space import Space

STALLED = "stalled"


@dataclasses.dataclass(frozen=True)
class _Lost:
    """An attempt that came to nothing.

    Attributes:
        trial: The trial's number.
        attempt: The attempt.
        reason: What happened, in one line.
        error: The same in full.
        retry: Whether its process died, so that the trial may be tried again.
    """

    trial: int
    attempt: int
    reason: str
    error: str
    retry: bool


class TrialLoop:
    """Carries out what the Director decides and tells it what came of it.

    Args:
        study: The resolved study.
        data: The data reference that workers get.
        creates: ``module:function`` or a shipped callable by family.
        folder: The run's folder.
        ledger: Open for writing, and already replayed into the director.
        director: The brain.
        stop: Says whether the run is to end.
        observer: Is told of every event.
        evaluations: What is evaluated once all trials have ended, likewise replayed.
        kernels: The compiled kernels to compute with as long as no trial has told its own.
        before_test: Called before the ledger says that the test part is read.
        chaos: Faults on purpose; None for none.
        clock: Seconds that go on while the run is active.

    Attributes:
        chaos: Faults on purpose; None for none.
    """

    def __init__(
        self,
        *,
        study: Study,
        data: Any,
        creates: Mapping[str, str | bytes],
        folder: RunFolder,
        ledger: Ledger,
        director: Director,
        stop: signals.Stop,
        observer: Observer,
        evaluations: Evaluations,
        kernels: str | None = None,
        before_test: Callable[[], None] = lambda: None,
        chaos: Chaos | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.study = study
        self.director = director
        self.stop = stop
        self.observer = observer
        self.creates = creates
        self._folder = folder
        self._places = Places(study, data, creates, folder, stop, chaos)
        self.chaos = chaos
        self._ledger = ledger
        self._clock = clock
        self._origin = clock() - director.elapsed
        self._evaluations = evaluations
        self._before_test = before_test
        self._retention = Retention(
            study.objectives,
            director.trials.values(),
            kept=max(KEPT, len(study.fixed)),  # whoever named a trial wants it
        )
        self._sized: set[tuple[int, int]] = set()
        self._kernels = _last_kernels(director) or kernels
        self._ahead: Assignment | Wait | Done | None = None
        self._ended: list[Trial] | None = None  # gathered ones
        self._turns: VirtualOrder[Report | _Lost] | None = None
        if study.resources.virtual:
            self._turns = VirtualOrder(
                director,
                take=lambda _, held: self._take(held),
                write=self._write,
                elapsed=lambda: self.elapsed,
            )

    @property
    def elapsed(self) -> float:
        """Seconds the run has been active, over all its launches and resumes."""
        return max(self._clock() - self._origin, self.director.elapsed)

    @property
    def kernels(self) -> str | None:
        """The compiled kernels that trials computed with last, by the ledger."""
        return self._kernels

    @property
    def running(self) -> tuple[int, ...]:
        """Numbers of the trials that are at work, trained or evaluated."""
        trained = self.director.running
        if self._turns is not None:
            trained = tuple(self._turns.working & {*trained})
        return tuple(sorted({*trained, *self._evaluations.given}))

    def is_running(self, number: int, attempt: int) -> bool:
        """Whether this very attempt is still the one that counts."""
        known = self.director.trials.get(number)
        return (
            known is not None
            and known.state is State.RUNNING
            and known.attempt == attempt
        )

    def peek(self) -> Assignment | Wait | Done:
        """The decision `next` is going to give, so that nothing heavy is started for a `Done`."""
        if self._ahead is None:
            self._ahead = self._ask()
        return self._ahead

    def next(self, serves: Collection[str] | None = None) -> Assignment | Wait | Done:
        """The next task of a free worker.

        Args:
            serves: The families that it can train; None for all, as `peek` expects.
        """
        ahead, self._ahead = self._ahead, None
        return self._ask(serves) if ahead is None else ahead

    def report(self, report: Report) -> Continue | Park | Pause | Stop:
        """Take in what a worker reports, and say whether its attempt goes on.

        Raises:
            RunError: No trial can be trained any more: the disk is full, for one.
        """
        number, attempt = report.trial, report.attempt
        if self._evaluations.awaits(number, attempt):
            self._note(report)
            return self._evaluated(self._evaluations.returned(report))
        if not self.is_running(number, attempt):
            return Stop(self.director.trials[number].state)
        if self._turns is None or report.obstacle:
            return self._take(report)
        return self._turns.report(number, report.epoch, report)

    def _take(self, report: Report | _Lost) -> Continue | Pause | Stop:
        """Judge a report whose turn has come, and write what follows from it."""
        number, attempt, now = report.trial, report.attempt, self.elapsed
        if isinstance(report, _Lost):
            retry, reason = report.retry, report.reason
            self._write(self.director.lost(number, attempt, reason, now, retry=retry))
            self._keep_error(number, report.error)
            return Stop(self.director.trials[number].state)
        who: dict[str, Any] = {"trial": number, "attempt": attempt, "elapsed": now}
        self._note(report)
        if report.obstacle:
            raise RunError(
                f"trial {number} cannot be saved: {report.obstacle}",
                hint="mend that, then `hpo resume` goes on where it stopped",
            )
        saved = (
            []
            if report.checkpoint is None
            else [CheckpointEvent(**who, epoch=report.checkpoint)]
        )
        if report.epoch is not None:
            decision, events = self.director.judge(number, attempt, report.epoch, now)
            told, decided = _split(events)
            self._write(self._with_size(e, report) for e in told)
            self._compare_kernels(report)
            self._write([*saved, *decided])
            return decision
        if report.error is None:
            self._write([*saved, *self.director.exhausted(number, attempt, now)])
            return Stop(self.director.trials[number].state)
        return self._take(
            _Lost(number, attempt, report.reason, error=report.error, retry=False)
        )

    def lost(self, number: int, attempt: int, reason: str) -> None:
        """The worker's process died: the trial is tried again, or has failed."""
        if self._evaluations.awaits(number, attempt):
            found = self._evaluations.lost(number, reason, retry=True)
            if found is not None:
                self._evaluated(found)
        elif self.is_running(number, attempt):
            self._lose(_Lost(number, attempt, reason, error=reason, retry=True))

    def displaced(self, number: int, attempt: int, reason: str) -> None:
        """The worker's node is gone, not its process alone: no retry is spent."""
        if self._evaluations.awaits(number, attempt):
            self._evaluations.displaced(number)
        elif self.is_running(number, attempt):
            self._write(self.director.displaced(number, attempt, reason, self.elapsed))
            if self._turns is not None:
                self._turns.lost(number)

    def awaits(self, number: int, attempt: int) -> bool:
        """Whether a report of this very attempt counts: it trains or is evaluated."""
        given = self._evaluations.awaits(number, attempt)
        return given or self.is_running(number, attempt)

    def over(self) -> bool:
        """Whether nothing is left to do; asked, not acted on."""
        if self._ahead is not None:
            return isinstance(self._ahead, Done)
        decision, _ = self.director.next(self.elapsed)
        left = self._evaluations.left(self.director.trials)
        return isinstance(decision, Done) and not (decision.reason == "budget" and left)

    def stalled(self, number: int, attempt: int, seconds: float) -> None:
        """The worker has not reported for too long; it is about to be killed."""
        if self._evaluations.awaits(number, attempt):
            found = self._evaluations.lost(number, STALLED, retry=False)
            assert found is not None, "a stall is not tried again"
            self._evaluated(found)
        elif self.is_running(number, attempt):
            error = f"no report for {seconds:.1f} s: killed"
            self._lose(_Lost(number, attempt, STALLED, error=error, retry=False))

    def interrupt(self, reason: str) -> None:
        """Running trials will go on from their checkpoints when the run is resumed."""
        self._write(self.director.interrupt(reason, self.elapsed))
        if self._turns is not None:
            self._turns.forget()

    def expire(self) -> bool:
        """Cancel what runs once the run's budget is used up; whether it is."""
        if self.director.limit_reached(self.elapsed) is None:
            return False
        self._write(self.director.expire(self.elapsed))
        return True

    def finish(self) -> Done | None:
        """Settle what is left when nothing more is to be trained; None when something is."""
        decision, events = self.director.next(self.elapsed)
        if not isinstance(decision, Done):
            return None  # asked, not acted on
        if decision.reason == "budget" and self._evaluations.left(self.director.trials):
            return None
        self._write(events)
        return decision

    def place(self, number: int) -> Path:
        """The folder of a trial in the run."""
        return self._folder.trial(number).absolute()

    @property
    def run(self) -> RunFolder:
        """The run's folder."""
        return self._folder

    @property
    def data(self) -> Any:
        """The data reference that workers get."""
        return self._places.data

    def tell(self, event: Event) -> None:
        """Write an event that nobody decided, as of now."""
        self._write([structs.replace(event, elapsed=self.elapsed)])

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Take in many reports and give out many tasks with one sync of the disk.

        Answers and tasks may be acted on behind it only.

        Raises:
            RunError: The disk refused it.
        """
        ended: list[Trial] = []
        self._ended = ended
        try:
            with self._ledger.gathered():
                yield
        finally:
            self._ended = None
        for trial in ended:
            self._prune(trial)

    def lag(self, seconds: float) -> None:
        """Let starts, stops and endings wait so long for the disk: see `Ledger.lag`."""
        self._ledger.lag = seconds

    def tick(self) -> None:
        """A moment passes: sync what is due and let the display redraw."""
        self._ledger.sync_due()
        self.observer.tick(self.director)

    def _ask(self, serves: Collection[str] | None = None) -> Assignment | Wait | Done:
        if self._turns is None:
            decision, events = self.director.next(self.elapsed, serves=serves)
            self._write(events)
        else:
            decision = self._turns.next(serves)
        if isinstance(decision, Start):
            return self._places.assignment(decision, self._space(decision))
        if isinstance(decision, Done) and decision.reason == "budget":
            return self._evaluation(serves) or decision
        return decision

    def _space(self, start: Start) -> Space:
        return self.director.space_of(self.director.trials[start.trial])

    def _lose(self, lost: _Lost) -> None:
        """An attempt at work came to nothing: at once, or when its turn has come."""
        trial = self.director.trials[lost.trial]
        again = lost.retry and trial.deaths < RETRIES
        if self.chaos is not None:
            text = f"lost in a run with faults on purpose: {lost.reason}"
            self.tell(Note(trial=lost.trial, attempt=lost.attempt, text=text))
        if self._turns is not None and not again:
            self._turns.report(lost.trial, None, lost)
            return
        self._take(lost)
        if self._turns is not None:
            self._turns.lost(lost.trial)

    def _evaluation(self, serves: Collection[str] | None) -> Assignment | Wait | None:
        """The next trial to evaluate; None when all have been."""
        if not self._evaluations.left(self.director.trials):
            return None
        if not self._evaluations.announced:
            self._before_test()
            part = self._evaluations.part
            self.tell(ReadTest(purpose=f"evaluates trials over the part {part}"))
        trials: Mapping[int, Trial] = self.director.trials
        if serves is not None:
            trials = {n: t for n, t in trials.items() if t.family in serves}
        trial = self._evaluations.next(trials)
        if trial is None:
            return Wait()
        again = Start.of(trial, attempt=trial.attempt)
        newest = self._places.newest(trial.number, trial.attempt + 1, trial.since)
        return dataclasses.replace(
            self._places.assignment(again, self._space(again)),
            evaluate=self._evaluations.part,
            restore=newest,
        )

    def _evaluated(self, event: Evaluated) -> Stop:
        """Write down what an evaluation came to."""
        self.tell(event)
        return Stop(self.director.trials[event.trial].state)

    def _write(self, events: Iterable[Event]) -> None:
        """Ledger first, then the Director, then everybody else."""
        for event in events:
            with self.stop.shielded():
                written = self._ledger.append(event)
                self.director.apply(written)
                self._evaluations.apply(written)
            self.observer.event(written, self.director)
            if isinstance(written, Exploited):
                self._places.keep_donor(self.director.trials[written.trial])
            if isinstance(written, Ending):
                trial = self.director.trials[written.trial]
                if self._ended is None:
                    self._prune(trial)
                else:
                    self._ended.append(trial)  # deleted once its end is on the disk

    def _note(self, report: Report) -> None:
        who: dict[str, Any] = {"trial": report.trial, "attempt": report.attempt}
        for text in report.notes:
            self.tell(Note(**who, text=text))

    def _with_size(self, event: Event, report: Report) -> Event:
        """Let the first epoch of each attempt say how large the model is."""
        attempt = (report.trial, report.attempt)
        if not isinstance(event, EpochEvent) or attempt in self._sized:
            return event
        self._sized.add(attempt)
        return structs.replace(
            event,
            parameters=report.parameters,
            resumed_from=report.resumed_from,
            kernels=UNSET if report.kernels is None else report.kernels,
        )

    def _compare_kernels(self, report: Report) -> None:
        """Say it when a trial computes with other kernels than those before it."""
        before, now = self._kernels, report.kernels
        if now is None or now == before:
            return
        self._kernels = now
        if before is not None:
            text = f"computes with kernels {now}, earlier trials with {before}: "
            text += "numbers differ in the last bits"
            self.tell(Note(trial=report.trial, attempt=report.attempt, text=text))

    def _keep_error(self, number: int, text: str) -> None:
        if self.director.trials[number].state is not State.FAILED:
            return  # it is tried again
        path = self._folder.error_file(number)
        with suppress(OSError):  # the ledger has the reason; the run goes on
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.rstrip() + "\n")

    def _prune(self, ended: Trial) -> None:
        """Keep checkpoints of the family's best ended trials only, one attempt each."""
        fallen = self._retention.add(ended)
        for loser in fallen:
            self._drop(loser, keep=None)
        if ended not in fallen:
            attempt, since = ended.attempt + 1, ended.since
            newest = self._places.newest(ended.number, attempt, since)
            self._drop(ended, keep=newest or ended.attempt)

    def _drop(self, loser: Trial, keep: int | None) -> None:
        for attempt in range(1, loser.attempt + 1):
            if attempt != keep:
                session.drop(self._folder.attempt(loser.number, attempt))
        if keep is not None and keep < loser.since:
            return  # it has adopted a state, but not gone on from it yet
        for adopted in loser.exploits:
            session.drop(self._folder.adopted(loser.number, adopted.since))


def _last_kernels(director: Director) -> str | None:
    """The kernels of the newest trial that this run, and no earlier one, trained."""
    trained = (t for t in director.trials.values() if t.origin != "carried")
    told = [t.kernels for t in trained if t.kernels]
    return told[-1] if told else None


def _split(events: tuple[Event, ...]) -> tuple[list[Event], list[Event]]:
    """The events of a report, and of the decision on it."""
    kinds = (EpochEvent, Nondeterminism)
    told = [event for event in events if isinstance(event, kinds)]
    return [*told], [event for event in events if not isinstance(event, kinds)]
