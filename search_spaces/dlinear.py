"""The search space of the family `dlinear`; the horizon of the decay is the trial's budget.

A window is the look-back and the horizon together; a study names those of its horizon.
"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

from search_spaces.space import Space

SPACE = Space(
    {
        "data.window": 192,
        "data.batch_size": 32,
        "model.kernel": 25,
        "model.individual": CategoricalDistribution((False, True)),
        "model.normalization": CategoricalDistribution(("off", "plain")),
        "loss.kind": CategoricalDistribution(("mse", "mae")),
        "optimizer.learning_rate": FloatDistribution(3e-4, 2e-2, log=True),
        "optimizer.weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
        "optimizer.decay_start": FloatDistribution(0.0, 0.5),
    }
)
