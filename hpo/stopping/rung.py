"""The best values of one family's trials by one epoch, kept sorted."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import overload

from hpo.study import Objective
from hpo.trials.record import Trial


def rung_key(trial: Trial, epoch: int, objective: Objective) -> float:
    """The key of a trial at the rung that it has just reached: smaller is better.

    That of its best value by then (`value_by`), which its record knows.

    Args:
        trial: A trial whose last epoch is the rung.
        epoch: The rung.
        objective: What trials are ranked by.
    """
    value = trial.curve.value_at(epoch)
    assert value is not None, "it was taken in"
    if not math.isfinite(value):
        return math.inf
    assert trial.value is not None, "a finite value is the best, or worse than it"
    return objective.rank_key(trial.value)


class Rung:
    """Who reached an epoch, with what; smaller keys are better, infinity is worst."""

    def __init__(self) -> None:
        self._keys: dict[int, float] = {}
        self._sorted: list[float] = []

    def add(self, trial: int, key: float) -> None:
        """Note a trial's key at this epoch; only the first one counts."""
        assert not math.isnan(key), "NaN must be made infinite before it gets here"
        if trial not in self._keys:
            self._keys[trial] = key
            insort(self._sorted, key)

    @property
    def count(self) -> int:
        """How many trials reached this epoch."""
        return len(self._keys)

    def others(self, trial: int) -> Sequence[float]:
        """The keys of all trials but one that reached this epoch, ascending.

        A view, to be used before the next key is added; nothing is copied.

        Args:
            trial: The number of the one, whether it was noted before or not.
        """
        if trial not in self._keys:
            return _Without(self._sorted, len(self._sorted))
        return _Without(self._sorted, bisect_left(self._sorted, self._keys[trial]))

    def standing(self, trial: int, key: float) -> tuple[int, int]:
        """How many trials reached this epoch, `trial` included, and how many beat it.

        Args:
            trial: The trial's number, whether it was noted before or not.
            key: Its key at this epoch.
        """
        mine = self._keys.get(trial, key)
        reached = len(self._keys) + (trial not in self._keys)
        return reached, bisect_left(self._sorted, mine)


class _Without(Sequence[float]):
    """A list without the member at one place; a place behind the end leaves out none."""

    def __init__(self, members: list[float], place: int) -> None:
        self._members = members
        self._place = place

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[float]: ...
    def __getitem__(self, index: int | slice) -> float | Sequence[float]:
        """As in a list."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        found = range(len(self))[index]
        return self._members[found + (found >= self._place)]

    def __len__(self) -> int:
        """How many are left."""
        return len(self._members) - (self._place < len(self._members))
