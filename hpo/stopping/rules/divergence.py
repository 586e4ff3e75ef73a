"""End trials whose numbers are no longer numbers, or ran away."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from hpo.options import at_least
from hpo.stopping.registry import Evidence, Verdict
from hpo.trials.states import State


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """Diverged: the objective or the training loss is not finite, or the objective explodes.

    Exploding means worse than `factor` times the trial's own best. That needs a scale with
    a zero, so it is asked only of minimized objectives with positive values (errors).

    Attributes:
        factor: How many times its own best an error may be.
    """

    converges: ClassVar[bool] = False

    factor: float = 100.0

    def __post_init__(self) -> None:
        """Refuse factors that would end every trial."""
        at_least("divergence: factor", self.factor, 1.0)

    def rungs(self, budget: int, index: int) -> tuple[int, ...]:
        """None: a trial is compared with nothing but itself."""
        return ()

    def judge(self, evidence: Evidence) -> Verdict | None:
        """Within one epoch of the first bad number."""
        number, value = evidence.epoch.number, evidence.value
        metric = evidence.objective.metric
        if not math.isfinite(value):
            return Verdict(State.DIVERGED, f"{metric} is {value} at epoch {number}")
        loss = evidence.epoch.train.get("loss", 0.0)
        if not math.isfinite(loss):
            return Verdict(State.DIVERGED, f"training loss is {loss} at epoch {number}")
        best = evidence.best
        errors = evidence.objective.direction == "minimize"
        if errors and best is not None and 0 < best * self.factor < value:
            text = f"{metric} {value:.4g} is over {self.factor:g} times its best {best:.4g}"
            return Verdict(State.DIVERGED, text)
        return None
