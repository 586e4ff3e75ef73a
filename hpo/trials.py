"""What the Director knows of a trial, and how each event changes it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, overload

from hpo.errors import RunError
from hpo.ledger.events import ENDINGS, RANKED, Event
from hpo.study import Objective
from models.training.protocol import Epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One configuration of one family, as far as the ledger tells.

    The record is replaced at every event; its mappings only ever grow.

    Attributes:
        number: Its number in the run, from 1.
        family: Its family.
        index: Its number within the family, from 0.
        params: Searched values by name.
        seed: Its seed.
        budget: Its epoch budget.
        origin: Who proposed it: a sampler's name, ``first`` for a point to try first, or
            ``carried`` for a trial of an earlier run.
        state: ``pending`` (proposed, or interrupted and waiting), ``running``, ``paused``
            (waiting for other trials), or an ending.
        attempt: The latest attempt, 0 before the first.
        deaths: Attempts that ended because their process died.
        died: Whether the latest attempt was one of them.
        epochs: Every epoch known, by number.
        values: The first objective's value by epoch (NaN where it was not reported).
        last: The last epoch known, 0 for none.
        best_epoch: The epoch of `value`, or None.
        value: The objective at the best epoch, or None when no value is finite.
        checkpoints: Attempt → last epoch it saved.
        rule: The rule that ended it, if one did.
        reason: Why it ended or was interrupted, in words.
        unequal: Epochs that came out differently when trained again.
        parameters: How many numbers its model trains, where the learner says so.
        kernels: The compiled kernels it computes with, where the learner says so.
        seconds: Training and validation, without compiling, over all epochs.
        compile_seconds: Compiling, over all epochs.
    """

    number: int
    family: str
    index: int
    params: Mapping[str, Any]
    seed: int
    budget: int
    origin: str = ""
    state: str = "pending"
    attempt: int = 0
    deaths: int = 0
    died: bool = False
    epochs: Mapping[int, Epoch] = field(default_factory=dict)
    values: Mapping[int, float] = field(default_factory=dict)
    last: int = 0
    best_epoch: int | None = None
    value: float | None = None
    checkpoints: Mapping[int, int] = field(default_factory=dict)
    rule: str = ""
    reason: str = ""
    unequal: tuple[int, ...] = ()
    parameters: int | None = None
    kernels: str | None = None
    seconds: float = 0.0
    compile_seconds: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether nothing more will be trained."""
        return self.state in ENDINGS

    @property
    def ranked(self) -> bool:
        """Whether it stands in the ranked table."""
        return self.state in RANKED

    @property
    def restore_from(self) -> int | None:
        """The latest attempt that saved a checkpoint, or None."""
        return max(self.checkpoints, default=None)


# How each slot of a frozen trial is read and filled.
_SLOTS = tuple(
    (f.name, vars(Trial)[f.name].__get__, vars(Trial)[f.name].__set__)
    for f in fields(Trial)
)


def _changed(trial: Trial, **changes: Any) -> Trial:
    """What `dataclasses.replace` gives, for the one event there are very many of."""
    made = object.__new__(Trial)
    for name, read, fill in _SLOTS:
        fill(made, changes[name] if name in changes else read(trial))
    return made


class History(Sequence[Trial]):
    """The trials of one family in the order they were proposed; a view, not a copy."""

    def __init__(self, *, numbers: Sequence[int], trials: Mapping[int, Trial]) -> None:
        self._numbers = numbers
        self._trials = trials

    @overload
    def __getitem__(self, index: int) -> Trial: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Trial]: ...
    def __getitem__(self, index: int | slice) -> Trial | Sequence[Trial]:
        """The trial with this index within the family."""
        if isinstance(index, slice):
            return [self._trials[n] for n in self._numbers[index]]
        return self._trials[self._numbers[index]]

    def __len__(self) -> int:
        """How many were proposed."""
        return len(self._numbers)

    def __iter__(self) -> Iterator[Trial]:
        """Each trial, first proposed first."""
        return (self._trials[n] for n in self._numbers)


def objective_value(epoch: Epoch, objective: Objective) -> float:
    """The objective at an epoch; NaN where the metric was not reported."""
    return float(epoch.valid.get(objective.metric, math.nan))


def finite_key(value: float, objective: Objective) -> float:
    """A number that sorts best first; whatever is not finite sorts last."""
    return objective.rank_key(value) if math.isfinite(value) else math.inf


def advance(trial: Trial, event: Event, objective: Objective) -> Trial:
    """The trial after one of its events.

    Args:
        trial: As it was; the mappings in it are extended in place.
        event: Any event of that trial but `proposed`.
        objective: What trials are ranked by.

    Raises:
        RunError: The event cannot follow what the ledger said before.
    """
    kind = event.event
    if kind == "started":
        waits = trial.state in ("pending", "paused")
        _expect(waits, event, f"trial is {trial.state}, not pending")
        _expect(event.attempt == trial.attempt + 1, event, "attempts count up by one")
        number = trial.attempt + 1
        return replace(trial, state="running", attempt=number, rule="", reason="")
    _expect(
        event.attempt is None or event.attempt <= trial.attempt,
        event,
        f"attempt {event.attempt} was never started",
    )
    if kind == "epoch":
        _expect(trial.state == "running", event, f"trial is {trial.state}, not running")
        return _with_epoch(trial, event, objective)
    if kind == "checkpoint":
        assert isinstance(trial.checkpoints, dict)
        trial.checkpoints[event.attempt or trial.attempt] = event.data["epoch"]
        return trial
    if kind == "nondeterminism":
        return replace(trial, unequal=(*trial.unequal, event.data["epoch"]))
    if kind in ("paused", "interrupted"):
        _expect(trial.state == "running", event, f"trial is {trial.state}, not running")
        return _without_worker(trial, event)
    _expect(kind in ENDINGS, event, "this version cannot replay such an event")
    _expect(not trial.ended, event, f"trial has ended before ({trial.state})")
    rule, reason = event.data.get("rule", ""), event.data.get("reason", "")
    return replace(trial, state=kind, rule=rule, reason=reason)


def _without_worker(trial: Trial, event: Event) -> Trial:
    """The attempt is over, the trial may go on in another one."""
    data = event.data
    if event.event == "paused":
        rule, reason = data.get("rule", ""), data.get("reason", "")
        return replace(trial, state="paused", rule=rule, reason=reason)
    died = bool(data.get("death", False))
    deaths, reason = trial.deaths + died, data["reason"]
    return replace(trial, state="pending", died=died, deaths=deaths, reason=reason)


def contradiction(event: Event, why: str) -> RunError:
    """The error for an event that cannot follow the ones before it."""
    return RunError(
        f"line {event.n} of the ledger contradicts the lines before it: "
        f"{event.event} of trial {event.trial}: {why}",
        hint="a ledger is never edited by hand; restore `events.jsonl` from a copy",
    )


def _expect(holds: bool, event: Event, why: str) -> None:
    if not holds:
        raise contradiction(event, why)


def _with_epoch(trial: Trial, event: Event, objective: Objective) -> Trial:
    data = event.data
    number = data["epoch"]
    if number in trial.epochs:
        return trial
    epoch = Epoch(
        number=number,
        train=data["train"],
        valid=data["valid"],
        seconds=data["seconds"],
        compile_seconds=data["compile_seconds"],
    )
    assert isinstance(trial.epochs, dict) and isinstance(trial.values, dict)
    value = objective_value(epoch, objective)
    trial.epochs[number] = epoch
    trial.values[number] = value
    best, best_epoch = trial.value, trial.best_epoch
    if math.isfinite(value) and (best is None or objective.better(value, best)):
        best, best_epoch = value, number
    return _changed(
        trial,
        last=max(trial.last, number),
        value=best,
        best_epoch=best_epoch,
        parameters=data.get("parameters") or trial.parameters,
        kernels=data.get("kernels") or trial.kernels,
        seconds=trial.seconds + epoch.seconds,
        compile_seconds=trial.compile_seconds + epoch.compile_seconds,
    )
