"""The load of six districts under one weather, a day ahead; needs no download.

    hpo launch load_forecast

Half a year of simulated hours (`simulated_load`) with a noise of meters of 5 %: a daily course that
weekends flatten, weather that reaches one district after the other, rests of their own, drift.
`forecaster` sees all districts and the calendar; `dlinear` and `ridge` see one district at a time.

Measured on 2026-11-29, 2 cores that a suite of tests shared, in a new environment and from another
folder: 1 min 45 s, 7 of 16 trials stopped early; in validation, in standard deviations of train,
`forecaster` 0.163, `dlinear` 0.201, `ridge` 0.203, `last_value` 1.534.
"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

from hpo.study import Budget, Family, Rule, Study
from search_spaces import dlinear, forecaster, last_value, ridge

_DAY, _WEEK = 24, 168
_TRAINING = {"data.window": _WEEK + _DAY, "data.batches": 60}

STUDY = Study(
    name="load_forecast",
    data={"name": "simulated_load", "noise": 0.05},
    task={"name": "forecast", "horizon": _DAY, "calendar": True},
    families=(
        Family(
            name="forecaster",
            space=forecaster.SPACE.replace(
                {
                    **_TRAINING,
                    "model.d_model": 64,
                    "model.hidden_size": 64,
                    "model.blocks": 1,
                    "model.calendar": True,
                    "model.cycle": _WEEK,
                    "model.linear": True,
                    "model.mixing": True,
                    "model.normalization": "plain",
                    "augmenter.mode": CategoricalDistribution(("none", "add")),
                }
            ),
            share=2.0,
        ),
        Family(
            name="dlinear",
            space=dlinear.SPACE.replace(
                {
                    **_TRAINING,
                    "model.individual": False,
                    "model.normalization": "plain",
                    "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
                }
            ),
        ),
        Family(
            name="ridge",
            space=ridge.SPACE.replace({"data.window": _WEEK + _DAY}),
            initial_points=({"model.penalty": 1e-3},),
            trials=3,
            epochs=1,
        ),
        Family(
            name="last_value",
            space=last_value.SPACE.replace({"data.window": _WEEK + _DAY}),
            trials=1,
            epochs=1,
        ),
    ),
    budget=Budget(trials=16, epochs=10),
    stopping=(Rule(name="divergence"), Rule(name="asha", options={"grace": 0.3})),
)
