"""Ten normal means from 10,000 simulations: what a flow loses where a closed form is exact.

    hpo launch gaussian_linear
    hpo rerun gaussian_linear --top 2 --seeds 5 --metrics c2st,rank_p,tarp_p,coverage_90

`linear_posterior` is exact here and ranks first; `loss.velocity` has its floor at ½ π √½ = 1.111 in
the mean. C2ST against the exact posterior of ten test observations; ½ is perfect. Published for the
benchmark's own ten observations, at as many simulations: NPE 0.552, NLE 0.555, SNPE 0.544. Those
are scored by `--set 'data={"name": "gaussian_linear", "observations": "sbibm/gaussian_linear"}'`
(`docs/posterior.md`).

Measured on 2026-11-29, 2 cores beside other work: the search 2 min 53 s (17 trials, 14 stopped
early): `linear_posterior` 1.109, `fmpe` 1.114, `tfmpe` 1.116. Five new seeds of the best two, 20
min, most of it C2ST. On test:

                    linear_posterior   fmpe
    loss.velocity   1.106              1.112 [1.112, 1.113]
    C2ST            0.499              0.513 [0.512, 0.514]   ten observations, 2,000 draws each
    coverage_90     0.899              0.896 [0.896, 0.897]
    rank p, TARP p  0.20, 0.47         0.90, 0.45             means of five seeds
"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

from hpo.study import Budget, Family, Objective, Resources, Rule, Study
from search_spaces import fmpe, linear_posterior, tfmpe

_FLOW = {
    "model.hidden_size": CategoricalDistribution((64, 128)),
    "model.blocks": 2,
    "model.frequencies": 8,
    "model.dropout": FloatDistribution(0.0, 0.1),
    "matching.times": "uniform",
    "matching.sigma_min": 1e-4,
    "data.batch_size": 128,
    "optimizer.learning_rate": FloatDistribution(5e-4, 3e-3, log=True),
    "optimizer.weight_decay": FloatDistribution(1e-4, 1.0, log=True),
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
    name="gaussian_linear",
    data={"name": "gaussian_linear", "samples": 10_000},
    task={"name": "posterior", "scored_draws": 0},
    families=(
        Family(name="fmpe", space=fmpe.SPACE.replace(_FLOW)),
        Family(name="tfmpe", space=tfmpe.SPACE.replace(_TOKENS), share=0.25),
        Family(
            name="linear_posterior", space=linear_posterior.SPACE, trials=1, epochs=1
        ),
    ),
    objectives=(Objective(metric="loss.velocity"),),
    budget=Budget(trials=17, epochs=60, seconds=1200),
    resources=Resources(stall=1800.0),  # draws of an evaluation come all at once
    stopping=(Rule(name="divergence"), Rule(name="asha", options={"grace": 0.3})),
)
