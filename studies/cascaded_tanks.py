"""Two tanks with overflow, very short records: tuning under noise.

    HPO_DATA=... hpo launch cascaded_tanks
    HPO_DATA=... hpo rerun cascaded_tanks --seeds 8

Protocol: free-run simulation, RMSE from sample 50 on (`rmse_from_5` is recorded too); 864
training, 160 validation and 1,024 test samples. The validation part is that short: look at
the re-runs' interval before trusting a rank. Not yet run in full.
"""

from __future__ import annotations

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.study import Budget, Family, Objective, Rule, Study
from search_spaces import crnn, linear, rnn, tcn

_TRAINING = {
    "data.window": 300,
    "data.batch_size": 16,
    "data.batches": 20,
    "loss.kind": "mae",
    "loss.n_skip": 30,
    "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
    "optimizer.weight_decay": FloatDistribution(1e-4, 1.0, log=True),
    "optimizer.decay_start": FloatDistribution(0.2, 0.8),
}

STUDY = Study(
    name="cascaded_tanks",
    data="cascaded_tanks",
    task="simulation",
    families=(
        Family(
            name="rnn",
            space=rnn.SPACE.replace(
                {
                    **_TRAINING,
                    "model.layers": IntDistribution(1, 2),
                    "model.hidden_size": CategoricalDistribution((16, 32)),
                }
            ),
            share=2.0,
        ),
        Family(
            name="tcn",
            space=tcn.SPACE.replace(
                {
                    **_TRAINING,
                    "model.channels": CategoricalDistribution((16, 32)),
                    "model.depth": IntDistribution(5, 7),
                    "model.kernel": 3,
                    "model.weight_norm": False,
                }
            ),
        ),
        Family(
            name="crnn",
            space=crnn.SPACE.replace(
                {
                    **_TRAINING,
                    "model.channels": 16,
                    "model.depth": IntDistribution(2, 3),
                    "model.kernel": 3,
                    "model.cell": "gru",
                    "model.layers": 1,
                    "model.hidden_size": CategoricalDistribution((16, 32)),
                    "model.weight_norm": False,
                    "model.dropout": 0.0,
                }
            ),
        ),
        Family(
            name="linear",
            space=linear.SPACE,
            initial_points=(
                {"model.lags": 64, "model.output_lags": 4, "model.ridge": 1e-4},
            ),
        ),
    ),
    objectives=(Objective(metric="rmse", unit="V"),),
    budget=Budget(trials=33, epochs=60),
    stopping=(Rule(name="divergence"), Rule(name="asha", options={"grace": 20})),
)
