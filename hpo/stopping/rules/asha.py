"""Asynchronous successive halving, the stopping variant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from hpo.options import at_least
from hpo.stopping.halving import geometric, halve
from hpo.stopping.registry import Evidence, Verdict


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """At each rung only the best 1/eta of the family's trials so far go on (at least one).

    Rungs lie at ``grace * eta**k`` epochs below the budget, and compare the best values *by*
    the rung, as trials are ranked. A value that is not finite never goes on, counts as the
    worst, and so never keeps another trial from going on. (Li et al., A System for Massively
    Parallel Hyperparameter Tuning, 2020; the stopping variant judges every trial once, on
    arrival.)

    Attributes:
        eta: One in how many goes on.
        grace: The first rung: epochs, or below 1 a part of the budget, rounded up. None is
            what runs got before a study's record said otherwise: a tenth, rounded down.
    """

    converges: ClassVar[bool] = False

    eta: int = 3
    grace: float | None = 1

    def __post_init__(self) -> None:
        """Refuse options that would halve nothing."""
        at_least("asha: eta", self.eta, 2, whole=True)
        if self.grace is not None and not _is_part(self.grace):
            at_least("asha: grace (or a part of the budget)", self.grace, 1, whole=True)

    def rungs(self, budget: int, index: int) -> tuple[int, ...]:
        """``grace * eta**k`` for all k while below the budget."""
        if self.grace is None:
            first = max(1, budget // 10)
        elif _is_part(self.grace):
            first = math.ceil(round(self.grace * budget, 6))  # 0.07 * 100 is above 7
        else:
            first = int(self.grace)
        return geometric(first, eta=self.eta, budget=budget)

    def judge(self, evidence: Evidence) -> Verdict | None:
        """Compare with the family at a rung; say nothing between rungs."""
        return halve(evidence, eta=self.eta)


def _is_part(grace: object) -> bool:
    return isinstance(grace, float) and 0.0 < grace < 1.0
