"""The search space of the family `patch`; the horizon of the decay is the trial's budget.

A window is the look-back and the horizon together; a study names those of its horizon.
"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

from search_spaces.space import Space

SPACE = Space(
    {
        "data.window": 192,
        "data.batch_size": 32,
        "model.length": 16,
        "model.stride": CategoricalDistribution((8, 16)),
        "model.d_model": CategoricalDistribution((16, 32)),
        "model.heads": 4,
        "model.blocks": 2,
        "model.hidden_size": 64,
        "model.normalization": "plain",
        "model.dropout": FloatDistribution(0.0, 0.4),
        "loss.kind": "mae",
        "optimizer.learning_rate": FloatDistribution(3e-4, 5e-3, log=True),
        "optimizer.weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
        "optimizer.averaged": True,
        "optimizer.average": FloatDistribution(0.95, 0.999),
        "optimizer.decay_start": FloatDistribution(0.0, 0.5),
    }
).when("optimizer.average", "optimizer.averaged", True)
