"""Bayesian optimisation with a Gaussian process, Optuna's."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec import structs

from hpo.options import at_least, needs
from hpo.search.optuna_study import ask
from hpo.search.registry import Request
from hpo.search.unit import draw, unconditional
from hpo.trials.record import Trial
from search_spaces.space import Space

EXTRA = "gp"


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A Gaussian process with log expected improvement; for up to some hundred trials.

    It learns from completed and converged trials alone (stopped ones tell it nothing) and
    keeps away from running ones. Conditional dimensions are not modelled but drawn at
    random; `examine` says which. It needs the extra `gp` (torch and SciPy).

    Attributes:
        startup: Ranked trials of the family before the model is used; random until then.
        deterministic: Whether training the same configuration again gives the same value.
    """

    startup: int = 10
    deterministic: bool = False

    def __post_init__(self) -> None:
        """Refuse options without a meaning, and miss the packages early."""
        at_least("gp: startup", self.startup, 1, whole=True)
        needs("sampler", EXTRA, packages=("torch", "scipy"))

    def knows_enough(self, history: Sequence[Trial]) -> bool:
        """Whether as many are completed or converged as `startup` says."""
        return sum(t.ranked for t in history) >= self.startup

    def examine(self, space: Space, objectives: int) -> tuple[str, ...]:
        """Name the dimensions that are drawn at random."""
        left = [n for n in space.distributions if n not in unconditional(space)]
        if not left:
            return ()
        return (f"gp draws conditional dimensions at random: {', '.join(left)}",)

    def propose(self, request: Request) -> dict[str, Any]:
        """The point with the best expected improvement over the family's trials so far."""
        from optuna.samplers import GPSampler

        modelled = Space(dict(unconditional(request.space)))
        if not self.knows_enough(request.history) or not any(
            not d.single() for d in modelled.distributions.values()
        ):
            return draw(request.space, request.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `deterministic_objective` is experimental
            sampler = GPSampler(
                seed=request.seed,
                n_startup_trials=self.startup,
                deterministic_objective=self.deterministic,
            )
        known = [_within(modelled, trial) for trial in request.history]
        found = ask(sampler, replace(request, space=modelled), history=known)
        return draw(request.space, request.seed, found)


def _within(space: Space, trial: Trial) -> Trial:
    """The trial with those of its values that the model knows."""
    kept = {n: v for n, v in trial.params.items() if n in space.distributions}
    return structs.replace(trial, params=kept)
