"""The search space of the family `fmpe`; the horizon of the decay is the trial's budget."""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

from search_spaces.space import Space

SPACE = Space(
    {
        "model.hidden_size": CategoricalDistribution((64, 128, 256)),
        "model.blocks": CategoricalDistribution((2, 4)),
        "model.frequencies": CategoricalDistribution((0, 8)),
        "model.dropout": FloatDistribution(0.0, 0.2),
        "matching.times": CategoricalDistribution(("uniform", "power", "logit_normal")),
        "matching.power": FloatDistribution(0.25, 4.0, log=True),
        "matching.location": FloatDistribution(-0.5, 1.0),
        "matching.scale": FloatDistribution(0.7, 1.5),
        "matching.sigma_min": FloatDistribution(1e-5, 1e-2, log=True),
        "data.batch_size": CategoricalDistribution((64, 128, 256)),
        "optimizer.learning_rate": FloatDistribution(3e-4, 5e-3, log=True),
        "optimizer.weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
        "optimizer.decay_start": FloatDistribution(0.0, 0.6),
        "optimizer.averaged": True,
        "optimizer.average": FloatDistribution(0.99, 0.9995),
    }
)
SPACE = (
    SPACE.when("matching.power", "matching.times", "power")
    .when("matching.location", "matching.times", "logit_normal")
    .when("matching.scale", "matching.times", "logit_normal")
    .when("optimizer.average", "optimizer.averaged", True)
)
