"""Independent draws from every distribution of the space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hpo.search.optuna_study import ask
from hpo.search.registry import Request
from search_spaces.space import Space


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Random search (Bergstra and Bengio, 2012)."""

    def examine(self, space: Space, objectives: int) -> tuple[str, ...]:
        """Any space can be searched."""
        return ()

    def propose(self, request: Request) -> dict[str, Any]:
        """A point drawn with the request's seed; the history does not matter."""
        from optuna.samplers import RandomSampler

        return ask(RandomSampler(seed=request.seed), request, history=())
