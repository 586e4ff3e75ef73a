"""A small run of every family, recorded before tasks came (see README.md beside this file)."""

from optuna.distributions import CategoricalDistribution, FloatDistribution

from hpo.study import Budget, Family, Objective, Rule, Study
from search_spaces import crnn, linear, rnn, tcn

SMALL = {
    "data.window": 60,
    "data.batch_size": 16,
    "data.batches": 8,
    "loss.kind": "mae",
    "loss.n_skip": 10,
    "model.skip": True,
}

STUDY = Study(
    name="recorded",
    data={"path": "./data", "units": ["m"], "score_from": 20, "also_score_from": [5]},
    families=(
        Family(
            name="rnn",
            space=rnn.SPACE.replace(
                {
                    **SMALL,
                    "data.window": CategoricalDistribution((60, 5000)),
                    "model.layers": 1,
                    "model.hidden_size": 8,
                    "model.dropout": 0.0,
                    "model.cell": "gru",
                    "optimizer.learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
                }
            ),
        ),
        Family(
            name="tcn",
            space=tcn.SPACE.replace(
                {
                    **SMALL,
                    "model.channels": 8,
                    "model.depth": 3,
                    "model.kernel": 2,
                    "model.activation": "tanh",
                    "model.weight_norm": False,
                }
            ),
        ),
        Family(
            name="crnn",
            space=crnn.SPACE.replace(
                {
                    **SMALL,
                    "model.channels": 4,
                    "model.depth": 2,
                    "model.kernel": 2,
                    "model.activation": "tanh",
                    "model.weight_norm": False,
                    "model.cell": "gru",
                    "model.layers": 1,
                    "model.hidden_size": 8,
                }
            ),
        ),
        Family(
            name="linear",
            space=linear.SPACE,
            first=({"model.lags": 16, "model.output_lags": 0, "model.ridge": 1e-6},),
        ),
    ),
    objectives=(Objective(metric="rmse", unit="m"),),
    budget=Budget(trials=16, epochs=6),
    stopping=(Rule(name="divergence"), Rule(name="asha", options={"grace": 1})),
)
