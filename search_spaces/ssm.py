"""The search space of the family `ssm`: its sizes, its windows, and how steps are damped.

A constant of the hidden layer's start is not searched: repeat a configuration with other seeds
instead.
"""

from __future__ import annotations

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.space import Space

SPACE = Space(
    {
        "model.order": IntDistribution(3, 8),
        "model.extra_states": IntDistribution(0, 2),
        "model.hidden_size": IntDistribution(10, 25, step=5),
        "model.ridge": CategoricalDistribution((1e-3, 1e-2)),
        "data.window": CategoricalDistribution((200, 350, 500)),
        "loss.n_skip": CategoricalDistribution((50, 100)),
        "optimizer.damping": FloatDistribution(1e-3, 1e-1, log=True),
    }
)
