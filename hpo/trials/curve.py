"""The curve of a trial: a few numbers of each epoch, in little memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload


@dataclass(frozen=True, kw_only=True)
class Point:
    """One epoch of a curve.

    Attributes:
        epoch: Counted from 1.
        value: The first objective's metric; NaN where it was not finite or not reported.
        loss: Training loss, or NaN where the learner reports none.
    """

    epoch: int
    value: float
    loss: float


class Curve(Sequence[Point]):
    """A trial's epochs, first epoch first; each `Point` is made when it is looked at.

    Args:
        points: Epoch, value and loss of each, one behind the other, epochs ascending.
    """

    __slots__ = ("points",)

    def __init__(self, points: array[float] | None = None) -> None:
        self.points = array("d") if points is None else points

    @classmethod
    def of(cls, values: Iterable[tuple[int, float]]) -> Curve:
        """The curve of these epochs and values, without losses."""
        made = cls()
        for epoch, value in values:
            made.add(epoch, value, float("nan"))
        return made

    def add(self, epoch: int, value: float, loss: float) -> bool:
        """Put in an epoch; whether it is new. Of two reports of one epoch the first stands."""
        points = self.points
        if not points or epoch > points[-3]:
            points.extend((epoch, value, loss))
            return True
        place = self._place(epoch)
        if points[3 * place] == epoch:
            return False
        points[3 * place : 3 * place] = array("d", (epoch, value, loss))
        return True

    @property
    def last(self) -> int:
        """The last epoch, 0 for none."""
        return int(self.points[-3]) if self.points else 0

    def values(self) -> dict[int, float]:
        """The first objective by epoch."""
        return dict(zip(map(int, self.points[::3]), self.points[1::3], strict=True))

    def value_at(self, epoch: int) -> float | None:
        """The first objective at an epoch, or None where it is not known."""
        if not self.points or epoch > self.last:
            return None
        place = 3 * self._place(epoch)
        return self.points[place + 1] if self.points[place] == epoch else None

    def _place(self, epoch: int) -> int:
        """Where an epoch is, or would be put in."""
        return bisect_left(
            range(len(self)), epoch, key=lambda i: int(self.points[3 * i])
        )

    @overload
    def __getitem__(self, index: int) -> Point: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Point]: ...
    def __getitem__(self, index: int | slice) -> Point | Sequence[Point]:
        """The point at a place, counted from 0; not the one of an epoch."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        epoch, value, loss = self.points[3 * place : 3 * place + 3]
        return Point(epoch=int(epoch), value=value, loss=loss)

    def __len__(self) -> int:
        """How many epochs are known."""
        return len(self.points) // 3

    def __iter__(self) -> Iterator[Point]:
        """Each point, first epoch first."""
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Equal when every number is; NaN equals NaN here."""
        return (
            isinstance(other, Curve) and self.points.tobytes() == other.points.tobytes()
        )

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        """Its points, for messages."""
        return f"Curve({list(self)!r})"
