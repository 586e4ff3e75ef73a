"""The search spaces of the family `vqvae`; the horizon of the decay is the trial's budget.

`SPACE` is of prediction; in `SPACES` is that of reconstruction, as in `search_spaces.vae`.

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
from search_spaces.vae import CODER, CODER_CONDITIONS

_CODEBOOKS = ("ema", "learned", "simvq")

_QUANTIZER = {
    "quantizer.kind": CategoricalDistribution((*_CODEBOOKS, "fsq")),
    "quantizer.bits": IntDistribution(2, 5),
    "quantizer.code_size": CategoricalDistribution((2, 4, 8)),
    "quantizer.stages": IntDistribution(1, 2),
    "quantizer.gradient": CategoricalDistribution(("straight_through", "rotation")),
    "quantizer.distance": CategoricalDistribution(("euclidean", "cosine")),
    "quantizer.start": CategoricalDistribution(("k_means", "data", "uniform")),
    "quantizer.decay": FloatDistribution(0.8, 0.995),
    "quantizer.commitment": FloatDistribution(0.05, 2.0, log=True),
    "quantizer.revive_below": FloatDistribution(0.0, 0.3),
}
_OPTIMIZER = {
    "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
    "optimizer.weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
    "optimizer.decay_start": FloatDistribution(0.2, 0.8),
}


def _with_conditions(space: Space) -> Space:
    """What of the quantizer exists only where something acts."""
    return (
        space.when("quantizer.code_size", "quantizer.kind", _CODEBOOKS)
        .when("quantizer.stages", "quantizer.kind", _CODEBOOKS)
        .when("quantizer.gradient", "quantizer.kind", _CODEBOOKS)
        .when("quantizer.distance", "quantizer.kind", _CODEBOOKS)
        .when("quantizer.distance", "quantizer.stages", 1)
        .when("quantizer.start", "quantizer.kind", _CODEBOOKS)
        .when("quantizer.decay", "quantizer.kind", "ema")
        .when("quantizer.commitment", "quantizer.kind", _CODEBOOKS)
        .when("quantizer.revive_below", "quantizer.kind", "ema")
    )


SPACE = _with_conditions(
    Space(
        {
            "encoder.kind": CategoricalDistribution(("rnn", "tcn")),
            "encoder.hidden_size": IntDistribution(16, 48, step=16),
            "encoder.layers": IntDistribution(1, 2),
            "encoder.depth": IntDistribution(3, 6),
            "latent.vectors": IntDistribution(1, 4),
            **_QUANTIZER,
            "rollout.cell": CategoricalDistribution(("gru", "lstm")),
            "rollout.hidden_size": IntDistribution(16, 48, step=16),
            "rollout.layers": IntDistribution(1, 2),
            "rollout.dropout": FloatDistribution(0.0, 0.2),
            "rollout.skip": CategoricalDistribution((False, True)),
            "data.window": CategoricalDistribution((150, 200)),
            "data.batch_size": CategoricalDistribution((32, 64)),
            "loss.kind": CategoricalDistribution(("mse", "mae", "huber")),
            **_OPTIMIZER,
        }
    )
    .when("encoder.layers", "encoder.kind", "rnn")
    .when("encoder.depth", "encoder.kind", "tcn")
    .when("rollout.dropout", "rollout.layers", at_least=2)
)

SPACES = {
    "reconstruction": _with_conditions(
        Space(
            {
                **CODER,
                "latent.vectors": IntDistribution(4, 32, log=True),
                **_QUANTIZER,
                "data.batch_size": CategoricalDistribution((32, 64)),
                **_OPTIMIZER,
            },
            conditions=CODER_CONDITIONS,
        )
    )
}
