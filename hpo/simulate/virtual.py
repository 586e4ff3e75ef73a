"""A trial loop without workers: a Director driven over finished curves, in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from msgspec import structs

from hpo import seeds
from hpo.director import Director
from hpo.director.decisions import Continue, Done, Start
from hpo.errors import RunError, StudyError
from hpo.ledger.events import (
    Completed,
    Converged,
    Ending,
    EpochEvent,
    Event,
    Interrupted,
    Paused,
    Proposed,
    Started,
)
from hpo.simulate.task import Curve, Curves, Task
from hpo.stopping.registry import ExploitingRule, make
from hpo.study import Rule, Study
from hpo.trials.record import Trial


@dataclass(frozen=True)
class Moment:
    """A new answer to the question which trial is best.

    Attributes:
        epochs: Epochs of all trials together by then.
        elapsed: Virtual seconds.
        ranked: Whether the trial is ranked; until one is, the best value of any counts.
        trial: The trial, with the value it had then.
    """

    epochs: int
    elapsed: float
    ranked: bool
    trial: Trial


@dataclass
class Story:
    """How a simulated study went.

    Attributes:
        director: The Director at its end.
        events: What would be in its ledger.
        moments: When its best trial changed, in order.
        busy: Virtual seconds that workers spent on trials, together.
    """

    director: Director
    events: list[Event] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    busy: float = 0.0

    def best_at(
        self, *, epochs: int | None = None, seconds: float | None = None
    ) -> Moment | None:
        """The best trial when so much had been spent; None before any value.

        Args:
            epochs: Epochs of all trials together; None for any number.
            seconds: Virtual seconds; None for any number.
        """
        known = [
            m
            for m in self.moments
            if (epochs is None or m.epochs <= epochs)
            and (seconds is None or m.elapsed <= seconds)
        ]
        return known[-1] if known else None

    def idle(self, workers: int) -> float:
        """The share of the workers' time in the study in which they had no trial."""
        paid = workers * self.director.elapsed
        return 1.0 - min(1.0, self.busy / paid) if paid > 0 else 0.0


def simulate(study: Study, task: Task, *, workers: int = 1) -> Story:
    """Run a study over a task's curves.

    A worker is busy for an epoch's own seconds and its compilation; between two epochs no
    time passes. Of two reports at the same moment that of the trial started first comes
    first. A trial that pauses goes on after its last epoch.

    Args:
        study: Its families are those of the task.
        task: The curves.
        workers: How many trials run at a time.

    Raises:
        RunError: A rule wants a longer curve than there is.
        StudyError: The study cannot be directed, or not over finished curves.
    """
    refuse_exploiting(study.stopping)
    return _VirtualHands(study, task, workers).run()


def refuse_exploiting(stopping: Iterable[Rule]) -> None:
    """Refuse rules by which values change in training: finished curves know nothing of that.

    Args:
        stopping: A study's rules.

    Raises:
        StudyError: There is such a rule.
    """
    for rule in stopping:
        if isinstance(make(rule), ExploitingRule):
            raise StudyError(
                f"`{rule.name}` cannot be simulated: it changes values while a model is "
                "trained, and finished curves are of values that stay",
                hint="launch a study with it, and one without, at equal epochs",
            )


class _VirtualHands:
    def __init__(self, study: Study, task: Task, workers: int) -> None:
        self._study = study
        self._curves = task.curves
        self._story = Story(Director(study, workers=workers))
        self._director = self._story.director
        self._taken: dict[str, set[int]] = {family: set() for family in task.curves}
        self._found: dict[int, Curve] = {}
        self._queue: list[tuple[float, int, int]] = []  # when, order of starting, trial
        self._order: dict[int, int] = {}
        self._begun: dict[int, float] = {}  # the epoch that a trial is at
        self._now = 0.0

    def run(self) -> Story:
        while self._fill():
            self._now, order, number = heapq.heappop(self._queue)
            if self._order.get(number) != order:
                continue  # cancelled meanwhile
            self._spend(number)
            self._report(number)
            for event in self._director.expire(self._now):
                if self._order.pop(event.trial or 0, None) is not None:
                    self._spend(event.trial or 0)
                self._write([event])
        return self._story

    def _fill(self) -> bool:
        """Give every free worker something to do; whether anything is left to wait for."""
        while True:
            decision, events = self._director.next(self._now)
            self._write(self._placed(events))
            if isinstance(decision, Done):
                return False
            if not isinstance(decision, Start):
                return True
            number = decision.trial
            self._order[number] = len(self._story.events)
            self._await(number, decision.known)

    def _placed(self, events: Iterable[Event]) -> Iterable[Event]:
        """A proposal names the point that is trained: in a finite pool, one of it."""
        for event in events:
            if not isinstance(event, Proposed) or event.origin == "first":
                yield event
                continue
            family = event.family
            params = self._of(family).place(
                event.params,
                seed=seeds.derive(self._study.seed, family, "place", event.number),
                uniform=self._study.sampler.name == "random",
                taken=self._taken[family],
            )
            yield structs.replace(event, params=params)

    def _await(self, number: int, known: int) -> None:
        """Put the moment of a trial's next report into the queue."""
        epochs = self._curve(number).epochs
        pause = 0.0
        if known < len(epochs):
            epoch = epochs[known]
            pause = epoch.seconds + epoch.compile_seconds
        self._begun[number] = self._now
        heapq.heappush(self._queue, (self._now + pause, self._order[number], number))

    def _spend(self, number: int) -> None:
        self._story.busy += self._now - self._begun.pop(number)

    def _report(self, number: int) -> None:
        trial = self._director.trials[number]
        curve = self._curve(number)
        if trial.last >= len(curve.epochs):
            del self._order[number]
            self._write(self._ended(trial, curve))
            return
        decision, events = self._director.judge(
            number, trial.attempt, curve.epochs[trial.last], self._now
        )
        self._write(events)
        if isinstance(decision, Continue):
            self._await(number, trial.last)
        else:
            del self._order[number]

    def _ended(self, trial: Trial, curve: Curve) -> tuple[Event, ...]:
        if curve.cut:
            raise RunError(
                f"trial {trial.number} is to go on after epoch {trial.last}, where its "
                "recorded curve was cut: what would have come is not known",
                hint="only curves that no rule has cut can be searched with other rules",
            )
        if curve.failure:
            return self._director.lost(
                trial.number, trial.attempt, curve.failure, self._now, retry=False
            )
        return self._director.exhausted(trial.number, trial.attempt, self._now)

    def _of(self, family: str) -> Curves:
        if family not in self._curves:
            raise RunError(f"family `{family}` has no finished curves to search")
        return self._curves[family]

    def _curve(self, number: int) -> Curve:
        if number not in self._found:
            trial = self._director.trials[number]
            self._found[number] = self._of(trial.family).curve(trial.params, trial.seed)
        return self._found[number]

    def _write(self, events: Iterable[Event]) -> None:
        for event in events:
            self._director.apply(event)
            self._story.events.append(event)
            self._look(event)

    def _look(self, event: Event) -> None:
        """Note when another trial is the best one."""
        moments = self._story.moments
        last = moments[-1] if moments else None
        found: Trial | None = None
        ranked = isinstance(event, (Completed, Converged))
        if ranked:
            found = self._director.best()
        elif isinstance(event, EpochEvent) and (last is None or not last.ranked):
            trial = self._director.trials[event.trial]
            key = self._study.objectives[0].rank_key
            if last is None or key(trial.value) < key(last.trial.value):
                found = trial if trial.value is not None else None
        if found is None:
            return
        if ranked and last and last.ranked and last.trial.number == found.number:
            return
        spent, elapsed = self._director.epochs, self._director.elapsed
        then = structs.replace(found)  # the record goes on with the trial
        moments.append(Moment(spent, elapsed, ranked, then))


def decisions(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """The decisions of a ledger, trial by trial, for comparing one with another.

    Args:
        events: A ledger's events.

    Returns:
        In order: what was proposed, each start, and each end or pause with its rule and
        epoch. Times, checkpoints and notes are left out.
    """
    told: list[tuple[Any, ...]] = []
    for event in events:
        about: tuple[Any, ...]
        if isinstance(event, Proposed):
            params = repr(sorted(event.params.items()))
            about = (event.family, event.number, params, event.seed)
        elif isinstance(event, Started):
            about = (event.attempt_of, event.epoch)
        elif isinstance(event, (Ending, Paused)):
            about = (event.rule or None, event.epoch)
        elif isinstance(event, Interrupted):
            about = (None, event.epoch)
        else:
            continue
        told.append((event.event, event.trial, *about))
    return told
