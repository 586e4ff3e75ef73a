"""Importance against Optuna's own evaluator, and what it says where nothing matters."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.report import importance
from hpo.report.edges import edges
from hpo.report.families import standings
from hpo.report.importance import importances
from hpo.report.summary import Row, Summary
from hpo.study import Family, Objective, Study
from hpo.trials.states import State
from search_spaces.space import Space

SPACE = {
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "drops": CategoricalDistribution([False, True]),
    "dropout": FloatDistribution(0.0, 1.0),
    "cell": CategoricalDistribution(["a", "b", "c"]),
    "size": IntDistribution(8, 128),
    "long": IntDistribution(8, 512, log=True),
    "step": IntDistribution(8, 128, step=8),
}


def point(random):
    values = {
        "rate": float(np.exp(random.uniform(np.log(1e-4), np.log(1e-1)))),
        "cell": "abc"[random.integers(3)],
        "size": int(random.integers(8, 129)),
        "long": int(random.integers(8, 513)),
        "step": int(random.integers(1, 17) * 8),
    }
    values["drops"] = bool(random.random() < 0.7)
    if values["drops"]:
        values["dropout"] = float(random.random())
    return values


def conditional(space):
    made = Space(space)
    return made.when("dropout", "drops", True) if "drops" in space else made


def summary(points, values, *, space=SPACE, direction="minimize"):
    study = Study(
        name="x",
        families=(Family(name="f", space=conditional(space)),),
        objectives=(Objective(direction=direction),),
    )
    sign = 1 if direction == "minimize" else -1
    order = np.argsort(sign * np.asarray(values))
    rows = tuple(
        Row(
            trial=int(i) + 1,
            family="f",
            state=State.COMPLETED,
            params=points[i],
            seed=0,
            epoch_budget=1,
            rank=rank,
            objective=float(values[i]),
        )
        for rank, i in enumerate(order, 1)
    )
    return Summary(study=study, folder=None, rows=rows, planned=len(rows))


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("trials", [6, 17, 120])
def test_importance_is_that_of_optuna(trials, direction):
    random = np.random.default_rng(trials)
    points = [point(random) for _ in range(trials)]
    values = [abs(np.log10(p["rate"]) + 2.5) + 0.2 * random.normal() for p in points]
    (found,) = importances(summary(points, values, direction=direction))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=direction)
    for p, v in zip(points, values, strict=True):
        ranges = {k: SPACE[k] for k in p}
        study.add_trial(
            optuna.trial.create_trial(value=v, params=p, distributions=ranges)
        )
    share = importance.quantile(trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few trials, and of its being experimental
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
        wanted = evaluator.evaluate(study)
    assert found.values == pytest.approx(wanted, rel=1e-6, abs=1e-12)
    assert list(found.values.values()) == sorted(found.values.values(), reverse=True)


def test_dead_knobs_are_told_from_noise_in_one_search_of_twenty():
    """The bar holds over all dimensions together: 5 %, give or take, of 40 searches."""
    space = {f"k{i}": FloatDistribution(0.0, 1.0) for i in range(5)}
    random, wrong = np.random.default_rng(3), 0
    for _ in range(40):
        points = [{k: float(random.random()) for k in space} for _ in range(16)]
        (found,) = importances(summary(points, random.normal(size=16), space=space))
        wrong += bool(found.told)
    assert wrong <= 7, "P(more) < 0.1 % at 5 %"


def test_a_knob_that_decides_is_told():
    space = {f"k{i}": FloatDistribution(0.0, 1.0) for i in range(5)}
    random = np.random.default_rng(4)
    points = [{k: float(random.random()) for k in space} for _ in range(60)]
    values = [abs(p["k2"] - 0.3) + 0.01 * random.normal() for p in points]
    (found,) = importances(summary(points, values, space=space))
    assert found.told[0] == "k2"


def test_with_few_trials_nothing_is_computed():
    space = {"k": FloatDistribution(0.0, 1.0)}
    (found,) = importances(summary([{"k": 0.1}] * 3, [1.0, 2.0, 3.0], space=space))
    assert (found.values, found.bar, found.told) == ({}, None, ())


@pytest.mark.parametrize(
    "distribution, value, end",
    [
        (FloatDistribution(1e-4, 1e-1, log=True), 0.09, "upper"),
        (FloatDistribution(1e-4, 1e-1, log=True), 1.2e-4, "lower"),
        (FloatDistribution(1e-4, 1e-1, log=True), 0.05, None),
        (FloatDistribution(0.0, 0.5), 0.01, None),  # nothing is below no dropout
        (FloatDistribution(0.0, 0.5), 0.49, "upper"),
        (IntDistribution(1, 3), 3, "upper"),
        (IntDistribution(1, 3), 1, "lower"),
        (IntDistribution(1, 3), 2, None),
        (CategoricalDistribution(["a", "b"]), "b", None),
    ],
)
def test_a_winner_at_a_ranges_end_says_widen(distribution, value, end):
    found = summary([{"k": value}], [1.0], space={"k": distribution})
    told = edges(found, standings(found))
    assert [e.end for e in told] == ([end] if end else [])
    assert all(str(e).endswith("widen it") for e in told)
