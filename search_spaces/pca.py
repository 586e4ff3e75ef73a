"""The search space of the family `pca`; a study that compares codes keeps their size constant."""

from __future__ import annotations

from optuna.distributions import FloatDistribution, IntDistribution

from search_spaces.space import Space

SPACE = Space(
    {
        "model.size": IntDistribution(2, 64, log=True),
        "model.shrink": FloatDistribution(0.0, 1.0),
    }
)
