"""The search space of the family `ar`; the horizon of the decay is the trial's budget."""

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
            "model.kind": CategoricalDistribution(("rnn", "tcn")),
            "model.cell": CategoricalDistribution(("gru", "lstm")),
            "model.layers": IntDistribution(1, 2),
            "model.hidden_size": IntDistribution(16, 64, step=16),
            "model.depth": IntDistribution(3, 6),
            "model.kernel": IntDistribution(2, 3),
            "model.dropout": FloatDistribution(0.0, 0.2),
            "model.skip": CategoricalDistribution((False, True)),
            "data.window": IntDistribution(150, 350, step=50),
            "data.batch_size": CategoricalDistribution((32, 64)),
            "loss.kind": CategoricalDistribution(("mae", "mse")),
            "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
            "optimizer.weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
            "optimizer.decay_start": FloatDistribution(0.2, 0.8),
        }
    )
    .when("model.cell", "model.kind", "rnn")
    .when("model.layers", "model.kind", "rnn")
    .when("model.depth", "model.kind", "tcn")
    .when("model.kernel", "model.kind", "tcn")
    .when("model.dropout", "model.layers", at_least=2)
)
