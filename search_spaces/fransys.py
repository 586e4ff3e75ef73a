"""The search space of the family `fransys`; the horizon of the decay is the trial's budget."""

from __future__ import annotations

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.space import Space

_WEIGHT = FloatDistribution(1e-3, 10.0, log=True)

SPACE = Space(
    {
        "model.cell": CategoricalDistribution(("gru", "lstm")),
        "model.layers": IntDistribution(1, 2),
        "model.hidden_size": IntDistribution(16, 64, step=16),
        "model.diagnosis.kind": CategoricalDistribution(("rnn", "tcn")),
        "model.diagnosis.hidden_size": IntDistribution(16, 64, step=16),
        "model.diagnosis.layers": IntDistribution(1, 2),
        "model.diagnosis.depth": IntDistribution(3, 6),
        "model.dropout": FloatDistribution(0.0, 0.2),
        "model.skip": CategoricalDistribution((False, True)),
        "regularization.sync_kind": CategoricalDistribution(
            ("mse", "mae", "mspe", "mape", "cos", "cos_pow")
        ),
        "regularization.state_sync": _WEIGHT,
        "regularization.diagnosis_loss": _WEIGHT,
        "regularization.one_step_sync": _WEIGHT,
        "regularization.one_step_loss": _WEIGHT,
        "regularization.temporal_activation": FloatDistribution(1e-4, 1.0, log=True),
        "data.window": IntDistribution(150, 350, step=50),
        "data.batch_size": CategoricalDistribution((32, 64)),
        "loss.kind": CategoricalDistribution(("mae", "mse")),
        "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
        "optimizer.weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
        "optimizer.decay_start": FloatDistribution(0.2, 0.8),
    }
)
SPACE = (
    SPACE.when("model.diagnosis.layers", "model.diagnosis.kind", "rnn")
    .when("model.diagnosis.depth", "model.diagnosis.kind", "tcn")
    .when("model.dropout", "model.layers", at_least=2)
)
