"""The search space of the family `categorical_vqvae`.

A row is worth the sum of its tokens' bits; a study that compares codes keeps it constant, by
`levels.budget`, which deals bits out to categories by what they hold, or by `levels.bits`, which
gives every token the same. Codebooks begin at rows of a first batch, so that none has more codes
than the smallest batch here.
"""

from __future__ import annotations

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.space import Space

_CODEBOOKS = ("ema", "learned", "simvq")
_PARAMETERS = ("learned", "simvq")

SPACE = (
    Space(
        {
            "reader.hidden_size": IntDistribution(64, 256, step=64),
            "reader.size": IntDistribution(32, 96, step=32),
            "reader.skip": CategoricalDistribution((True, False)),
            "reader.dropout": FloatDistribution(0.0, 0.4),
            "quantizer.kind": CategoricalDistribution((*_CODEBOOKS, "fsq")),
            "levels.count": IntDistribution(1, 3),
            "levels.hierarchy": CategoricalDistribution(("residual", "parallel")),
            "levels.code_size": CategoricalDistribution((4, 8, 16)),
            "levels.bits": IntDistribution(2, 5),
            "levels.normalize": CategoricalDistribution((False, True)),
            "levels.dropout": FloatDistribution(0.0, 0.2),
            "quantizer.gradient": CategoricalDistribution(
                ("straight_through", "rotation")
            ),
            "quantizer.start": CategoricalDistribution(("k_means", "data", "uniform")),
            "quantizer.decay": FloatDistribution(0.8, 0.995),
            "quantizer.commitment": FloatDistribution(0.05, 2.0, log=True),
            "quantizer.revive_below": FloatDistribution(0.0, 0.3),
            "writer.hidden_size": IntDistribution(128, 512, step=128),
            "writer.skip": CategoricalDistribution((True, False)),
            "writer.dropout": FloatDistribution(0.0, 0.4),
            "loss.informativeness": FloatDistribution(0.0, 0.5),
            "loss.orthogonality": FloatDistribution(0.0, 0.5),
            "loss.topographic": FloatDistribution(0.0, 0.1),
            "data.batch_size": CategoricalDistribution((32, 64, 128)),
            "optimizer.learning_rate": FloatDistribution(5e-4, 5e-3, log=True),
            "optimizer.weight_decay": FloatDistribution(1e-4, 3e-1, log=True),
            "optimizer.decay_start": FloatDistribution(0.0, 0.6),
        }
    )
    .when("levels.hierarchy", "levels.count", at_least=2)
    .when("levels.count", "quantizer.kind", _CODEBOOKS)
    .when("levels.code_size", "quantizer.kind", _CODEBOOKS)
    .when("levels.normalize", "quantizer.kind", _CODEBOOKS)
    .when("quantizer.gradient", "quantizer.kind", _CODEBOOKS)
    .when("quantizer.start", "quantizer.kind", _CODEBOOKS)
    .when("quantizer.decay", "quantizer.kind", "ema")
    .when("quantizer.commitment", "quantizer.kind", _CODEBOOKS)
    .when("quantizer.revive_below", "quantizer.kind", "ema")
    .when("loss.orthogonality", "quantizer.kind", _PARAMETERS)
)
