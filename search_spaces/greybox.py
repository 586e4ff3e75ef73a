"""The search space of the family `greybox`; a study adds its `physics.equation`."""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

from search_spaces.space import Space

SPACE = Space(
    {
        "model.residual": CategoricalDistribution((0, 8)),
        "physics.spread": FloatDistribution(0.0, 1.0),
        "optimizer.learning_rate": FloatDistribution(1e-2, 1e-1, log=True),
        "optimizer.weight_decay": FloatDistribution(1e-4, 1.0, log=True),
        "optimizer.decay_start": FloatDistribution(0.2, 0.8),
    }
)
