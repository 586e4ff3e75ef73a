"""What a report needs of a ledger beside its summary: when things were, and what came after."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hpo.ledger.events import (
    Ending,
    EpochEvent,
    Event,
    Interrupted,
    Paused,
    ReadTest,
    RerunEvent,
    Started,
)
from hpo.ledger.folder import RunFolder
from hpo.ledger.lines import read_event
from hpo.ledger.log import Reader, uncollected
from hpo.report import again
from hpo.report.again import Rerun
from hpo.report.summary import Summary, load_study, summary_of
from hpo.study import Objective, Study
from hpo.trials.record import Trial
from hpo.trials.reducer import Reducer


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """One attempt at a trial, in active seconds of the run.

    Attributes:
        trial: The trial's number.
        family: Its family.
        lane: Which of the trials at work at a time, from 0; the ledger names no worker.
        start: When it began.
        end: When it ended; of one at work, the latest event of the run.
        outcome: How it ended: the name of the event, or ``running``.
    """

    trial: int
    family: str
    lane: int
    start: float
    end: float
    outcome: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """A family's best value became better.

    Attributes:
        epochs: Epochs of the whole run by then.
        value: The value, in the objective's unit.
        trial: Whose it is.
    """

    epochs: int
    value: float
    trial: int


@dataclass(frozen=True, kw_only=True)
class History:
    """The course of a run.

    Attributes:
        stretches: Its attempts, in the order in which they began.
        progress: Each family's best value so far, in the order of the epochs.
        epochs: Epochs of the whole run.
        reruns: Re-runs of its trials, in order.
        reads: What the test part was read for, in order.
    """

    stretches: tuple[Stretch, ...] = ()
    progress: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)
    epochs: int = 0
    reruns: tuple[Rerun, ...] = ()
    reads: tuple[str, ...] = ()


def read(folder: Path) -> tuple[Summary, History]:
    """Read a run once; nothing of it is changed.

    Args:
        folder: The run's folder.

    Raises:
        RunError: It is no run, or is damaged.
    """
    study = load_study(folder)
    with uncollected():
        reducer, course = Reducer.of(study), _Course(study)
        reader = Reader(RunFolder(folder).events_file, read_event)
        for event in reader:
            course.take(event, reducer.apply(event))
        summary = summary_of(study, reducer.record, folder=folder)
    if reader.torn:
        summary = replace(summary, notes=(*summary.notes, reader.torn))
    return summary, course.history(summary.elapsed)


class _Course:
    """Takes the events one by one, each with the trial as it is behind it."""

    def __init__(self, study: Study) -> None:
        self.objective: Objective = study.objectives[0]
        self.open: dict[int, tuple[float, str]] = {}
        self.done: list[tuple[float, float, int, str, str]] = []
        self.steps: dict[str, list[Step]] = {f.name: [] for f in study.families}
        self.known: dict[int, int] = {}
        self.epochs = 0
        self.reruns: list[Rerun] = []
        self.reads: list[str] = []

    def take(self, event: Event, trial: Trial | None) -> None:
        if trial is not None and isinstance(event, EpochEvent):
            self._epoch(trial)
        elif trial is not None and isinstance(event, Started):
            self.open[trial.number] = event.elapsed, trial.family
        elif isinstance(event, (Ending, Interrupted, Paused)):
            begun = self.open.pop(event.trial, None)
            if begun is not None:
                start, family = begun
                self.done.append(
                    (start, event.elapsed, event.trial, family, event.event)
                )
        elif isinstance(event, RerunEvent):
            self.reruns.append(again.told(event, self.objective))
        elif isinstance(event, ReadTest):
            self.reads.append(event.purpose)

    def _epoch(self, trial: Trial) -> None:
        length = len(trial.curve)
        if length == self.known.get(trial.number, 0):
            return  # told before, or beyond the budget
        self.known[trial.number] = length
        self.epochs += 1
        steps = self.steps[trial.family]
        if trial.value is None:
            return
        if not steps or self.objective.better(trial.value, steps[-1].value):
            step = Step(epochs=self.epochs, value=trial.value, trial=trial.number)
            steps.append(step)

    def history(self, elapsed: float) -> History:
        running = [
            (start, max(elapsed, start), number, family, "running")
            for number, (start, family) in self.open.items()
        ]
        return History(
            stretches=_in_lanes(sorted([*self.done, *running])),
            progress={family: tuple(steps) for family, steps in self.steps.items()},
            epochs=self.epochs,
            reruns=tuple(self.reruns),
            reads=tuple(self.reads),
        )


def _in_lanes(
    found: Sequence[tuple[float, float, int, str, str]],
) -> tuple[Stretch, ...]:
    """Give each attempt the first lane that is free when it begins."""
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    lanes, out = 0, []
    for start, end, number, family, outcome in found:
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane, lanes = lanes, lanes + 1
        heapq.heappush(busy, (end, lane))
        out.append(
            Stretch(
                trial=number,
                family=family,
                lane=lane,
                start=start,
                end=end,
                outcome=outcome,
            )
        )
    return tuple(out)
