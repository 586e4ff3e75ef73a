"""Bouc–Wen oscillator by prediction: hysteresis that each window's first 50 samples tell about.

    HPO_DATA=... hpo launch bouc_wen_prediction
    HPO_DATA=... hpo rerun bouc_wen_prediction --seeds 10 --by-record

Protocol: prediction. Of a window of 150 samples the force is given throughout and the
displacement over the first 50; RMSE over the other 100, a window every 100 samples; the official
multisine `test_0` has 81 of them. `studies/bouc_wen.py` simulates the same records from the force
alone.

Measured on 2 cores beside other work: 1 min 29 s from command to table, 1 min 20 s for ten fresh
seeds. Over the validation part `ssm` has 7.73 µm, `rnn` 20.5 µm, `linear` (ARX) 166 µm. Ten
seeds of the best (237 parameters) on the official multisine `test_0`: mean 3.58 µm, 95 %
interval 2.38 … 4.78; on the sweep `test_1` 3.89 µm, 3.00 … 4.78.

Beside it, over the same windows: a GRU given y 23 µm, ARX 132 µm, a GRU on u alone 110 µm
(prototypes, before this study was written).
"""

from __future__ import annotations

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.study import Budget, Family, Objective, Rule, Study
from search_spaces import linear, rnn, ssm

STUDY = Study(
    name="bouc_wen_prediction",
    data="bouc_wen",
    task="prediction",
    families=(
        Family(
            name="ssm",
            space=ssm.SPACE.replace(
                {
                    "model.order": 3,
                    "model.extra_states": 2,
                    "model.hidden_size": IntDistribution(15, 20, step=5),
                    "model.ridge": 1e-3,
                    "data.window": 250,
                    "data.batch_size": 16,
                    "loss.n_skip": 0,
                    "optimizer.stage_windows": [32],
                    "optimizer.stage_epochs": [20],
                }
            ),
            trials=8,
            epochs=100,
        ),
        Family(
            name="rnn",
            space=rnn.SPACE.replace(
                {
                    "data.batch_size": 32,
                    "data.batches": 100,
                    "data.window": CategoricalDistribution((150, 250)),
                    "loss.kind": "mae",
                    "loss.n_skip": 0,
                    "model.cell": "gru",
                    "model.layers": 1,
                    "model.hidden_size": 48,
                    "model.dropout": 0.0,
                    "model.skip": True,
                    "optimizer.learning_rate": FloatDistribution(3e-3, 1e-2, log=True),
                    "optimizer.weight_decay": 1e-5,
                    "optimizer.decay_start": 0.4,
                }
            ),
        ),
        Family(
            name="linear",
            space=linear.SPACE.replace({"model.output_lags": IntDistribution(0, 20)}),
            initial_points=(
                {"model.lags": 20, "model.output_lags": 20, "model.ridge": 1e-8},
            ),
        ),
    ),
    objectives=(Objective(metric="rmse", unit="m"),),
    budget=Budget(trials=16, epochs=40, seconds=20 * 60),
    sampler=Rule(name="tpe"),
    stopping=(Rule(name="divergence"), Rule(name="asha", options={"grace": 0.3})),
)
