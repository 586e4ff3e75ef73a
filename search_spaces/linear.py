"""The search space of the family `linear`.

A study that gives this family its one trial should name the point to try first, such as
``{"model.lags": 128, "model.output_lags": 0, "model.ridge": 1e-6}``.
"""

from __future__ import annotations

from optuna.distributions import FloatDistribution, IntDistribution

from search_spaces.space import Space

SPACE = Space(
    {
        "model.lags": IntDistribution(16, 256, log=True),
        "model.output_lags": IntDistribution(0, 8),
        "model.ridge": FloatDistribution(1e-8, 1e-2, log=True),
    }
)
