"""The record of a trial: all that the ledger tells of it, and the trials of one family in order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import msgspec

from hpo.schedule import Change, values_in
from hpo.study import Objective
from hpo.trials.curve import Curve
from hpo.trials.states import ENDINGS, RANKED, State
from models.training.protocol import Epoch


class Attempt(msgspec.Struct, array_like=True, kw_only=True):
    """One go at a trial.

    Attributes:
        number: Counted from 1.
        why: ``first``, ``retry``, ``resume``, ``promoted`` or ``carried``.
        epoch: The last epoch that was known when it started.
        end: How it ended, in words; empty while it runs.
        died: Whether its process died.
        checkpoint: The last epoch it saved; None before the first.
    """

    number: int
    why: str
    epoch: int
    end: str = ""
    died: bool = False
    checkpoint: int | None = None


class Adopted(msgspec.Struct, array_like=True, kw_only=True):
    """A trial gave up its own training for a copy of another one's.

    Attributes:
        epoch: After which epoch of both.
        donor: The number of the other trial.
        attempt: The donor's attempt that saved the state.
        since: The first attempt of the trial itself that goes on from there.
        value: What the trial itself had reached at that epoch, in the first objective.
    """

    epoch: int
    donor: int
    attempt: int
    since: int
    value: float


class Trial(msgspec.Struct, array_like=True, kw_only=True):
    """One configuration of one family, as far as the ledger tells.

    There is one record a trial; the reducer alone changes it, event by event. Once a trial has
    adopted another one's state (`exploits`), it tells of the training that it goes on with, from
    that one's first epoch: seed, values, curve and best epoch are the other's up to there. What
    it spent stays its own: seconds, attempts, and as many epochs as it inherited.

    Attributes:
        number: Its number in the run, from 1.
        family: Its family.
        index: Its number within the family, from 0.
        params: Searched values by name, before the first change of `schedule`.
        seed: The seed of its training.
        budget: Its epoch budget.
        origin: Who proposed it: a sampler's name, ``first`` for a point to try first, or
            ``carried`` for a trial of an earlier run.
        state: Where it stands.
        attempts: Its goes, in order.
        curve: Its epochs within budget.
        best_epoch: The epoch of `value`, or None.
        value: The first objective at the best epoch, or None when no value is finite.
        further: What was reported for the further objectives at the best epoch, by metric.
        rule: The rule that ended or paused it, if one did.
        reason: Why it ended or was interrupted, in words.
        unequal: Epochs that came out differently when trained again.
        notes: Remarks on it.
        parameters: How many numbers its model trains, where the learner says so.
        kernels: The compiled kernels it computes with, where the learner says so.
        seconds: Training and validation, without compiling, over all epochs.
        compile_seconds: Compiling, over all epochs.
        epochs: Its epochs with every number, by number, where the reducer keeps them.
        schedule: How its traced values change between epochs.
        exploits: Whose state it adopted, in order.
        extension: Under which extension of the run it was proposed, which says of what space
            it is (`hpo.trials.spaces`); 0 before the first.
    """

    number: int
    family: str
    index: int
    params: dict[str, Any]
    seed: int
    budget: int
    origin: str = ""
    state: State = State.PENDING
    attempts: list[Attempt] = []
    curve: Curve = msgspec.field(default_factory=Curve)
    best_epoch: int | None = None
    value: float | None = None
    further: dict[str, float] = {}
    rule: str = ""
    reason: str = ""
    unequal: list[int] = []
    notes: list[str] = []
    parameters: int | None = None
    kernels: str | None = None
    seconds: float = 0.0
    compile_seconds: float = 0.0
    epochs: dict[int, Epoch] = {}
    schedule: list[Change] = []
    exploits: list[Adopted] = []
    extension: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more will be trained."""
        return self.state in ENDINGS

    @property
    def ranked(self) -> bool:
        """Whether it is in the ranked table: completed or converged, with a value."""
        return self.value is not None and self.state in RANKED

    @property
    def last(self) -> int:
        """The last epoch known, 0 for none."""
        return self.curve.last

    @property
    def values(self) -> dict[int, float]:
        """The first objective by epoch (NaN where it was not reported); made for the asker."""
        return self.curve.values()

    @property
    def attempt(self) -> int:
        """The latest attempt, 0 before the first."""
        return len(self.attempts)

    @property
    def died(self) -> bool:
        """Whether the process of the latest attempt died."""
        return bool(self.attempts) and self.attempts[-1].died

    @property
    def deaths(self) -> int:
        """Attempts that ended because their process died."""
        return sum(attempt.died for attempt in self.attempts)

    @property
    def since(self) -> int:
        """The first attempt whose checkpoints belong to its training of now."""
        return self.exploits[-1].since if self.exploits else 1

    @property
    def restore_from(self) -> int | None:
        """The latest attempt that saved a checkpoint of its training of now, or None."""
        mine = self.attempts[self.since - 1 :]
        saved = (a.number for a in mine if a.checkpoint is not None)
        return max(saved, default=None)

    @property
    def current(self) -> dict[str, Any]:
        """Searched values by name, behind the last change of its schedule."""
        return values_in(self.params, self.schedule)

    @property
    def ended_by(self) -> str:
        """The rule that ended it, or the reason; empty where the state says it already."""
        if self.rule == "divergence":
            return ""
        return self.rule or self.reason.strip()


class RunRecord(msgspec.Struct, array_like=True, kw_only=True):
    """All that a ledger tells of a run.

    Attributes:
        trials: By number, in the order they were proposed.
        elapsed: Active seconds of the run at its latest event.
        notes: Remarks on the run.
        ending: Why the run finished; None while it can go on.
        before: The study as it was before each extension, as JSON has it.
    """

    trials: dict[int, Trial] = {}
    elapsed: float = 0.0
    notes: list[str] = []
    ending: str | None = None
    before: list[dict[str, Any]] = []


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


def value_by(values: Mapping[int, float], epoch: int, objective: Objective) -> float:
    """What a rung compares: a trial's best value by an epoch, by which it would rank there.

    A model that goes on beyond its best epoch loses nothing of what it is ranked by. Where the
    value at the epoch itself is not finite, that counts.

    Args:
        values: The objective by epoch, this one among them.
        epoch: The rung.
        objective: What trials are ranked by.
    """
    if not math.isfinite(values[epoch]):
        return values[epoch]
    earlier = (v for e, v in values.items() if e <= epoch and math.isfinite(v))
    return min(earlier, key=objective.rank_key)


def finite_key(value: float, objective: Objective) -> float:
    """A number that sorts best first; whatever is not finite sorts last."""
    return objective.rank_key(value) if math.isfinite(value) else math.inf
