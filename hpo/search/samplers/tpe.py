"""Tree-structured Parzen estimator, Optuna's default."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from hpo.options import at_least
from hpo.search.optuna_study import ask
from hpo.search.registry import Request
from hpo.search.selection import selection
from search_spaces.space import Space


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """TPE (Bergstra et al., 2011), multivariate within each group of joint dimensions.

    Running trials count as bad ones (constant liar), so that parallel workers spread out.

    Attributes:
        startup: Finished trials of the family before the model is used; random until then.
        candidates: Points drawn from the good density, of which the best ratio is taken.
        limit: Trials that the model holds, about, where there is one objective: of a longer
            history the best and an even selection of the others
            (`hpo.search.selection`). A proposal costs some 20 µs for each.
    """

    startup: int = 10
    candidates: int = 24
    limit: int = 500

    def __post_init__(self) -> None:
        """Refuse options without a meaning."""
        at_least("tpe: startup", self.startup, 0, whole=True)
        at_least("tpe: candidates", self.candidates, 1, whole=True)
        at_least("tpe: limit", self.limit, 250, whole=True)  # from there on 25 are good

    def examine(self, space: Space, objectives: int) -> tuple[str, ...]:
        """Any space can be searched."""
        return ()

    def propose(self, request: Request) -> dict[str, Any]:
        """A point that looks good after the family's trials so far."""
        from optuna.samplers import TPESampler

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `group` is marked experimental
            sampler = TPESampler(
                seed=request.seed,
                n_startup_trials=self.startup,
                n_ei_candidates=self.candidates,
                multivariate=True,
                group=True,
                constant_liar=True,
            )
        history = request.history
        if not request.further:
            history = selection(history, request.objective, limit=self.limit)
        return ask(sampler, request, history=history)
