"""The search space of the family `pq`.

A row is worth groups × stages × bits; a study that compares codes keeps that constant.
"""

from __future__ import annotations

from optuna.distributions import FloatDistribution, IntDistribution

from search_spaces.space import Space

SPACE = Space(
    {
        "model.size": IntDistribution(8, 64, log=True),
        "model.groups": IntDistribution(1, 8),
        "model.stages": IntDistribution(1, 2),
        "model.bits": IntDistribution(2, 8),
        "model.shrink": FloatDistribution(0.0, 1.0),
    }
)
