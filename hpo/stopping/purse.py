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
    """

    total: float
    spent: float
    within: float
    seconds: bool
    price: float

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
        price = _usual(outlook.trials.values())
        by_seconds = cls(
            total=(budget.seconds - begun.elapsed) * workers,
            spent=(outlook.elapsed - begun.elapsed) * workers,
            within=budget.seconds - outlook.elapsed,
            seconds=True,
            price=price,
        )
        both = [by_seconds] + [by_epochs] * (budget.total_epochs is not None)
        return max(both, key=lambda purse: purse.spent / purse.total)

    def cost(self, trial: Trial | None, epochs: float) -> float:
        """The cost of so many epochs of a trial.

        Args:
            trial: The trial; None for one that is yet to be drawn.
            epochs: How many.
        """
        if not self.seconds:
            return epochs
        price = self.price
        if trial is not None and trial.curve:
            price = min(trial.seconds / len(trial.curve), _SLOWEST * price)
        return epochs * price * _MARGIN


def _usual(trials: Iterable[Trial]) -> float:
    """The median over trials of the seconds an epoch took; 0 before the first."""
    prices = [t.seconds / len(t.curve) for t in trials if t.curve]
    return statistics.median(prices) if prices else 0.0
