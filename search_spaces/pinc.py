"""The search space of the family `pinc`; the horizon of the decay is the trial's budget."""

from __future__ import annotations

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.space import Space

SPACE = Space(
    {
        "model.hidden_size": IntDistribution(16, 64, step=16),
        "model.layers": IntDistribution(1, 3),
        "model.start": CategoricalDistribution(("window", "sample")),
        "model.encoder.hidden_size": IntDistribution(16, 48, step=16),
        "collocation.rows": CategoricalDistribution((128, 256)),
        "collocation.amplitude": FloatDistribution(1.0, 3.0),
        "weights.residual": FloatDistribution(1e-2, 10.0, log=True),
        "weights.collocation": FloatDistribution(1e-2, 10.0, log=True),
        "data.window": IntDistribution(100, 200, step=50),
        "data.batch_size": CategoricalDistribution((16, 32)),
        "loss.kind": CategoricalDistribution(("mse", "mae")),
        "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
        "optimizer.weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
        "optimizer.decay_start": FloatDistribution(0.2, 0.8),
    }
)
