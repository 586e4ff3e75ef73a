"""The search space of the family `ridge`; a window is the look-back and the horizon together.

A study names the windows of its horizon: ``{"data.window": …}``.
"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

from search_spaces.space import Space

SPACE = Space(
    {
        "data.window": CategoricalDistribution((192, 432, 608)),
        "model.penalty": FloatDistribution(1e-6, 1.0, log=True),
    }
)
