"""A ledger folded up, trial by trial, to what reports need: every event read once, in order.

A fold can be written down and taken up again where it was left (`hpo.report.index`), so it
holds plain data only.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from hpo.ledger.events import ENDINGS, Event
from hpo.ledger.lines import EpochLine
from hpo.objectives import Values, values_at
from hpo.report.rows import Attempt
from hpo.study import Study

if TYPE_CHECKING:
    Points = array[float]
else:
    Points = array  # takes no parameters before Python 3.12, and msgspec looks at it


class Entry(msgspec.Struct, array_like=True, kw_only=True):
    """One trial, as far as its events were read.

    Attributes:
        number: Its number in the run.
        family: Its family; empty before it is proposed.
        params: Searched values by dotted key.
        seed: Its seed.
        state: One of the states of a trial.
        ended_by: The rule or the reason that ended it.
        reason: Why it ended or was interrupted, in words.
        parameters: How many numbers its model trains; None where that is not told.
        kernels: The compiled kernels it computes with; None where that is not told.
        attempts: Its goes, by number.
        repeated: Epochs that gave other numbers when they were trained again.
        notes: Remarks on it.
        points: Epoch, first objective and training loss of each known epoch, one behind the
            other, in order of arrival.
        last: The largest known epoch, 0 for none.
        seconds: Training and validation of all epochs, without compiling.
        compile_seconds: Tracing and compiling.
        best_key: The smallest rank key of an epoch within budget; infinite before one.
        best_epoch: The first epoch of that key; None before one.
        best_value: The first objective there.
        best_valid: What further objectives are there, by metric.
    """

    number: int
    family: str = ""
    params: dict[str, Any] = {}
    seed: int = 0
    state: str = "pending"
    ended_by: str = ""
    reason: str = ""
    parameters: int | None = None
    kernels: str | None = None
    attempts: dict[int, Attempt] = {}
    repeated: list[int] = []
    notes: list[str] = []
    points: Points = msgspec.field(default_factory=lambda: array("d"))
    last: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0
    best_key: float = math.inf
    best_epoch: int | None = None
    best_value: float | None = None
    best_valid: dict[str, float] = {}

    def values(self, study: Study) -> Values:
        """A value for each objective at the best epoch."""
        objectives, best = study.objectives, self.best_value
        if len(objectives) == 1:
            return (best,)
        if best is None:
            return values_at(objectives, {}, None)
        valid = {**self.best_valid, objectives[0].metric: best}
        return values_at(objectives, valid, self.parameters)

    def take(self, event: Event) -> None:
        """Take in an event of this trial that is no epoch."""
        data, kind = event.data, event.event
        self.parameters = data.get("parameters") or self.parameters
        self.kernels = data.get("kernels") or self.kernels
        if kind == "proposed":
            self.family, self.seed = data["family"], data["seed"]
            self.params = data["params"]
        elif kind == "started":
            number = event.attempt or len(self.attempts) + 1
            self.attempts[number] = Attempt(
                number=number, why=str(data["attempt_of"]), epoch=data["epoch"]
            )
            self.state, self.ended_by, self.reason = "running", "", ""
        elif kind == "nondeterminism":
            self.repeated.append(data["epoch"])
        elif kind == "note":
            self.notes.append(str(data["text"]))
        elif kind in ("interrupted", "paused") or kind in ENDINGS:
            self._end(event)

    def _end(self, event: Event) -> None:
        kind = event.event
        rule = str(event.data.get("rule", ""))
        self.reason = str(event.data.get("reason", "")).strip()
        self.state = "pending" if kind == "interrupted" else kind
        self.ended_by = rule or self.reason
        if rule == "divergence":  # the state says it already
            self.ended_by = ""
        if self.attempts:
            last = max(self.attempts) if event.attempt is None else event.attempt
            if last in self.attempts:
                words = f"{kind} ({self.ended_by})" if self.ended_by else kind
                self.attempts[last] = replace(self.attempts[last], end=words)


class Contents(msgspec.Struct, array_like=True, kw_only=True):
    """All that a fold knows.

    Attributes:
        trials: By number, in the order of their first events.
        elapsed: Active seconds of the run at its latest event.
        notes: Remarks on the run.
        ending: Why the run finished; None while it can go on.
    """

    trials: dict[int, Entry] = {}
    elapsed: float = 0.0
    notes: list[str] = []
    ending: str | None = None


class Fold:
    """Takes in the events of a run.

    Args:
        study: The resolved study of the launch.
        contents: Where an earlier fold of the same study's ledger was left.

    Attributes:
        contents: What is known.
    """

    def __init__(self, study: Study, contents: Contents | None = None) -> None:
        self.contents = Contents() if contents is None else contents
        first, *further = study.objectives
        self._metric = first.metric
        self._sign = 1 if first.direction == "minimize" else -1
        self._further = tuple(o.metric for o in further)
        self._budgets = {f.name: study.epochs_of(f.name) for f in study.families}

    def take(self, records: Iterable[Event | EpochLine]) -> None:
        """Take in the next events."""
        known, trials = self.contents, self.contents.trials
        for record in records:
            if record.elapsed > known.elapsed:
                known.elapsed = float(record.elapsed)
            number = record.trial
            if number is None:
                self._of_run(record)
                continue
            trial = trials.get(number)
            if trial is None:
                trial = trials[number] = Entry(number=number)
            if isinstance(record, EpochLine):
                self._epoch(trial, record)
            elif record.event == "epoch":
                self._epoch(trial, _as_line(record))
            elif record.event == "run":
                self._of_run(record)
            else:
                trial.take(record)

    def _of_run(self, event: Event | EpochLine) -> None:
        if not isinstance(event, Event):
            return
        if event.event == "run":
            finish = event.data["action"] == "finish"
            ending = str(event.data.get("reason", ""))
            self.contents.ending = ending if finish else None
        elif event.event == "note":
            self.contents.notes.append(str(event.data["text"]))

    def _epoch(self, trial: Entry, line: EpochLine) -> None:
        """The first report of an epoch stands."""
        trial.parameters = line.parameters or trial.parameters
        trial.kernels = line.kernels or trial.kernels
        epoch = line.epoch
        if epoch > trial.last:
            trial.last = epoch
        elif epoch in trial.points[::3]:
            return
        value = line.valid.get(self._metric, math.nan)
        trial.points.extend((epoch, value, line.train.get("loss", math.nan)))
        trial.seconds += line.seconds
        trial.compile_seconds += line.compile_seconds
        key = self._sign * value
        if key > trial.best_key or not math.isfinite(key):
            return
        if epoch > self._budgets.get(trial.family, epoch):
            return
        if key < trial.best_key or epoch < (trial.best_epoch or 0):
            trial.best_key, trial.best_epoch = float(key), epoch
            trial.best_value = float(value)
            if self._further:
                valid = line.valid
                found = {m: valid[m] for m in self._further if m in valid}
                trial.best_valid = found


def _as_line(event: Event) -> EpochLine:
    """An epoch that is out of the ordinary, such as one with numbers that are not finite."""
    data: Mapping[str, Any] = event.data
    return EpochLine(
        schema=1,
        n=event.n,
        time=event.time,
        elapsed=event.elapsed,
        trial=event.trial or 0,
        attempt=event.attempt,
        epoch=data["epoch"],
        train=data["train"],
        valid=data["valid"],
        seconds=data["seconds"],
        compile_seconds=data["compile_seconds"],
        parameters=data.get("parameters"),
        kernels=data.get("kernels"),
    )
