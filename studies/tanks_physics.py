"""The real cascaded tanks by their physics: equations fitted by least squares.

    HPO_DATA=... hpo launch tanks_physics
    HPO_DATA=... hpo rerun tanks_physics --seeds 10

Protocol: free-run simulation of the benchmark's record, RMSE from sample 50 on; 864 training,
160 validation and 1,024 test samples. `greybox` is the equation with free outflow exponents and
brims that spill (`models/physics/equations/real_tanks.py`), `greybox_stated` the published one;
both begin 40 steps of least squares near the stated values, `physics.spread` away from them.

Chosen on train and validation alone: a record does not begin in the steady state of its first
input (that costs 1.5 V over its first minutes) but at rest at 5.2 V, and levels that stop at a
brim fit worse than water that leaves the faster the higher it stands.

Measured on 2 CPU cores under a load of 18 by other work: 10 min 50 s from command to table, 1 min
56 s of processor time in the driver. Validation: greybox 0.171 V, greybox_stated 0.569 V, linear
0.734 V. Ten fresh seeds of the best (spread 0.21; 4 min 23 s):

    test        mean 0.373 V, 95 % interval 0.311 … 0.434 (0.293 to 0.564)
    validation  mean 0.227 V, 95 % interval 0.168 … 0.286

and of the second (spread 0.02):

    test        mean 0.413 V, 95 % interval 0.370 … 0.457 (0.296 to 0.521)
    validation  mean 0.179 V, 95 % interval 0.168 … 0.190

The 110 scored samples of validation choose too early: of these twenty seeds the seven whose best
epoch is 24 or later have 0.293 to 0.352 V on test, the others 0.335 to 0.564 V.
`pirnn`, a network told the same equation and begun where it says, was tried by hand before it was
added here: with the first point's values three seeds had 0.287, 0.306 and 0.369 V on test (0.369 to
0.437 V on validation), 7 s of processor time each; two with weights of 3 had 0.331 and 0.353 V.
The published grey box has 0.191 V with all 1,024 estimation samples, a GRU 0.396 V.
"""

from __future__ import annotations

from optuna.distributions import FloatDistribution

from hpo.study import Budget, Family, Objective, Rule, Study
from search_spaces import linear, pirnn
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


# A network told the same equation: windows show their first 50 levels in training.
_TOLD = {
    "physics.equation": "real_tanks",
    "physics.difference": "diff1_central",
    "model.hidden_size": 32,
    "model.encoder.hidden_size": 16,
    "model.p_state_encoder": FloatDistribution(0.3, 0.7),
    "model.warm_up": 50,
    "collocation.excitation": "multisine",
    "collocation.start": "state_encoder",
    "collocation.samples": 100,
    "collocation.amplitude": 2.0,
    "collocation.bias": 1.0,
    "weights.residual": FloatDistribution(3.0, 30.0, log=True),
    "weights.collocation": FloatDistribution(3.0, 30.0, log=True),
    "weights.consistency": 0.1,
    "weights.transition": 0.1,
    "data.window": 250,
    "data.batch_size": 16,
    "data.batches": 20,
    "loss.kind": "mae",
    "optimizer.learning_rate": FloatDistribution(2e-3, 5e-3, log=True),
    "optimizer.weight_decay": FloatDistribution(1e-3, 1e-1, log=True),
    "optimizer.decay_start": FloatDistribution(0.2, 0.4),
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
        Family(
            name="pirnn",
            space=pirnn.SPACE.replace(_TOLD),
            initial_points=(
                {
                    "weights.residual": 10.0,
                    "weights.collocation": 10.0,
                    "model.p_state_encoder": 0.5,
                    "optimizer.learning_rate": 3e-3,
                    "optimizer.weight_decay": 1e-2,
                    "optimizer.decay_start": 0.3,
                },
            ),
        ),
        Family(name="linear", space=linear.SPACE),
    ),
    objectives=(Objective(metric="rmse", unit="V"),),
    budget=Budget(trials=25, epochs=40),
    stopping=(Rule(name="divergence"),),
)
