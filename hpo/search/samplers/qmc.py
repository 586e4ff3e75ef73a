"""Points of a low-discrepancy sequence, each by its index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hpo.options import one_of
from hpo.search.registry import Request
from hpo.search.unit import value_at
from search_spaces.space import Space


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Scrambled Sobol' or Halton points (Sobol', 1967; Owen, 1998; Halton, 1960).

    Every dimension of the space has a coordinate of its own. Where a conditional dimension
    does not exist its coordinate is passed over, so that the others stay evenly spread.
    Sobol' points are at their best after a power of two. After trials of an earlier run the
    sequence goes on.

    Attributes:
        sequence: ``sobol`` or ``halton``.
    """

    sequence: Literal["sobol", "halton"] = "sobol"

    def __post_init__(self) -> None:
        """Refuse unknown sequences."""
        one_of("qmc: sequence", self.sequence, ("sobol", "halton"))

    def examine(self, space: Space, objectives: int) -> tuple[str, ...]:
        """Any space can be searched."""
        return ()

    def propose(self, request: Request) -> dict[str, Any]:
        """The point of the request's index; the history does not matter."""
        names = list(request.space.distributions)
        if not names:
            return {}
        import numpy as np
        from scipy.stats import qmc

        kind = qmc.Sobol if self.sequence == "sobol" else qmc.Halton
        engine = kind(len(names), rng=np.random.default_rng(request.family_seed))
        place = len(request.carried) + request.index
        if place:
            engine.fast_forward(place)
        point = dict(zip(names, engine.random(1)[0].tolist(), strict=True))
        return request.space.suggest(lambda name, d: value_at(d, point[name]))
