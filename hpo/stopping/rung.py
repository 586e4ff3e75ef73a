"""The values of one family's trials at one epoch, kept sorted."""

from __future__ import annotations

import math
from bisect import bisect_left, insort


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

    def others(self, trial: int) -> list[float]:
        """The keys of all trials but one that reached this epoch, ascending.

        Args:
            trial: The number of the one, whether it was noted before or not.
        """
        found = self._sorted.copy()
        if trial in self._keys:
            del found[bisect_left(found, self._keys[trial])]
        return found

    def standing(self, trial: int, key: float) -> tuple[int, int]:
        """How many trials reached this epoch, `trial` included, and how many beat it.

        Args:
            trial: The trial's number, whether it was noted before or not.
            key: Its key at this epoch.
        """
        mine = self._keys.get(trial, key)
        reached = len(self._keys) + (trial not in self._keys)
        return reached, bisect_left(self._sorted, mine)
