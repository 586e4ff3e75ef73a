"""The search space of the family `vqvae`; the horizon of the decay is the trial's budget.

A window is worth vectors × stages × bits; a study that compares keeps them constant. Codebooks
begin at latents of a first batch, so that none has more codes than the smallest batch here.
"""

from __future__ import annotations

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.space import Space

_CODEBOOKS = ("ema", "learned", "simvq")

SPACE = (
    Space(
        {
            "encoder.kind": CategoricalDistribution(("rnn", "tcn")),
            "encoder.hidden_size": IntDistribution(16, 48, step=16),
            "encoder.layers": IntDistribution(1, 2),
            "encoder.depth": IntDistribution(3, 6),
            "latent.vectors": IntDistribution(1, 4),
            "quantizer.kind": CategoricalDistribution((*_CODEBOOKS, "fsq")),
            "quantizer.bits": IntDistribution(2, 5),
            "quantizer.code_size": CategoricalDistribution((2, 4, 8)),
            "quantizer.stages": IntDistribution(1, 2),
            "quantizer.gradient": CategoricalDistribution(
                ("straight_through", "rotation")
            ),
            "quantizer.distance": CategoricalDistribution(("euclidean", "cosine")),
            "quantizer.start": CategoricalDistribution(("k_means", "data", "uniform")),
            "quantizer.decay": FloatDistribution(0.8, 0.995),
            "quantizer.commitment": FloatDistribution(0.05, 2.0, log=True),
            "quantizer.revive_below": FloatDistribution(0.0, 0.3),
            "rollout.cell": CategoricalDistribution(("gru", "lstm")),
            "rollout.hidden_size": IntDistribution(16, 48, step=16),
            "rollout.layers": IntDistribution(1, 2),
            "rollout.dropout": FloatDistribution(0.0, 0.2),
            "rollout.skip": CategoricalDistribution((False, True)),
            "data.window": CategoricalDistribution((150, 200)),
            "data.batch_size": CategoricalDistribution((32, 64)),
            "loss.kind": CategoricalDistribution(("mse", "mae", "huber")),
            "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
            "optimizer.weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
            "optimizer.decay_start": FloatDistribution(0.2, 0.8),
        }
    )
    .when("encoder.layers", "encoder.kind", "rnn")
    .when("encoder.depth", "encoder.kind", "tcn")
    .when("quantizer.code_size", "quantizer.kind", _CODEBOOKS)
    .when("quantizer.stages", "quantizer.kind", _CODEBOOKS)
    .when("quantizer.gradient", "quantizer.kind", _CODEBOOKS)
    .when("quantizer.distance", "quantizer.kind", _CODEBOOKS)
    .when("quantizer.distance", "quantizer.stages", 1)
    .when("quantizer.start", "quantizer.kind", _CODEBOOKS)
    .when("quantizer.decay", "quantizer.kind", "ema")
    .when("quantizer.commitment", "quantizer.kind", _CODEBOOKS)
    .when("quantizer.revive_below", "quantizer.kind", "ema")
    .when("rollout.dropout", "rollout.layers", at_least=2)
)
