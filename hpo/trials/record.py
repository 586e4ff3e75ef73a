"""A trial as the ledger describes it, and the trials of one family in order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from hpo.ledger.events import ENDINGS, RANKED
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
