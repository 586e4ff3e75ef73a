"""End trials that are behind the median of the others at the same epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hpo.stopping.registry import Evidence, Verdict
from hpo.stopping.rules import percentile


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """The rule `percentile` with the other half (Golovin et al., Google Vizier, 2017).

    Attributes:
        startup: How many others must have reached the epoch.
        warmup: Epochs before anything is compared; None for a tenth of the budget.
        interval: Epochs between two comparisons; None for a tenth of the budget.
    """

    converges: ClassVar[bool] = False

    startup: int = 4
    warmup: int | None = None
    interval: int | None = None

    def __post_init__(self) -> None:
        """Refuse options without a meaning."""
        self._rule()

    def rungs(self, budget: int, index: int) -> tuple[int, ...]:
        """Every `interval` epochs after the first `warmup` ones, below the budget."""
        return self._rule().rungs(budget, index)

    def judge(self, evidence: Evidence) -> Verdict | None:
        """Compare with the others at this epoch."""
        return self._rule().judge(evidence)

    def _rule(self) -> percentile.StoppingRule:
        return percentile.StoppingRule(
            keep=50.0, startup=self.startup, warmup=self.warmup, interval=self.interval
        )
