"""SLCP from 10,000 simulations: four points of a Gaussian, five parameters, four modes or more.

    hpo launch slcp
    hpo rerun slcp --seeds 5 --metrics c2st,rank_p,tarp_p,coverage_90

C2ST against the exact posterior of ten test observations; ½ is perfect. Published for the
benchmark's own ten observations, at as many simulations: NPE 0.901, SNPE 0.845, NLE 0.771. Those
are scored by `--set 'data={"name": "slcp", "observations": "sbibm/slcp"}'` (`docs/posterior.md`).

Measured on 2026-11-29, 2 cores, beside other work: the search 13 min 34 s (25 trials, 18 stopped
early; in validation `tfmpe` 1.046, `fmpe` 1.066, `linear_posterior` 1.439), five new seeds of the
best, trial 22, 7 min 20 s. On test:

    loss.velocity  0.995 [0.992, 0.999]
    C2ST           0.852 [0.840, 0.864]   ten observations, 2,000 draws each
    coverage_90    0.896 [0.892, 0.900]
    rank p, TARP p 0.61, 0.08             means of five seeds
"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

from hpo.study import Budget, Family, Objective, Resources, Rule, Study
from search_spaces import fmpe, linear_posterior, tfmpe

_FLOW = {
    "model.hidden_size": CategoricalDistribution((128, 192)),
    "model.blocks": 4,
    "model.frequencies": 8,
    "model.dropout": FloatDistribution(0.0, 0.2),
    "matching.times": CategoricalDistribution(("uniform", "power")),
    "matching.power": FloatDistribution(0.25, 2.0),
    "matching.sigma_min": 1e-4,
    "data.batch_size": 128,
    "optimizer.learning_rate": FloatDistribution(7e-4, 4e-3, log=True),
    "optimizer.weight_decay": FloatDistribution(1e-3, 1.0, log=True),
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
    name="slcp",
    data={"name": "slcp", "samples": 10_000},
    task={"name": "posterior", "scored_draws": 0},
    families=(
        Family(name="fmpe", space=fmpe.SPACE.replace(_FLOW)),
        Family(name="tfmpe", space=tfmpe.SPACE.replace(_TOKENS), share=0.25),
        Family(
            name="linear_posterior", space=linear_posterior.SPACE, trials=1, epochs=1
        ),
    ),
    objectives=(Objective(metric="loss.velocity"),),
    budget=Budget(trials=25, epochs=120, seconds=1200),
    resources=Resources(stall=1800.0),  # draws of an evaluation come all at once
    stopping=(Rule(name="divergence"), Rule(name="asha", options={"grace": 0.3})),
)
