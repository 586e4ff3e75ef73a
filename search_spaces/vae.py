"""The search spaces of the family `vae`; the horizon of schedules is the trial's budget.

`SPACE` is of prediction. In `SPACES` is that of reconstruction, to which a study adds the windows
of its data: ``data.window``, ``data.stride``.
"""

from __future__ import annotations

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.space import Condition, Space

CODER = {
    "coder.kind": CategoricalDistribution(("multiscale", "recurrent")),
    "coder.layout": "fitted",
    "coder.pool": CategoricalDistribution(("flatten", "mean")),
    "coder.channels": CategoricalDistribution((16, 32)),
    "coder.branch_weight": FloatDistribution(0.0, 0.3),
    "coder.cell": CategoricalDistribution(("lstm", "gru")),
    "coder.hidden_size": CategoricalDistribution((32, 64)),
    "coder.layers": IntDistribution(1, 2),
    "coder.dropout": FloatDistribution(0.0, 0.2),
    "coder.hidden": FloatDistribution(0.0, 0.4),
}
"""What reads and writes windows, of the families that have a code of them."""
CODER_CONDITIONS = (
    *(
        Condition(name=f"coder.{name}", parent="coder.kind", values=("multiscale",))
        for name in ("pool", "channels", "branch_weight", "dropout")
    ),
    *(
        Condition(name=f"coder.{name}", parent="coder.kind", values=("recurrent",))
        for name in ("cell", "hidden_size", "layers")
    ),
)
_CODE = {
    "divergence.weight": FloatDistribution(0.01, 1.0, log=True),
    "divergence.schedule": CategoricalDistribution(("constant", "warm_up", "cyclical")),
    "divergence.ramp": FloatDistribution(0.1, 0.8),
    "divergence.cycles": IntDistribution(2, 5),
    "divergence.free_bits": FloatDistribution(0.0, 0.5),
    "likelihood.kind": CategoricalDistribution(("analytic", "learned", "fixed")),
    "likelihood.variance": FloatDistribution(1e-4, 0.1, log=True),
}
_OPTIMIZER = {
    "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
    "optimizer.weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
    "optimizer.decay_start": FloatDistribution(0.2, 0.8),
}


def _with_conditions(space: Space) -> Space:
    """What of the code exists only where something acts."""
    return (
        space.when("divergence.ramp", "divergence.schedule", ("warm_up", "cyclical"))
        .when("divergence.cycles", "divergence.schedule", "cyclical")
        .when("likelihood.variance", "likelihood.kind", "fixed")
    )


SPACE = _with_conditions(
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
            **_CODE,
            "data.window": CategoricalDistribution((150, 200)),
            "data.batch_size": CategoricalDistribution((32, 64)),
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
                "latent.size": CategoricalDistribution((8, 16, 32, 64)),
                **_CODE,
                "data.batch_size": CategoricalDistribution((32, 64)),
                **_OPTIMIZER,
            },
            conditions=CODER_CONDITIONS,
        )
    )
}
