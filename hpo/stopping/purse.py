"""A run's budget in one currency: epochs of all trials, or seconds of all workers.

The budget of an extended run is what the extension added, and what was left then.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from hpo.stopping.planning import Outlook
from hpo.trials.record import Trial

_MARGIN = 1.1  # of what an epoch took so far: going on costs a restart, too
_SLOWEST = 1.5  # medians: a slow leader does not get the budget of several others


@dataclass(frozen=True, kw_only=True)
class Purse:
    """The budget as it is now, and what training costs.

    Attributes:
        total: The whole budget.
        spent: The part that is gone.
        within: How much a single trial can still spend; seconds of one worker, or no limit.
        seconds: Whether it is counted in seconds.
        price: A usual epoch's.
        compiling: The seconds before the first epoch of a trial, on average.
    """

    total: float
    spent: float
    within: float
    seconds: bool
    price: float
    compiling: float = 0.0

    @classmethod
    def of(cls, outlook: Outlook, *, otherwise: float) -> Purse:
        """The run's purse: that of its limits of which the larger part is spent.

        Args:
            outlook: The outlook.
            otherwise: Epochs that a run without limits may spend.
        """
        budget, workers, begun = outlook.budget, outlook.workers, outlook.beginning
        total = otherwise
        if budget.total_epochs is not None:
            total = budget.total_epochs - begun.epochs
        by_epochs = cls(
            total=total,
            spent=outlook.spent - begun.epochs,
            within=float("inf"),
            seconds=False,
            price=1.0,
        )
        if budget.seconds is None:
            return by_epochs
        trained = [t for t in outlook.trials.values() if t.curve]
        by_seconds = cls(
            total=(budget.seconds - begun.elapsed) * workers,
            spent=(outlook.elapsed - begun.elapsed) * workers,
            within=budget.seconds - outlook.elapsed,
            seconds=True,
            price=_usual(trained),
            compiling=_average(t.compile_seconds for t in trained),
        )
        both = [by_seconds] + [by_epochs] * (budget.total_epochs is not None)
        return max(both, key=lambda purse: purse.spent / purse.total)

    @property
    def epoch(self) -> float:
        """The cost of a usual epoch."""
        return self.price * _MARGIN if self.seconds else 1.0

    def cost(self, trial: Trial | None, epochs: float) -> float:
        """The cost of so many epochs of a trial, and of compiling one that is not begun.

        Args:
            trial: The trial; None for one that is yet to be drawn.
            epochs: How many.
        """
        if not self.seconds:
            return epochs
        if trial is None or not trial.curve:
            return epochs * self.epoch + self.compiling
        price = min(trial.seconds / len(trial.curve), _SLOWEST * self.price)
        return epochs * price * _MARGIN


def _usual(trials: Iterable[Trial]) -> float:
    """The median over trials of the seconds an epoch took; 0 before the first."""
    prices = [t.seconds / len(t.curve) for t in trials]
    return statistics.median(prices) if prices else 0.0


def _average(seconds: Iterable[float]) -> float:
    """The mean; 0 of nothing."""
    found = list(seconds)
    return statistics.fmean(found) if found else 0.0
