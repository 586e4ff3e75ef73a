"""CMA-ES, NSGA-II and the Gaussian process: replayed exactly, and better than chance."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
from msgspec import structs
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo import options as options_module
from hpo.errors import StudyError
from hpo.search import registry
from hpo.search.registry import Request
from hpo.search.standing import best_first
from hpo.search.unit import value_at
from hpo.seeds import derive
from hpo.study import Objective, Rule
from hpo.testing.samplers import SPACE
from hpo.trials.curve import Curve
from hpo.trials.record import Trial
from hpo.trials.states import State
from search_spaces.space import Space

CUBE = Space({f"x{i}": FloatDistribution(-5.0, 5.0) for i in range(4)})
MIXED = Space(
    {
        "kind": CategoricalDistribution(["a", "b"]),
        "n": IntDistribution(1, 30),
        "x": FloatDistribution(1e-4, 1.0, log=True),
        "one": IntDistribution(3, 3),
        "y": FloatDistribution(0.0, 1.0),
    }
).when("y", "kind", "b")


def needed(package):
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None, reason=f"needs {package}"
    )


def trial(index, params, value, *, origin, state="completed", last=9) -> Trial:
    return Trial(
        number=index + 1, family="rnn", index=index, params=params, seed=0, budget=9,
        state=State(state), value=value, origin=origin,
        curve=Curve.of([(last, math.nan if value is None else value)]),
    )  # fmt: skip


def proposal(name, history, *, space, seed=0, direction="minimize", **options):
    index = len(history)
    return registry.make(Rule(name=name, options=options)).propose(
        Request(
            space=space,
            seed=derive(seed, "proposal", index),
            family_seed=derive(seed),
            index=index,
            history=history,
            objective=Objective(direction=direction),
        )
    )


def search(name, function, count, *, first=(), **settings):
    history = [trial(i, p, function(p), origin="first") for i, p in enumerate(first)]
    while len(history) < count:
        params = proposal(name, history, **settings)
        history.append(trial(len(history), params, function(params), origin=name))
    return history


def sphere(params):
    return sum((params[f"x{i}"] - i + 1.5) ** 2 for i in range(4))


def tilted(params):
    """An ellipsoid whose long axis lies along no dimension."""
    x = np.array([params[f"x{i}"] for i in range(4)])
    return float(x @ x + 50 * (x.sum() - 1) ** 2)


def best(history):
    return min(t.value for t in history)


# -- the order of ended trials ------------------------------------------------------------


def test_who_stands_before_whom():
    told = [
        trial(0, {}, 3.0, origin="", state="stopped", last=3),
        trial(1, {}, 9.0, origin=""),
        trial(2, {}, 1.0, origin="", state="stopped", last=1),
        trial(3, {}, 1.0, origin="", state="diverged"),
        trial(4, {}, 2.0, origin="", state="stopped", last=3),
        trial(5, {}, None, origin=""),
        trial(6, {}, 5.0, origin="", state="converged"),
        trial(7, {}, 0.0, origin="", state="running"),
        trial(8, {}, 0.0, origin="", state="failed"),
    ]
    order = [t.index for t in best_first(told, (Objective(),))]
    assert order == [6, 1, 4, 0, 2, 3, 5, 8]
    largest = [t.index for t in best_first(told, (Objective(direction="maximize"),))]
    assert largest == [1, 6, 0, 4, 2, 3, 5, 8]


# -- CMA-ES -------------------------------------------------------------------------------


@needed("cmaes")
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_replayed_it_is_the_optimizer_that_never_stopped(direction):
    """`cmaes` itself, asked and told live, reseeded for each point."""
    from cmaes import CMA

    sign = 1 if direction == "minimize" else -1
    history = search(
        "cmaes", lambda p: sign * tilted(p), 60, space=CUBE, direction=direction
    )
    live = CMA(mean=np.full(4, 0.5), sigma=1 / 6, bounds=np.array([[0.0, 1.0]] * 4))
    told = []
    for index, made in enumerate(history):
        live.reseed_rng(derive(0, "proposal", index))
        x = live.ask()
        expected = [value_at(d, u) for d, u in zip(CUBE.distributions.values(), x)]  # noqa: B905
        assert list(made.params.values()) == pytest.approx(expected, abs=1e-9)
        told.append((x, tilted(made.params)))
        if len(told) == live.population_size:
            live.tell(told)
            told = []


@pytest.mark.slow
@needed("cmaes")
def test_cmaes_finds_what_chance_does_not():
    for function in (sphere, tilted):
        ours = [
            best(search("cmaes", function, 150, space=CUBE, seed=s)) for s in range(3)
        ]
        chance = [
            best(search("random", function, 150, space=CUBE, seed=s)) for s in range(3)
        ]
        assert np.median(ours) < 0.05 * np.median(chance), function.__name__


@pytest.mark.slow
@needed("cmaes")
def test_cmaes_counts_reaches_ends_and_starts_again():
    """A best integer at the end of its range, with everything else along; 400 trials."""

    def function(params):
        return (
            30
            - params["n"]
            + abs(math.log10(params["x"]) + 2)
            + (params["kind"] == "a")
        )

    history = search("cmaes", function, 400, space=MIXED)
    assert all(MIXED.validate(t.params) == t.params for t in history)
    assert best(history) < 0.2
    late = history[200:]
    assert len({t.params["n"] for t in late}) > 1, "integers do not freeze"
    assert {t.params["kind"] for t in late} == {"a", "b"}


@needed("cmaes")
def test_cmaes_begins_at_the_best_point_tried_first():
    near, far = (dict.fromkeys(CUBE.distributions, v) for v in (4.0, -4.0))
    settings = {"space": CUBE, "sigma": 1e-3}
    for value, expected in ((lambda p: p["x0"], -4.0), (lambda p: -p["x0"], 4.0)):
        history = search("cmaes", value, 5, first=(near, far), **settings)
        assert history[-1].params["x1"] == pytest.approx(expected, abs=0.1)
    alone = search("cmaes", sphere, 2, **settings)
    assert alone[-1].params["x1"] == pytest.approx(0.0, abs=0.1)


@needed("cmaes")
def test_a_generation_is_told_when_all_of_it_has_ended():
    """Trials still running leave the distribution as it was; their end moves it."""
    ended = search("cmaes", sphere, 8, space=CUBE, population=8)
    waiting = [
        *ended[:3],
        trial(3, ended[3].params, None, origin="cmaes", state="running"),
    ]
    untold = proposal("cmaes", [*waiting, *ended[4:]], space=CUBE, population=8)
    told = proposal("cmaes", ended, space=CUBE, population=8)
    fresh = proposal("cmaes", [*ended[:7], waiting[3]], space=CUBE, population=8)
    assert untold == fresh != told


@needed("cmaes")
@pytest.mark.parametrize("lost", [{}, {"x0": 7.5}, {"x0": "high"}, {"x0": None}])
def test_cmaes_is_told_of_no_trial_that_has_no_place_in_the_space(lost):
    """As if they had not been: an extension brought the dimension, or another range of it."""
    found = search("cmaes", sphere, 16, space=CUBE, population=8)
    others = [
        structs.replace(
            t,
            number=100 + t.number,
            params={**{n: x for n, x in t.params.items() if n != "x0"}, **lost},
        )
        for t in found[:11]
    ]
    first = structs.replace(others[0], origin="first", value=-99.0)

    def asked(history):
        return registry.make(Rule(name="cmaes", options={"population": 8})).propose(
            Request(
                space=CUBE, seed=5, family_seed=1, index=16, history=history,
                objective=Objective(),
            )
        )  # fmt: skip

    alone = asked(found)
    assert asked([first, *others, *found]) == alone != asked(found[:8])


@needed("cmaes")
def test_cmaes_says_what_it_draws_at_random():
    made = registry.make(Rule(name="cmaes"))
    assert made.examine(CUBE, 1) == ()
    assert made.examine(MIXED, 1) == (
        "cmaes draws at random what is categorical or conditional: kind, y",
    )


@needed("cmaes")
def test_a_space_without_numbers_is_searched_at_random():
    space = Space({"kind": CategoricalDistribution(["a", "b", "c"])})
    kinds = {t.params["kind"] for t in search("cmaes", lambda p: 1.0, 20, space=space)}
    assert kinds == {"a", "b", "c"}


# -- NSGA-II ------------------------------------------------------------------------------


def test_evolution_finds_what_chance_does_not():
    settings = {"space": CUBE, "population": 12}
    ours = [best(search("nsga2", sphere, 250, seed=s, **settings)) for s in range(3)]
    chance = [best(search("random", sphere, 250, space=CUBE, seed=s)) for s in range(3)]
    assert np.median(ours) < 0.2 * np.median(chance)


def test_children_have_their_parents_values():
    """Without mutation, choices and integers come from the parents; the worse half of the
    trials has none, whoever stopped them."""
    history = [
        trial(
            i,
            {"kind": "a", "n": 2 + i % 3, "x": 0.1, "one": 3},
            1.0 + i,
            origin="nsga2",
        )
        for i in range(10)
    ] + [
        trial(
            10 + i,
            {"kind": "b", "n": 20, "x": 0.9, "one": 3, "y": 0.5},
            0.0,
            origin="nsga2",
            state="stopped",
            last=8,
        )
        for i in range(10)
    ]
    for seed in range(40):
        child = proposal(
            "nsga2", history, space=MIXED, seed=seed, population=10, mutation=0.0
        )
        assert child["kind"] == "a" and child["n"] in (2, 3, 4) and "y" not in child
        assert child["x"] == pytest.approx(0.1)


def test_a_child_may_need_what_no_parent_has():
    """Every value mutates: conditional dimensions appear and are drawn."""
    history = search("nsga2", lambda p: p["rate"], 8, space=SPACE, population=4)
    children = [
        proposal("nsga2", history, space=SPACE, seed=s, population=4, mutation=1.0)
        for s in range(60)
    ]
    assert all(SPACE.validate(c) == c for c in children)
    assert {c["layers"] for c in children} == {1, 2, 3}
    assert {c["kind"] for c in children} == {"gru", "lstm", None}


def test_children_inherit_what_today_s_space_holds_and_draw_the_rest():
    """Parents of a space with other kinds, ranges and scales; one dimension is as it was."""
    now = Space(
        {
            "kind": CategoricalDistribution(["b", "c"]),
            "n": IntDistribution(10, 20, step=5),
            "x": FloatDistribution(1e-3, 1.0, log=True),
            "same": IntDistribution(1, 1000),
        }
    )
    history = [
        trial(i, {"kind": "ab"[i % 2], "n": 1 + i, "x": i / 60, "same": 500 + i}, i,
              origin="nsga2")
        for i in range(24)
    ]  # fmt: skip
    children = [
        proposal("nsga2", history, space=now, seed=s, mutation=0.0) for s in range(60)
    ]
    assert all(now.validate(child) == child for child in children)
    assert {child["same"] for child in children} <= {500 + i for i in range(24)}
    assert {child["kind"] for child in children} == {"b", "c"}, "`a` is drawn anew"
    assert {child["n"] for child in children} == {10, 15, 20}
    assert {type(child["n"]) for child in children} == {int}


def test_crossover_spreads_around_both_parents():
    """Simulated binary crossover keeps the mean of two parents and reaches beyond them."""
    history = [
        trial(i, dict.fromkeys(CUBE.distributions, v), 1.0, origin="nsga2")
        for i, v in enumerate((-1.0, 1.0))
    ]
    children = [
        proposal(
            "nsga2",
            history,
            space=CUBE,
            seed=s,
            population=2,
            mutation=0.0,
            crossover=1.0,
        )
        for s in range(300)
    ]
    values = np.array([list(c.values()) for c in children]).ravel()
    assert abs(values.mean() + 0.5) < 0.1, "three of four tournaments go to the first"
    assert (values < -1).any() and (values > 1).any()
    assert np.quantile(np.abs(np.abs(values) - 1), 0.9) < 0.3


# -- Gaussian process ---------------------------------------------------------------------


@needed("torch")
@pytest.mark.oracles
def test_a_gaussian_process_learns_what_chance_does_not():
    settings = {"space": CUBE, "startup": 8}
    ours = best(search("gp", sphere, 25, **settings))
    chance = np.median(
        [best(search("random", sphere, 25, space=CUBE, seed=s)) for s in range(9)]
    )
    assert ours < 0.2 * chance


@needed("torch")
@pytest.mark.oracles
def test_a_gaussian_process_draws_conditional_dimensions_and_says_so():
    made = registry.make(Rule(name="gp", options={"startup": 4}))
    assert made.examine(CUBE, 1) == ()
    assert made.examine(SPACE, 1) == (
        "gp draws conditional dimensions at random: dropout",
    )
    history = search(
        "gp", lambda p: p["layers"] + p["rate"], 12, space=SPACE, startup=4
    )
    assert all(SPACE.validate(t.params) == t.params for t in history)
    assert np.mean([t.params["layers"] for t in history[-4:]]) <= 1.5, "it has learned"


# -- refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "package"), [("cmaes", "cmaes"), ("gp", "torch")])
def test_a_missing_package_is_named_with_the_command(name, package, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        options_module, "find_spec", lambda n: None if n == package else find(n)
    )
    with pytest.raises(StudyError, match=f"sampler `{name}` needs {package}") as caught:
        registry.make(Rule(name=name))
    assert caught.value.hint == f"`pip install 'hpo-harness[{name}]'`"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule(name="qmc", options={"sequence": "sobl"}), "one of sobol, halton"),
        (Rule(name="grid", options={"steps": 1}), "steps must be an integer from 2"),
        (Rule(name="nsga2", options={"population": 1}), "population must be"),
        pytest.param(
            Rule(name="cmaes", options={"population": 3}),
            "population must be an integer from 4",
            marks=needed("cmaes"),
        ),
        (Rule(name="nsga2", options={"crossover": 1.5}), "crossover must be at most 1"),
        (Rule(name="nsga2", options={"mutation": -1}), "mutation must be a number"),
    ],
)
def test_a_wrong_option_is_refused(rule, message):
    with pytest.raises(StudyError, match=message):
        registry.make(rule)
