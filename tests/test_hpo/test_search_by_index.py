"""Sequences and grids: the point of an index, whatever happened before."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from scipy.stats import qmc

from hpo.director import Director
from hpo.director.decisions import Done
from hpo.errors import StudyError
from hpo.ledger.events import Extended
from hpo.search.registry import Request, make
from hpo.search.samplers.grid import values
from hpo.study import Budget, Family, Objective, Rule
from hpo.trials.record import Trial
from hpo.trials.states import State
from search_spaces.space import Space
from tests.test_hpo.simulated import SPACE, SimulatedLoop, study

SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing

SQUARE = Space({"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(0.0, 1.0)})


def points(name, count, *, space=SQUARE, seed=3, **options):
    sampler = make(Rule(name=name, options=options))
    return [
        sampler.propose(
            Request(
                space=space,
                seed=index,
                family_seed=seed,
                index=index,
                history=(),
                objective=Objective(),
            )
        )
        for index in range(count)
    ]


# -- sequences ----------------------------------------------------------------------------


@pytest.mark.parametrize("sequence", ["sobol", "halton"])
def test_single_points_are_the_sequence(sequence):
    """Point by point what SciPy gives at once."""
    kind = {"sobol": qmc.Sobol, "halton": qmc.Halton}[sequence]
    whole = kind(2, rng=np.random.default_rng(3)).random(64)
    got = [[p["x"], p["y"]] for p in points("qmc", 64, sequence=sequence)]
    np.testing.assert_allclose(got, whole, rtol=0, atol=1e-12)


def test_it_covers_more_evenly_than_chance():
    def discrepancy(name):
        return qmc.discrepancy([[p["x"], p["y"]] for p in points(name, 64)])

    assert discrepancy("qmc") < 0.3 * discrepancy("random")


def test_integers_and_choices_come_equally_often():
    space = Space(
        {
            "n": IntDistribution(1, 4),
            "c": CategoricalDistribution(["a", "b"]),
            "one": IntDistribution(5, 5),
        }
    )
    found = points("qmc", 64, space=space)
    assert Counter(p["n"] for p in found) == dict.fromkeys((1, 2, 3, 4), 16)
    pairs = itertools.product((1, 2, 3, 4), "ab")
    assert Counter((p["n"], p["c"]) for p in found) == dict.fromkeys(pairs, 8)


def test_a_conditional_dimension_takes_nothing_from_the_others():
    """The other coordinates are those of the space in which it always exists."""
    always = Space(SPACE.entries())
    for some, whole in zip(
        points("qmc", 40, space=SPACE), points("qmc", 40, space=always), strict=True
    ):
        assert some == {n: v for n, v in whole.items() if n in some}
        assert ("dropout" in some) == (some["layers"] >= 2)


def test_points_to_try_first_do_not_use_up_the_sequence():
    first = ({"x": 0.5, "y": 0.5}, {"x": 0.1, "y": 0.1})
    found = []
    for tried in ((), first):
        family = Family(
            name="rnn",
            space=SQUARE,
            initial_points=tried,
            create="tests.test_hpo.simulated:create",
        )
        budget = Budget(trials=4 + len(tried), epochs=1)
        loop = SimulatedLoop(
            study(families=(family,), budget=budget, sampler=Rule(name="qmc"))
        )
        loop.run()
        found.append([t.params for t in loop.director.trials.values()][len(tried) :])
    assert found[0] == found[1]


# -- grids --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distribution", "steps", "expected"),
    [
        (FloatDistribution(0.0, 1.0), 3, (0.0, 0.5, 1.0)),
        (FloatDistribution(1e-4, 1.0, log=True), 5, (1e-4, 1e-3, 1e-2, 1e-1, 1.0)),
        (FloatDistribution(0.0, 1.0, step=0.25), 9, (0.0, 0.25, 0.5, 0.75, 1.0)),
        (FloatDistribution(0.0, 1.0, step=0.25), 3, (0.0, 0.5, 1.0)),
        (FloatDistribution(2.0, 2.0), 4, (2.0,)),
        (IntDistribution(1, 3), 5, (1, 2, 3)),
        (IntDistribution(50, 500, step=50), 4, (50, 200, 350, 500)),
        (IntDistribution(8, 64, log=True), 4, (8, 16, 32, 64)),
        (IntDistribution(1, 3, log=True), 5, (1, 2, 3)),
        (IntDistribution(4, 4), 2, (4,)),
        (CategoricalDistribution(["a", None]), 2, ("a", None)),
    ],
)
def test_values_of_a_dimension(distribution, steps, expected):
    got = values(distribution, steps)
    assert got == pytest.approx(expected) if None not in expected else expected
    assert [type(v) for v in got] == [type(v) for v in expected]


@settings(max_examples=60, deadline=None, suppress_health_check=[SLOW])
@given(
    st.integers(1, 4), st.integers(0, 6), st.integers(2, 5), st.sampled_from([1, 2, 5])
)
def test_every_combination_once_and_no_more(choices, width, steps, at_least):
    """Against `itertools.product`, with what does not exist cut off."""
    space = Space(
        {
            "c": CategoricalDistribution([f"c{i}" for i in range(choices)]),
            "n": IntDistribution(1, 1 + width),
            "x": FloatDistribution(0.0, 1.0),
            "fixed": 7,
        }
    ).when("x", "n", at_least=at_least)
    axes = [values(d, steps) for d in space.distributions.values()]
    expected = {
        (c, n, x if n >= at_least else None) for c, n, x in itertools.product(*axes)
    }
    found = points("grid", len(expected) + 2, space=space, steps=steps)
    assert found[len(expected) :] == [None, None]
    got = [(p["c"], p["n"], p.get("x")) for p in found[: len(expected)]]
    assert len(set(got)) == len(got) and set(got) == expected


def test_a_grid_cut_short_is_no_corner():
    space = Space({"a": IntDistribution(0, 4), "b": IntDistribution(0, 4)})
    for axis in "ab":
        tried = {p[axis] for p in points("grid", 12, space=space)}
        assert len(tried) >= 4, "in order it would be three"


def gridded(trials, **changes):
    family = Family(
        name="rnn",
        space=Space({"layers": IntDistribution(1, 3), "kind": "gru"}),
        create="tests.test_hpo.simulated:create",
        initial_points=({"layers": 2},),
    )
    other = Family(
        name="tcn",
        space=Space({"rate": FloatDistribution(0.1, 1.0)}),
        create="tests.test_hpo.simulated:create",
    )
    return study(
        families=(family, other),
        budget=Budget(trials=trials, epochs=2),
        sampler=Rule(name="grid"),
        **changes,
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_a_family_without_points_leaves_the_rest_to_run(workers):
    """3 + 1 tried first, and 5: the others of 24 trials do not exist."""
    loop = SimulatedLoop(gridded(24), workers=workers)
    assert loop.director.total == 24
    assert loop.director.remarks == (
        "family `rnn`: the grid has 3 points",
        "family `tcn`: the grid has 5 points",
    )
    loop.run()
    families = [t.family for t in loop.director.trials.values()]
    assert Counter(families) == {"rnn": 4, "tcn": 5}
    assert loop.director.total == 9
    assert loop.director.next(loop.time) == (Done("budget"), ())
    assert all(t.ended for t in loop.director.trials.values())


def extended(before, now, *, trained, trials):
    """Points that a run trains after an extension that gave its family another space."""

    def made(space, count):
        family = Family(
            name="rnn", space=space, create="tests.test_hpo.simulated:create"
        )
        return study(
            families=(family,),
            budget=Budget(trials=count, epochs=1),
            sampler=Rule(name="grid", options={"steps": 20}),
            stopping=(),
        )

    loop = SimulatedLoop(made(before, trained))
    loop.run()
    was = json.loads(json.dumps(loop.study.to_json()))
    loop.write([Extended(elapsed=0.0, said=["another space"], before=was)])
    loop.study = made(now, trials)
    loop.resume()
    loop.run()
    found = [t.params for t in loop.director.trials.values()]
    return found[:trained], found[trained:]


WIDE = Space({"layers": IntDistribution(0, 9)})
OTHERS = {
    "another dimension": Space({"depth": IntDistribution(1, 10)}),
    "narrower": Space({"layers": IntDistribution(0, 3)}),
    "wider": Space({"layers": IntDistribution(-5, 14)}),
    "another constant": Space({"layers": IntDistribution(0, 9), "kind": "gru"}),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_grid_of_another_space_has_every_point_that_was_not_trained(kind):
    """What the run trained before is no part of the new grid's count, but of its points."""
    now = OTHERS[kind]
    before, after = extended(WIDE, now, trained=6, trials=60)
    grid = [{n: v} for n, d in now.distributions.items() for v in values(d, 20)]
    same = [] if now.constants else before
    assert len(before) == 6 and all(p in grid for p in after)
    assert sorted(map(repr, after)) == sorted(repr(p) for p in grid if p not in same)


def test_a_grid_of_the_same_space_goes_on_after_an_extension():
    before, after = extended(WIDE, WIDE, trained=6, trials=60)
    whole, none = extended(WIDE, WIDE, trained=10, trials=60)
    assert before + after == whole and none == []


def test_a_grid_goes_on_in_the_space_that_it_went_back_to():
    """Two extensions, there and back: of the first space what is left of it."""
    old = [{"layers": n} for n in (3, 1)]
    mine, others = Space({"layers": IntDistribution(0, 4)}), OTHERS["another dimension"]
    trials = [trial_of(i, p) for i, p in enumerate([*old, {"depth": 3}])]
    former = list(zip(trials, (mine, mine, others), strict=True))
    sampler = make(Rule(name="grid"))
    found = []
    for index in range(3, 8):
        asked = Request(
            space=mine, seed=index, family_seed=1, index=index, history=trials,
            objective=Objective(), former=former,
        )  # fmt: skip
        found.append(sampler.propose(asked))
    assert sorted(p["layers"] for p in found if p) == [0, 2, 4]
    assert found[3:] == [None, None]


def trial_of(index, params):
    return Trial(
        number=index + 1, family="rnn", index=index, params=params, seed=0, budget=1,
        state=State.COMPLETED, value=1.0, origin="grid",
    )  # fmt: skip


def test_a_grid_nobody_could_train_is_refused():
    space = Space({f"x{i}": FloatDistribution(0, 1) for i in range(9)})
    family = Family(name="rnn", space=space, create="m:c")
    with pytest.raises(StudyError, match="family `rnn`: a grid of 5 steps") as caught:
        Director(study(families=(family,), sampler=Rule(name="grid")), workers=1)
    assert "1,953,125" in caught.value.message and "`qmc`" in caught.value.hint
    Director(
        study(families=(family,), sampler=Rule(name="grid", options={"steps": 2})),
        workers=1,
    )
