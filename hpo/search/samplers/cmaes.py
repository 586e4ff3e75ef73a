"""Covariance matrix adaptation, replayed from the history for every proposal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from hpo.errors import StudyError
from hpo.options import at_least, needs
from hpo.search.registry import Request
from hpo.search.standing import best_first, standing
from hpo.search.unit import (
    draw,
    middle,
    share_of,
    unconditional,
    uniform,
    value_at,
    within,
)
from hpo.trials.record import Trial
from search_spaces.space import Space

if TYPE_CHECKING:
    from cmaes import CMA

NAME = EXTRA = "cmaes"


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """CMA-ES (Hansen, 2016) over the numeric dimensions that exist at every point.

    Categorical and conditional dimensions are drawn independently at random; `examine`
    says which. The search begins at the best of the points tried first, else in the middle
    of the space. A generation is told once all its trials have ended or paused, by rank
    alone: so stopped and diverged trials count too, behind the completed ones. Counted values are
    told at a random place within their share of the range, which keeps the distribution
    from narrowing to a single one. Trials of another space, before an extension, are told as
    far as they have a place in this one. Where the distribution has collapsed, the search
    starts again from a random point.

    Attributes:
        population: Trials in a generation, at least 4; None for 4 + 3 ln(dimensions).
        sigma: The first standard deviation, as a part of each dimension's range.
    """

    population: int | None = None
    sigma: float = 1 / 6

    def __post_init__(self) -> None:
        """Refuse options without a meaning, and miss the package early."""
        if self.population is not None:
            at_least("cmaes: population", self.population, 4, whole=True)
        at_least("cmaes: sigma", self.sigma, 1e-6)
        needs("sampler", EXTRA, packages=("cmaes",))

    def examine(self, space: Space, objectives: int) -> tuple[str, ...]:
        """Name the dimensions that are drawn at random.

        Raises:
            StudyError: There is more than one objective.
        """
        if objectives > 1:
            raise StudyError(
                f"cmaes searches for one objective, got {objectives}",
                hint="take the sampler `tpe`, `nsga2` or `gp`, or keep one objective",
            )
        left = [n for n in space.distributions if n not in _numeric(space)]
        left = [n for n in left if not space.distributions[n].single()]
        if not left:
            return ()
        return (
            "cmaes draws at random what is categorical or conditional: "
            + ", ".join(left),
        )

    def propose(self, request: Request) -> dict[str, Any]:
        """A draw from the distribution that the ended generations have shaped."""
        searched = _numeric(request.space)
        if not searched:
            return draw(request.space, request.seed)
        found = self._replayed(searched, request).ask()
        fixed = {
            name: value_at(d, float(x))
            for (name, d), x in zip(searched.items(), found, strict=True)
        }
        return draw(request.space, request.seed, fixed)

    def _replayed(
        self, searched: Mapping[str, BaseDistribution], request: Request
    ) -> CMA:
        held = [t for t in request.history if _holds(searched, t)]
        others = [t for t in held if t.origin != NAME]
        begin = [0.5] * len(searched)
        for trial in best_first(others, request.objectives)[:1]:
            begin = [middle(d, trial.params[n]) for n, d in searched.items()]
        optimizer, restarts = self._made(begin, request.seed), 0
        generation: list[Trial] = []
        for trial in held:
            if trial.origin != NAME:
                continue
            if trial.state in ("pending", "running"):
                break
            generation.append(trial)
            if len(generation) < optimizer.population_size:
                continue
            optimizer.tell(_told(generation, searched, request))
            generation = []
            if optimizer.should_stop():
                restarts += 1
                seed = request.family_seed
                begin = [uniform(seed, "restart", restarts, name) for name in searched]
                optimizer = self._made(begin, request.seed)
        return optimizer

    def _made(self, begin: Sequence[float], seed: int) -> CMA:
        import numpy as np
        from cmaes import CMA

        return CMA(
            mean=np.array(begin),
            sigma=self.sigma,
            bounds=np.array([[0.0, 1.0]] * len(begin)),
            seed=seed,  # only `ask` draws, and it is asked once
            population_size=self.population,
        )


def _holds(searched: Mapping[str, BaseDistribution], trial: Trial) -> bool:
    """Whether a trial has a place among today's dimensions: one of another space may not."""
    return len(within(searched, trial.params)) == len(searched)


def _told(
    generation: Sequence[Trial],
    searched: Mapping[str, BaseDistribution],
    request: Request,
) -> list[tuple[Any, float]]:
    """Where each trial was, and its rank (equals share one)."""
    import numpy as np

    keys = [standing(t, request.objectives) for t in generation]
    ranks = {key: float(place) for place, key in enumerate(sorted(set(keys)))}
    told = []
    for trial, key in zip(generation, keys, strict=True):
        position = []
        for name, distribution in searched.items():
            low, high = share_of(distribution, trial.params[name])
            chance = uniform(request.family_seed, "within", trial.index, name)
            position.append(low + chance * (high - low))
        told.append((np.array(position), ranks[key]))
    return told


def _numeric(space: Space) -> dict[str, BaseDistribution]:
    return {
        name: d
        for name, d in unconditional(space).items()
        if not isinstance(d, CategoricalDistribution) and not d.single()
    }
