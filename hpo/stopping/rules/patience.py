"""End trials that no longer improve; their value stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpo.options import at_least
from hpo.stopping.registry import Evidence, Verdict
from hpo.trials.record import finite_key
from hpo.trials.states import State


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """Converged: no epoch of the last `epochs` improved on the best by `min_delta`.

    Attributes:
        epochs: How many epochs without improvement are tolerated.
        min_delta: The smallest improvement that counts, relative to the best value's size.
    """

    epochs: int = 10
    min_delta: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse options that would end every trial."""
        at_least("patience: epochs", self.epochs, 1, whole=True)
        at_least("patience: min_delta", self.min_delta, 0.0)

    def rungs(self, budget: int, index: int) -> tuple[int, ...]:
        """None: a trial is compared with nothing but itself."""
        return ()

    def judge(self, evidence: Evidence) -> Verdict | None:
        """Look for the last improvement in the trial's own curve."""
        best, improved = math.inf, 0
        for number, value in evidence.values.items():
            key = finite_key(value, evidence.objective)
            needed = self.min_delta * abs(best) if math.isfinite(best) else 0.0
            if key < best - needed or (math.isinf(best) and math.isfinite(key)):
                best, improved = key, number
        waited = evidence.epoch.number - improved
        if waited < self.epochs:
            return None
        text = f"no improvement by {self.min_delta:g} of the best in {waited} epochs"
        return Verdict(State.CONVERGED, text)
