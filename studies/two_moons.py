"""Two moons from 10,000 simulations: a crescent that two places of the parameters explain.

    hpo launch two_moons
    hpo rerun two_moons --seeds 5 --metrics c2st,rank_p,tarp_p,coverage_90

C2ST against the exact posterior of ten test observations; ½ is perfect. Published for the
benchmark's own ten observations, at as many simulations: NPE 0.606, NLE 0.713, SNPE 0.554. Those
are scored by `--set 'data={"name": "two_moons", "observations": "sbibm/two_moons"}'`
(`docs/posterior.md`).

Measured on 2026-11-30 on 2 cores that much other work shared (a load of 10): the search 20 min
(20 of 25 trials, 13 stopped early, then its limit of time), `loss.velocity` in validation:

    fmpe  0.522    tfmpe  0.529    linear_posterior  0.958

Five new seeds of the best, 20 min, on test:

    loss.velocity  0.565 [0.562, 0.569]
    C2ST           0.529 [0.522, 0.536]   ten observations, 2,000 draws each
    coverage_50    0.501 [0.498, 0.504]
    coverage_90    0.872 [0.857, 0.888]   intervals are a little too narrow
    TARP p         0.82, 0.62             median and smallest
    rank p         0.007, 0.004           of both parameters, Holm: not quite calibrated
"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

from hpo.study import Budget, Family, Objective, Resources, Rule, Study
from search_spaces import fmpe, linear_posterior, tfmpe

_FLOW = {
    "model.hidden_size": 128,
    "model.blocks": 4,
    "model.frequencies": 8,
    "model.dropout": 0.0,
    "matching.times": CategoricalDistribution(("uniform", "power")),
    "matching.power": FloatDistribution(0.25, 2.0),
    "matching.sigma_min": 1e-4,
    "data.batch_size": CategoricalDistribution((128, 256)),
    "optimizer.learning_rate": FloatDistribution(1e-3, 5e-3, log=True),
    "optimizer.weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
    "optimizer.decay_start": FloatDistribution(0.0, 0.4),
    "optimizer.average": FloatDistribution(0.99, 0.999),
}
_TOKENS = {
    "model.size": 32,
    "model.blocks": 3,
    "model.mask": "dense",
    "model.input_scale": 1.0,  # there are no inputs
    "model.dropout": 0.0,
    "seen.tokens": "site",
    "scheme.kind": "direct",
    "matching.times": "uniform",
    "matching.sigma_min": 1e-4,
    "data.batch_size": 128,
    "optimizer.learning_rate": FloatDistribution(1e-3, 4e-3, log=True),
}

STUDY = Study(
    name="two_moons",
    data={"name": "two_moons", "samples": 10_000},
    task={"name": "posterior", "scored_draws": 0},
    families=(
        Family(name="fmpe", space=fmpe.SPACE.replace(_FLOW)),
        Family(name="tfmpe", space=tfmpe.SPACE.replace(_TOKENS), share=0.25),
        Family(
            name="linear_posterior", space=linear_posterior.SPACE, trials=1, epochs=1
        ),
    ),
    objectives=(Objective(metric="loss.velocity"),),
    budget=Budget(trials=25, epochs=150, seconds=1200),
    resources=Resources(stall=1800.0),  # draws of an evaluation come all at once
    stopping=(Rule(name="divergence"), Rule(name="asha", options={"grace": 0.3})),
)
