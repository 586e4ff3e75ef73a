"""Evolution with non-dominated sorting, one child at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution

from hpo.options import at_least, at_most
from hpo.search.registry import Request
from hpo.search.standing import best_first
from hpo.search.unit import draw, middle, uniform, value_at, within
from search_spaces.space import Space

_CROSSOVER_INDEX = 15.0  # of simulated binary crossover: how close children stay
_MUTATION_INDEX = 20.0  # of polynomial mutation: how small its steps are


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """NSGA-II (Deb et al., 2002), one child at a time.

    The parents are the best `population` of all ended trials: by front and crowding
    distance within the limits (with one objective: by value), then those beyond a limit,
    then stopped ones. Two are chosen by tournaments and give one child (simulated binary
    crossover of continuous numbers, one parent's value otherwise; polynomial mutation of
    continuous numbers, a new draw otherwise). A child may have a conditional dimension
    that neither parent has, or in which their values lie outside the space, where an
    extension brought another one: it is drawn. Before there are enough ended trials, points
    are drawn at random. Running trials do not matter, so workers never wait.

    Attributes:
        population: How many trials may become parents.
        crossover: How often a child has two parents.
        mutation: How often a value mutates; None for once a child on the average.
    """

    population: int = 24
    crossover: float = 0.9
    mutation: float | None = None

    def __post_init__(self) -> None:
        """Refuse options without a meaning."""
        at_least("nsga2: population", self.population, 2, whole=True)
        at_least("nsga2: crossover", self.crossover, 0.0)
        at_most("nsga2: crossover", self.crossover, 1.0)
        if self.mutation is not None:
            at_least("nsga2: mutation", self.mutation, 0.0)
            at_most("nsga2: mutation", self.mutation, 1.0)

    def examine(self, space: Space, objectives: int) -> tuple[str, ...]:
        """Any space can be searched."""
        return ()

    def propose(self, request: Request) -> dict[str, Any]:
        """A child of two good trials."""
        parents = best_first(request.history, request.objectives)[: self.population]
        if len(parents) < self.population:
            return draw(request.space, request.seed)
        known = request.space.distributions
        mother, father = (
            within(known, parents[_tournament(len(parents), request.seed, who)].params)
            for who in ("mother", "father")
        )
        if uniform(request.seed, "crossover") >= self.crossover:
            father = mother
        rate = self.mutation
        if rate is None:
            rate = 1 / max(1, len(request.space.distributions))

        def value(name: str, distribution: BaseDistribution) -> Any:
            seed = request.seed
            if uniform(seed, "mutates", name) < rate:
                return _mutated(mother.get(name), name, distribution, seed)
            return _crossed(mother, father, name, distribution, seed)

        return request.space.suggest(value)


def _tournament(count: int, seed: int, purpose: str) -> int:
    """The better of two places drawn at random; parents stand best first."""
    return min(int(uniform(seed, purpose, k) * count) for k in (0, 1))


def _crossed(
    mother: Mapping[str, Any],
    father: Mapping[str, Any],
    name: str,
    distribution: BaseDistribution,
    seed: int,
) -> Any:
    having = [parent[name] for parent in (mother, father) if name in parent]
    if not having:
        return value_at(distribution, uniform(seed, "draw", name))
    first, last = having[0], having[-1]
    side = uniform(seed, "side", name)
    if first == last or not isinstance(distribution, FloatDistribution):
        return first if side < 0.5 else last
    u = uniform(seed, "spread", name)
    power = 1 / (_CROSSOVER_INDEX + 1)
    spread = (2 * u) ** power if u <= 0.5 else (0.5 / (1 - u)) ** power
    a, b = middle(distribution, first), middle(distribution, last)
    sign = 1 if side < 0.5 else -1
    return value_at(distribution, (a + b + sign * spread * (a - b)) / 2)


def _mutated(value: Any, name: str, distribution: BaseDistribution, seed: int) -> Any:
    u = uniform(seed, "mutation", name)
    if value is None or not isinstance(distribution, FloatDistribution):
        return value_at(distribution, u)
    power = 1 / (_MUTATION_INDEX + 1)
    step = (2 * u) ** power - 1 if u < 0.5 else 1 - (2 * (1 - u)) ** power
    return value_at(distribution, middle(distribution, value) + step)
