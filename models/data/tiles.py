"""Windows that follow one another, so that every sample is scored once."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from models.data.plan import Plan


class Tiles(NamedTuple):
    """Some windows of a plan.

    Attributes:
        numbers: Of the windows ``[N]``, as `Plan.order` numbers them.
        skip: Samples at the start of each that do not count ``[N]``.
    """

    numbers: np.ndarray
    skip: np.ndarray


@runtime_checkable
class Tiled(Protocol):
    """A feed on the device whose windows can be cut so.

    Attributes:
        window: Samples per window.
    """

    window: int

    def tiles(self, start: int) -> Tiles:
        """Windows that score every sample once, from sample `start` of each on."""
        ...


def tiles(plan: Plan, start: int) -> Tiles:
    """Windows whose scored parts cover every record, side by side.

    The last window of a record begins where it still fits, and does not score again what
    the one before it did. Where windows begin further apart than they score, all are taken.

    Args:
        plan: The windows there are.
        start: First sample of a window that is scored.
    """
    numbers, skip = [], []
    ends = (*plan.first[1:], plan.windows)
    for first, end in zip(plan.first, ends, strict=True):
        place, scored = 0, start
        while True:
            numbers.append(first + place)
            skip.append(max(scored - place * plan.stride, start))
            scored = place * plan.stride + plan.window
            if first + place == end - 1:
                break
            following = max((scored - start) // plan.stride, place + 1)
            place = min(following, end - 1 - first)
    return Tiles(np.asarray(numbers, np.int32), np.asarray(skip, np.int32))
