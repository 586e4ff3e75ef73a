"""Independent draws from every distribution of the space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from optuna.distributions import BaseDistribution, CategoricalDistribution

from hpo.search.registry import Request
from search_spaces.space import Space

if TYPE_CHECKING:
    from optuna.samplers import RandomSampler


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Random search (Bergstra and Bengio, 2012)."""

    def examine(self, space: Space, objectives: int) -> tuple[str, ...]:
        """Any space can be searched."""
        return ()

    def propose(self, request: Request) -> dict[str, Any]:
        """A point drawn with the request's seed; the history does not matter."""
        from optuna.samplers import RandomSampler

        sampler = RandomSampler(seed=request.seed)
        return request.space.suggest(partial(_drawn, sampler))


def _drawn(sampler: RandomSampler, name: str, distribution: BaseDistribution) -> Any:
    """The value that `Study.ask` would give, without a study: a draw looks at none."""
    if distribution.single():
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[0]
        return cast(Any, distribution).low
    return sampler.sample_independent(
        cast(Any, None), cast(Any, None), name, distribution
    )
