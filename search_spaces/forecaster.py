"""The search space of the family `forecaster`; the horizon of the decay is the trial's budget.

A window is the look-back and the horizon together. Windows, calendar and cycle suit a table that
tells its times (``task={"name": "forecast", "calendar": True}``); a study names the windows of its
horizon and, in rows, the cycle of its data.
"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

from search_spaces.space import Space

SPACE = Space(
    {
        "data.window": 192,
        "data.batch_size": 32,
        "model.d_model": CategoricalDistribution((64, 128)),
        "model.heads": 4,
        "model.blocks": CategoricalDistribution((1, 2)),
        "model.hidden_size": 128,
        "model.normalization": CategoricalDistribution(("plain", "affine")),
        "model.calendar": False,
        "model.cycle": 0,
        "model.linear": CategoricalDistribution((False, True)),
        "model.mixing": CategoricalDistribution((False, True)),
        "model.dropout": FloatDistribution(0.0, 0.5),
        "augmenter.mode": CategoricalDistribution(("none", "add")),
        "augmenter.dropout": FloatDistribution(0.0, 0.5),
        "loss.kind": "mae",
        "optimizer.learning_rate": FloatDistribution(3e-4, 5e-3, log=True),
        "optimizer.weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
        "optimizer.averaged": True,
        "optimizer.average": FloatDistribution(0.95, 0.999),
        "optimizer.decay_start": FloatDistribution(0.0, 0.5),
    }
)
SPACE = SPACE.when(
    "augmenter.dropout", "augmenter.mode", ("add", "concat", "gated", "replace")
).when("optimizer.average", "optimizer.averaged", True)
