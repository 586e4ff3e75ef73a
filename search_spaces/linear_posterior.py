"""The search space of the family `linear_posterior`."""

from __future__ import annotations

from optuna.distributions import FloatDistribution

from search_spaces.space import Space

SPACE = Space({"model.ridge": FloatDistribution(1e-6, 1.0, log=True)})
