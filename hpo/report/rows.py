"""The parts of a trial's row: its curve and its attempts."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload


@dataclass(frozen=True, kw_only=True)
class Point:
    """One epoch of a trial's curve.

    Attributes:
        epoch: Counted from 1.
        value: The objective's metric, in the objective's unit; NaN where it was not finite.
        loss: Training loss, or NaN where the learner reports none.
    """

    epoch: int
    value: float
    loss: float


class Curve(Sequence[Point]):
    """A trial's epochs in order; each `Point` is made when it is looked at.

    Args:
        points: Epoch, value and loss of each, one behind the other, in any order; epochs are
            distinct.
    """

    def __init__(self, points: array[float]) -> None:
        self._given = points

    @cached_property
    def _points(self) -> array[float]:
        points, epochs = self._given, self._given[::3]
        if all(a < b for a, b in zip(epochs, epochs[1:], strict=False)):
            return points
        order = sorted(range(len(epochs)), key=epochs.__getitem__)
        return array("d", (points[3 * i + part] for i in order for part in range(3)))

    @overload
    def __getitem__(self, index: int) -> Point: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Point]: ...
    def __getitem__(self, index: int | slice) -> Point | Sequence[Point]:
        """The point at a place, counted from 0; not the one of an epoch."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        epoch, value, loss = self._points[3 * place : 3 * place + 3]
        return Point(epoch=int(epoch), value=value, loss=loss)

    def __len__(self) -> int:
        """How many epochs are known."""
        return len(self._given) // 3

    def __iter__(self) -> Iterator[Point]:
        """Each point, first epoch first."""
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Equal when every number is; NaN equals NaN here."""
        return (
            isinstance(other, Curve)
            and self._points.tobytes() == other._points.tobytes()
        )

    def __hash__(self) -> int:
        """Follows equality."""
        return hash(self._points.tobytes())

    def __repr__(self) -> str:
        """Its points, for messages."""
        return f"Curve({list(self)!r})"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One go at a trial.

    Attributes:
        number: Counted from 1.
        why: ``first``, ``retry``, ``resume``, ``promoted`` or ``carried``.
        epoch: The last epoch that was known when it started.
        end: How it ended, in words; empty while it runs.
    """

    number: int
    why: str
    epoch: int
    end: str = ""
