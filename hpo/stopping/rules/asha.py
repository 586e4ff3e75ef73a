"""Asynchronous successive halving, the stopping variant."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpo.options import at_least, one_of
from hpo.stopping.halving import geometric, halve
from hpo.stopping.registry import Evidence, Verdict


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """At each rung only the best 1/eta of the family's trials so far go on (at least one).

    Rungs lie at ``grace * eta**k`` epochs below the budget, and compare the values *at* the
    rung. A value that is not finite never goes on, counts as the worst, and so never keeps
    another trial from going on. (Li et al., A System for Massively Parallel Hyperparameter
    Tuning, 2020; the stopping variant judges every trial once, on arrival.)

    As published, each rung takes the best 1/eta of those that came to it. Where trials become
    better with time, because a sampler learns or the first ones went on for want of others,
    nearly each newcomer is among them, and most epochs go into trials that are trained to
    the end. So the rungs count from the first: of n trials that came there, those go on past
    the second rung that are among its best n/eta², and so on, as in synchronous halving.

    Attributes:
        eta: One in how many goes on.
        grace: The first rung in epochs; None for a twentieth of the budget, rounded up.
        count: What the shares are taken of: ``first``, the trials that came to the first
            rung, or ``rung``, those that came to the rung in question.
    """

    eta: int = 3
    grace: int | None = None
    count: str = "first"

    def __post_init__(self) -> None:
        """Refuse options that would halve nothing."""
        at_least("asha: eta", self.eta, 2, whole=True)
        if self.grace is not None:
            at_least("asha: grace", self.grace, 1, whole=True)
        one_of("asha: count", self.count, ("first", "rung"))

    def rungs(self, budget: int, index: int) -> tuple[int, ...]:
        """``grace * eta**k`` for all k while below the budget."""
        first = self.grace if self.grace is not None else -(-budget // 20)
        return geometric(first, eta=self.eta, budget=budget)

    def judge(self, evidence: Evidence) -> Verdict | None:
        """Compare with the family at a rung; say nothing between rungs."""
        if evidence.rung is None:
            return None
        if self.count == "rung":
            reached, _ = evidence.rung.standing(evidence.trial, math.inf)
            return halve(evidence, share=self.eta, of=reached)
        level = 1 + self.rungs(evidence.budget, 0).index(evidence.epoch.number)
        return halve(evidence, share=self.eta**level, of=evidence.entered)
