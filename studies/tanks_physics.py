"""The real cascaded tanks by their physics: equations fitted by least squares.

    HPO_DATA=... hpo launch tanks_physics
    HPO_DATA=... hpo rerun tanks_physics --seeds 10

Protocol: free-run simulation of the benchmark's record, RMSE from sample 50 on; 864 training,
160 validation and 1,024 test samples. Not yet run in full.
"""

from __future__ import annotations

from optuna.distributions import FloatDistribution

from hpo.study import Budget, Family, Objective, Rule, Study
from search_spaces import linear
from search_spaces.space import Space

# An epoch is a step of Levenberg and Marquardt over the whole record as one window.
_LEAST_SQUARES = {
    "physics.steps": 2,
    "physics.spread": FloatDistribution(0.02, 0.3),
    "model.first": 100,
    "data.window": 864,
    "data.batch_size": 1,
    "data.batches": 1,
    "optimizer.kind": "levenberg_marquardt",
    "optimizer.damping": FloatDistribution(1e-3, 1e-1, log=True),
    "optimizer.stage_windows": (),
    "optimizer.stage_epochs": (),
}


def _grey(name: str, equation: str, **entries: object) -> Family:
    """A grey box of an equation, under a name of its own."""
    space = Space({**_LEAST_SQUARES, "physics.equation": equation, **entries})
    return Family(name=name, space=space, create="models.greybox:create")


STUDY = Study(
    name="tanks_physics",
    data="cascaded_tanks",
    task="simulation",
    families=(
        _grey("greybox", "real_tanks"),
        _grey("greybox_stated", "cascaded_tanks"),
        Family(name="linear", space=linear.SPACE),
    ),
    objectives=(Objective(metric="rmse", unit="V"),),
    budget=Budget(trials=25, epochs=40),
    stopping=(Rule(name="divergence"),),
)
