"""Tree-structured Parzen estimator, Optuna's default."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from hpo.options import at_least, at_most
from hpo.search.optuna_study import ask
from hpo.search.registry import Request
from hpo.search.unit import uniform
from search_spaces.space import Space


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """TPE (Bergstra et al., 2011), multivariate within each group of joint dimensions.

    Running trials count as bad ones (constant liar), so that parallel workers spread out.

    Attributes:
        startup: Finished trials of the family before the model is used; random until then.
        candidates: Points drawn from the good density, of which the best ratio is taken.
        explore: The part of proposals that is drawn at random all the same, after the first
            ones too. The model keeps to where the first good trials were; the draws find
            what it would never try, and cost little where a rule stops the bad ones early
            (Falkner et al., BOHB, 2018, section 4.1, with the same third).
    """

    startup: int = 10
    candidates: int = 24
    explore: float = 1 / 3

    def __post_init__(self) -> None:
        """Refuse options without a meaning."""
        at_least("tpe: startup", self.startup, 0, whole=True)
        at_least("tpe: candidates", self.candidates, 1, whole=True)
        at_least("tpe: explore", self.explore, 0.0)
        at_most("tpe: explore", self.explore, 1.0)

    def examine(self, space: Space, objectives: int) -> tuple[str, ...]:
        """Any space can be searched."""
        return ()

    def propose(self, request: Request) -> dict[str, Any]:
        """A point that looks good after the family's trials so far, or a random one."""
        from optuna.samplers import RandomSampler, TPESampler

        if uniform(request.seed, "explore") < self.explore:
            return ask(RandomSampler(seed=request.seed), request, history=())

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
        return ask(sampler, request, history=request.history)
