"""End trials that are behind most of the others at the same epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hpo.options import at_least, at_most
from hpo.stopping.registry import Evidence, Verdict
from hpo.trials.record import finite_key
from hpo.trials.states import State


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """Stopped: its best value so far is behind a percentile of the others'.

    The others are all trials of the family that have reached the epoch, whatever became of
    them, with their best values by that epoch (linearly interpolated between two). Values that
    are not finite count as the worst, and end their own trial. (Golovin et al., Google
    Vizier, 2017, section 3.2.2, with values in place of their running averages.)

    Attributes:
        keep: How many per cent of the others a trial has to keep up with.
        startup: How many others must have reached the epoch.
        warmup: Epochs before anything is compared; None for a tenth of the budget.
        interval: Epochs between two comparisons; None for a tenth of the budget.
    """

    converges: ClassVar[bool] = False

    keep: float = 25.0
    startup: int = 4
    warmup: int | None = None
    interval: int | None = None

    def __post_init__(self) -> None:
        """Refuse options without a meaning."""
        at_least("percentile: keep", self.keep, 0.0)
        at_most("percentile: keep", self.keep, 100.0)
        at_least("percentile: startup", self.startup, 1, whole=True)
        if self.warmup is not None:
            at_least("percentile: warmup", self.warmup, 0, whole=True)
        if self.interval is not None:
            at_least("percentile: interval", self.interval, 1, whole=True)

    def rungs(self, budget: int, index: int) -> tuple[int, ...]:
        """Every `interval` epochs after the first `warmup` ones, below the budget."""
        tenth = max(1, budget // 10)
        interval = tenth if self.interval is None else self.interval
        warmup = tenth if self.warmup is None else self.warmup
        return tuple(range(max(warmup, 1), budget, interval))

    def judge(self, evidence: Evidence) -> Verdict | None:
        """Compare with the others at this epoch."""
        if evidence.rung is None:
            return None
        number, value = evidence.epoch.number, evidence.value
        objective = evidence.objective
        if not math.isfinite(value):
            return Verdict(State.STOPPED, f"{objective.metric} is {value}")
        others = evidence.rung.others(evidence.trial)
        if len(others) < self.startup:
            return None
        best = finite_key(evidence.attained, objective)
        if best <= quantile(others, self.keep / 100):
            return None
        text = f"behind {self.keep:g} % of {len(others)} others at epoch {number}"
        return Verdict(State.STOPPED, text)


def quantile(ascending: Sequence[float], fraction: float) -> float:
    """A quantile, linearly interpolated between two neighbours; infinity is the largest.

    Args:
        ascending: Numbers in order, at least one.
        fraction: From 0 to 1.
    """
    place = fraction * (len(ascending) - 1)
    below = math.floor(place)
    part = place - below
    low = ascending[below]
    if part == 0 or math.isinf(low):
        return low
    return low + part * (ascending[below + 1] - low)
