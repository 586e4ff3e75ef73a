"""The search space of the family `tcn`; the horizon of the decay is the trial's budget."""

from __future__ import annotations

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.space import Space

SPACE = Space(
    {
        "model.channels": IntDistribution(16, 64, step=16),
        "model.depth": IntDistribution(5, 8),
        "model.kernel": IntDistribution(2, 4),
        "model.activation": CategoricalDistribution(("relu", "tanh", "mish")),
        "model.weight_norm": CategoricalDistribution((False, True)),
        "model.dropout": FloatDistribution(0.0, 0.2),
        "model.skip": CategoricalDistribution((False, True)),
        "data.window": IntDistribution(200, 400, step=50),
        "data.batch_size": CategoricalDistribution((32, 64)),
        "loss.kind": CategoricalDistribution(("mae", "mse")),
        "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
        "optimizer.weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
        "optimizer.decay_start": FloatDistribution(0.2, 0.8),
    }
)
