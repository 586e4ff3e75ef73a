"""The search space of the family `tfmpe`; the horizon of schedules is the trial's budget.

`model.input_scale` acts where the task names `inputs`; a study of other data leaves it out.
"""

from __future__ import annotations

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.space import Space

SPACE = (
    Space(
        {
            "model.size": CategoricalDistribution((32, 64)),
            "model.blocks": IntDistribution(2, 3),
            "model.mask": CategoricalDistribution(("dense", "independence")),
            "model.input_scale": FloatDistribution(0.03, 1.0, log=True),
            "model.dropout": FloatDistribution(0.0, 0.1),
            "seen.tokens": CategoricalDistribution(("site", "each")),
            "scheme.kind": CategoricalDistribution(("direct", "bottom_up")),
            "scheme.begin": FloatDistribution(0.1, 0.5),
            "matching.times": CategoricalDistribution(
                ("uniform", "logit_normal", "power")
            ),
            "matching.power": FloatDistribution(0.25, 4.0, log=True),
            "matching.location": FloatDistribution(-0.5, 1.0),
            "matching.scale": FloatDistribution(0.7, 1.5),
            "matching.sigma_min": FloatDistribution(1e-5, 1e-2, log=True),
            "optimizer.learning_rate": FloatDistribution(5e-4, 5e-3, log=True),
            "optimizer.weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
            "optimizer.schedule": "warmup_cosine",
            "optimizer.averaged": True,
            "optimizer.average": FloatDistribution(0.98, 0.999),
        }
    )
    .when("scheme.begin", "scheme.kind", "bottom_up")
    .when("matching.power", "matching.times", "power")
    .when("matching.location", "matching.times", "logit_normal")
    .when("matching.scale", "matching.times", "logit_normal")
    .when("optimizer.average", "optimizer.averaged", True)
)
