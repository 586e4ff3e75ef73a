"""Tasks that are searched without training: spaces whose points have finished curves."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hpo.study import Objective
from hpo.trials.record import Trial
from models.training.protocol import Epoch
from search_spaces.space import Space


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The whole curve of training one configuration.

    Attributes:
        epochs: Every epoch there is, from number 1; fewer than the budget where the
            learner ends by itself.
        failure: Why it fails after the last of them; empty when it does not.
        cut: Whether it was ended from outside, so that what would have come is not known.
    """

    epochs: Sequence[Epoch]
    failure: str = ""
    cut: bool = False


def usual_seconds(curves: Iterable[Curve]) -> float:
    """The median over curves of the virtual seconds that a whole one takes.

    Args:
        curves: At least one.
    """
    return statistics.median(
        sum(e.seconds + e.compile_seconds for e in curve.epochs) for curve in curves
    )


class Curves(Protocol):
    """A family's space with the curve of each of its points.

    Attributes:
        space: What may vary.
        size: How many points there are; None where there is no end of them.
    """

    space: Space
    size: int | None

    def place(
        self, params: Mapping[str, Any], *, seed: int, uniform: bool, taken: set[int]
    ) -> dict[str, Any]:
        """The point that is trained where a sampler proposes `params`.

        Args:
            params: What the sampler proposes.
            seed: A seed for this one proposal.
            uniform: Whether the sampler draws without looking at anything, so that a draw
                from the points that are left is what it means.
            taken: Which points have been trained; this one is added.
        """
        ...

    def curve(self, params: Mapping[str, Any], seed: int) -> Curve:
        """The curve of training that point.

        Args:
            params: As `place` gave them.
            seed: The trial's seed.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing to search.

    Attributes:
        name: What it is called.
        curves: Curves by family.
        epochs: Epochs of a full run: the epoch budget of every trial, unless `own_epochs`
            says otherwise.
        objective: What trials are ranked by.
        best: The best value of the reference configurations; regret 0.
        median: Their median value; regret 1.
        seconds: Virtual seconds of a usual full run; None where none is recorded.
        own_epochs: Epoch budgets of families that have one of their own.
        remarks: What a person must know to read the numbers, in words.
    """

    name: str
    curves: Mapping[str, Curves]
    epochs: int
    objective: Objective
    best: float
    median: float
    seconds: float | None = None
    own_epochs: Mapping[str, int] | None = None
    remarks: tuple[str, ...] = ()

    @property
    def size(self) -> int | None:
        """How many points there are, all families together; None for no end of them."""
        sizes = [c.size for c in self.curves.values()]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    def truth(self, trial: Trial) -> float:
        """The value of a trial's configuration: that of its best epoch.

        Args:
            trial: A trial with a value.
        """
        assert trial.value is not None
        return trial.value

    def regret(self, trial: Trial) -> float:
        """How far a trial is from the best reference, in units of the median's distance."""
        distance = self.objective.rank_key(self.truth(trial)) - self.objective.rank_key(
            self.best
        )
        scale = abs(self.median - self.best)
        return distance / scale if scale > 0 else distance


class Table(Protocol):
    """A collection of tasks.

    Attributes:
        name: What it is called.
        tasks: The names of its tasks, in order.
        chosen_on: Those that rules were chosen on; the others are looked at once.
        remarks: What a person must know to read its numbers, in words.
    """

    name: str
    tasks: tuple[str, ...]
    chosen_on: tuple[str, ...]
    remarks: tuple[str, ...]

    def task(self, name: str) -> Task:
        """One of them.

        Raises:
            UserError: The data is damaged.
        """
        ...
