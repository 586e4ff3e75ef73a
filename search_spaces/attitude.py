"""The search space of the family `attitude`; the horizon of the decay is the trial's budget."""

from __future__ import annotations

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.space import Space

_CONVOLUTIONS = ("tcn", "crnn")
_RECURRENT = ("rnn", "crnn")

SPACE = (
    Space(
        {
            "model.kind": CategoricalDistribution(("rnn", "tcn", "crnn")),
            "model.channels": IntDistribution(16, 48, step=16),
            "model.depth": IntDistribution(3, 7),
            "model.kernel": IntDistribution(2, 4),
            "model.cell": CategoricalDistribution(("gru", "lstm")),
            "model.layers": IntDistribution(1, 2),
            "model.hidden_size": IntDistribution(32, 64, step=16),
            "model.skip": CategoricalDistribution((False, True)),
            "data.window": IntDistribution(150, 350, step=50),
            "data.batch_size": CategoricalDistribution((32, 64)),
            "loss.kind": CategoricalDistribution(("smooth_inclination", "inclination")),
            "augmentation.rotation": CategoricalDistribution((False, True)),
            "augmentation.bias": FloatDistribution(1e-3, 0.03, log=True),
            "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
            "optimizer.weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
            "optimizer.decay_start": FloatDistribution(0.2, 0.8),
        }
    )
    .when("model.channels", "model.kind", _CONVOLUTIONS)
    .when("model.depth", "model.kind", _CONVOLUTIONS)
    .when("model.kernel", "model.kind", _CONVOLUTIONS)
    .when("model.cell", "model.kind", _RECURRENT)
    .when("model.layers", "model.kind", _RECURRENT)
    .when("model.hidden_size", "model.kind", _RECURRENT)
)
