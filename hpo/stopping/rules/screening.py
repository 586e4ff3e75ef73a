"""A few epochs for everybody, then the best to the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hpo.options import at_least
from hpo.stopping.registry import Evidence, Settlement, Verdict
from hpo.study import Objective
from hpo.trials.record import Trial, finite_key, value_by
from hpo.trials.states import State
from search_spaces.space import Space


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """Every trial of a family pauses after `epochs`; then the best `keep` go on to the end.

    Paused trials need no worker: they have saved a checkpoint and go on from it. They are
    ranked by their best values by that epoch once all trials of the family are there or have
    ended; a value that is not finite ends its trial there. (The "i-epoch" baseline of Egele
    et al., 2024, which does as well as successive halving on many tabular problems.)

    Attributes:
        epochs: How long everybody is trained; nothing happens where the budget is no longer.
        keep: How many trials of each family go on.
    """

    converges: ClassVar[bool] = False

    epochs: int = 5
    keep: int = 3

    def __post_init__(self) -> None:
        """Refuse options that would end every trial."""
        at_least("screening: epochs", self.epochs, 1, whole=True)
        at_least("screening: keep", self.keep, 1, whole=True)

    def rungs(self, budget: int, index: int) -> tuple[int, ...]:
        """The one epoch at which trials pause."""
        return (self.epochs,) if self.epochs < budget else ()

    def judge(self, evidence: Evidence) -> Verdict | None:
        """Pause at the rung."""
        if evidence.rung is None:
            return None
        if not math.isfinite(evidence.value):
            metric = evidence.objective.metric
            return Verdict(State.STOPPED, f"{metric} is {evidence.value}")
        return Verdict(State.PAUSED, "waits until every trial of the family is as far")

    def settle(
        self,
        history: Sequence[Trial],
        budget: int,
        objective: Objective,
        space: Space,
    ) -> Settlement:
        """The best `keep` of those that paused go on; who goes on already counts."""
        screened = [
            t for t in history if self.epochs in t.values and not self._ended_here(t)
        ]
        screened.sort(
            key=lambda t: finite_key(
                value_by(t.values, self.epochs, objective), objective
            )
        )
        ranks = {t.number: rank for rank, t in enumerate(screened, 1)}
        paused = [t for t in screened if t.state is State.PAUSED]
        return Settlement(
            promoted=tuple(t.number for t in paused if ranks[t.number] <= self.keep),
            stopped={
                t.number: f"rank {ranks[t.number]} of {len(ranks)} at epoch {self.epochs}"
                for t in sorted(paused, key=lambda t: t.number)
                if ranks[t.number] > self.keep
            },
        )

    def affordable(self, total: int, budgets: Sequence[int]) -> int:
        """So many that the best `keep` of each family can be trained to the end."""
        finished = self.keep * sum(budgets)
        if self.epochs >= max(budgets) or total < finished:  # all of them go on
            return max(1, total * len(budgets) // sum(budgets))
        return self.keep * len(budgets) + (total - finished) // self.epochs

    def _ended_here(self, trial: Trial) -> bool:
        return trial.ended and trial.last <= self.epochs
