"""The search space of the family `vae`; the horizon of schedules is the trial's budget."""

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
            "encoder.kind": CategoricalDistribution(("rnn", "tcn")),
            "encoder.hidden_size": IntDistribution(16, 48, step=16),
            "encoder.layers": IntDistribution(1, 2),
            "encoder.depth": IntDistribution(3, 6),
            "latent.size": CategoricalDistribution((2, 4, 8, 16)),
            "rollout.cell": CategoricalDistribution(("gru", "lstm")),
            "rollout.hidden_size": IntDistribution(16, 48, step=16),
            "rollout.layers": IntDistribution(1, 2),
            "rollout.dropout": FloatDistribution(0.0, 0.2),
            "rollout.skip": CategoricalDistribution((False, True)),
            "divergence.weight": FloatDistribution(0.01, 1.0, log=True),
            "divergence.schedule": CategoricalDistribution(
                ("constant", "warm_up", "cyclical")
            ),
            "divergence.ramp": FloatDistribution(0.1, 0.8),
            "divergence.cycles": IntDistribution(2, 5),
            "divergence.free_bits": FloatDistribution(0.0, 0.5),
            "likelihood.kind": CategoricalDistribution(
                ("analytic", "learned", "fixed")
            ),
            "likelihood.variance": FloatDistribution(1e-4, 0.1, log=True),
            "data.window": CategoricalDistribution((150, 200)),
            "data.batch_size": CategoricalDistribution((32, 64)),
            "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
            "optimizer.weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
            "optimizer.decay_start": FloatDistribution(0.2, 0.8),
        }
    )
    .when("encoder.layers", "encoder.kind", "rnn")
    .when("encoder.depth", "encoder.kind", "tcn")
    .when("rollout.dropout", "rollout.layers", at_least=2)
    .when("divergence.ramp", "divergence.schedule", ("warm_up", "cyclical"))
    .when("divergence.cycles", "divergence.schedule", "cyclical")
    .when("likelihood.variance", "likelihood.kind", "fixed")
)
