"""Hyperband: successive halving in brackets that begin later and later."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from hpo.options import at_least
from hpo.stopping.halving import geometric, halve
from hpo.stopping.registry import Evidence, Verdict


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """Asynchronous successive halving in brackets, for curves that may cross late.

    Bracket 0 has its first rung at `grace` epochs, each further one `eta` times later, the
    last one none: its trials are trained to the end. A trial's bracket follows from its
    number within the family, so that any first n trials are divided as Hyperband divides
    them (Li et al., 2018, algorithm 1: eta**s / (s + 1) trials in the bracket with s
    rungs). Only trials of the same bracket are compared, each once, on arrival.

    Attributes:
        eta: One in how many goes on.
        grace: The first rung in epochs.
    """

    converges: ClassVar[bool] = False

    eta: int = 3
    grace: int = 1

    def __post_init__(self) -> None:
        """Refuse options that would halve nothing."""
        at_least("hyperband: eta", self.eta, 2, whole=True)
        at_least("hyperband: grace", self.grace, 1, whole=True)

    def bracket(self, budget: int, index: int) -> int:
        """Which bracket a trial is in, from 0.

        Args:
            budget: The family's epoch budget.
            index: The trial's number within the family, from 0.
        """
        order = _order(
            self.eta, len(geometric(self.grace, eta=self.eta, budget=budget))
        )
        return order[index % len(order)]

    def rungs(self, budget: int, index: int) -> tuple[int, ...]:
        """The rungs of the trial's bracket."""
        whole = geometric(self.grace, eta=self.eta, budget=budget)
        return whole[self.bracket(budget, index) :]

    def judge(self, evidence: Evidence) -> Verdict | None:
        """Compare with the bracket at a rung; say nothing between rungs."""
        return halve(evidence, eta=self.eta)


@lru_cache(maxsize=64)
def _order(eta: int, most: int) -> tuple[int, ...]:
    """The brackets of the trials 0, 1, …: one cycle, evenly mixed.

    Args:
        eta: One in how many goes on.
        most: Rungs of bracket 0.
    """
    weights = [
        math.ceil((most + 1) * eta**rungs / (rungs + 1))
        for rungs in range(most, -1, -1)
    ]
    given = [0] * len(weights)
    order = []
    for _ in range(sum(weights)):
        # the bracket that is furthest behind its share, ties to the one that stops most
        place = min(range(len(weights)), key=lambda b: (given[b] + 1) / weights[b])
        given[place] += 1
        order.append(place)
    return tuple(order)
