"""Let every trial spend its whole budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hpo.stopping.registry import Evidence, Verdict


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """Ends nothing, not even what has diverged."""

    converges: ClassVar[bool] = False

    def rungs(self, budget: int, index: int) -> tuple[int, ...]:
        """None."""
        return ()

    def judge(self, evidence: Evidence) -> Verdict | None:
        """Let it go on."""
        return None
