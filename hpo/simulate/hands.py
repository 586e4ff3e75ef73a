"""Hands without workers: what every simulation of a study over finished curves needs."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec import structs

from hpo import seeds
from hpo.director import Director
from hpo.errors import RunError
from hpo.ledger.events import (
    Completed,
    Converged,
    EpochEvent,
    Event,
    Proposed,
)
from hpo.simulate.task import Curve, Curves, Task
from hpo.study import Study
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


class Hands:
    """Drives a Director over a task's curves on a simulated clock.

    Args:
        study: Its families are those of the task.
        task: The curves.
        places: How many trials may have begun at a time, as the Director takes it.
    """

    def __init__(self, study: Study, task: Task, *, places: int) -> None:
        self._study = study
        self._curves = task.curves
        self._story = Story(Director(study, workers=places))
        self._director = self._story.director
        self._taken: dict[str, set[int]] = {family: set() for family in task.curves}
        self._found: dict[int, Curve] = {}
        self._queue: list[tuple[float, int, int]] = []  # when, order of starting, trial
        self._order: dict[int, int] = {}
        self._begun: dict[int, float] = {}  # the epoch that a trial is at
        self._now = 0.0

    def _placed(self, events: Iterable[Event]) -> Iterable[Event]:
        """The events, with the points that are trained: in a finite pool, some of it."""
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
        """Put the moment of a trial's next report into the queue; `known` are its epochs."""
        epochs = self._curve(number).epochs
        pause = 0.0
        if known < len(epochs):
            epoch = epochs[known]
            pause = epoch.seconds + epoch.compile_seconds
        self._begun[number] = self._now
        heapq.heappush(self._queue, (self._now + pause, self._order[number], number))

    def _spend(self, number: int) -> None:
        self._story.busy += self._now - self._begun.pop(number)

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
        """Apply events; a proposal names the point of a finite pool that is trained."""
        for event in self._placed(events):
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
