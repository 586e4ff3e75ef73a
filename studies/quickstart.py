"""Five families on a simulated Wiener–Hammerstein circuit; needs nothing but the project.

    hpo launch quickstart

The spaces are narrow in what compiles anew (widths, depths, cells), so that the time goes into
training and not into compiling. Measured on 2 cores, from command to table: 60 s the first time in
a fresh environment, where Python compiles its modules too; 37 s with an empty cache of data and
programs, 25 s with a full one; 73 s and 40 s on a slower machine. Over the validation part the
best `ssm` has 0.79 mV, `crnn` 19.0, `rnn` 21.9, `tcn` 43.9 and `linear` 73.3 mV; which trials are
stopped depends on what ends first, and so do these by some per cent.
"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution

from hpo.study import Budget, Family, Objective, Rule, Study
from search_spaces import crnn, linear, rnn, ssm, tcn

SMALL = {
    "model.skip": True,
    "data.window": 200,
    "data.batch_size": 32,
    "data.batches": 30,
    "loss.kind": "mae",
    "loss.n_skip": 50,
}

STUDY = Study(
    name="quickstart",
    data={"name": "simulated_wiener_hammerstein", "samples": 8192},
    task="simulation",
    families=(
        Family(
            name="rnn",
            space=rnn.SPACE.replace(
                {
                    **SMALL,
                    "model.layers": 1,
                    "model.hidden_size": 16,
                    "model.dropout": 0.0,
                }
            ),
        ),
        Family(
            name="tcn",
            space=tcn.SPACE.replace(
                {
                    **SMALL,
                    "model.channels": 16,
                    "model.depth": 5,
                    "model.kernel": 2,
                    "model.activation": CategoricalDistribution(("relu", "tanh")),
                    "model.weight_norm": False,
                }
            ),
        ),
        Family(
            name="crnn",
            space=crnn.SPACE.replace(
                {
                    **SMALL,
                    "model.channels": 8,
                    "model.depth": 2,
                    "model.kernel": 2,
                    "model.activation": "tanh",
                    "model.weight_norm": False,
                    "model.cell": "gru",
                    "model.layers": 1,
                    "model.hidden_size": 16,
                }
            ),
        ),
        Family(
            name="ssm",
            space=ssm.SPACE.replace(
                {
                    "model.order": 6,
                    "model.extra_states": 0,
                    "model.hidden_size": 10,
                    "model.ridge": 1e-3,
                    "data.window": 500,
                    "data.batch_size": 16,
                    "loss.n_skip": 100,
                }
            ),
            epochs=60,
        ),
        Family(
            name="linear",
            space=linear.SPACE,
            initial_points=(
                {"model.lags": 128, "model.output_lags": 0, "model.ridge": 1e-6},
            ),
        ),
    ),
    objectives=(Objective(metric="rmse", unit="V"),),
    budget=Budget(trials=16, epochs=20),
    stopping=(Rule(name="divergence"), Rule(name="asha", options={"grace": 2})),
)
