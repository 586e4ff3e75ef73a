"""Samplers by name: pure, conditional, honest about how trials ended, and learning."""

from __future__ import annotations

import logging
import math
from importlib.util import find_spec

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from hpo.errors import StudyError
from hpo.search import optuna_study, registry, samplers
from hpo.search.optuna_study import frozen_trials
from hpo.study import Budget, Objective, Rule
from hpo.testing import samplers as suite
from hpo.testing.samplers import SPACE, request
from hpo.trials.curve import Curve
from hpo.trials.record import Trial
from hpo.trials.states import State
from search_spaces.space import Space
from tests.test_hpo import simulated

SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing

LINE = Space({"x": FloatDistribution(0.0, 1.0)})


def trial(
    index, params, value=None, state="completed", values=None, origin="first"
) -> Trial:
    return Trial(
        number=index + 1,
        family="rnn",
        index=index,
        params=params,
        seed=0,
        budget=9,
        state=State(state),
        value=value,
        curve=Curve.of((values or {}).items()),
        origin=origin,
    )


def installed(name) -> bool:
    packages = {"cmaes": ["cmaes"], "gp": ["torch", "scipy"]}.get(name, [])
    return all(find_spec(package) for package in packages)


SAMPLERS = [
    pytest.param(
        name,
        marks=[
            pytest.mark.skipif(not installed(name), reason=f"needs the extra `{name}`"),
            *([pytest.mark.oracles] if name == "gp" else []),  # the extra with torch
        ],
    )
    for name in registry.names()
]
OPTIONS = {"gp": {"startup": 4}, "nsga2": {"population": 6}, "tpe": {"startup": 4}}


def sampler(name, **options):
    return registry.make(Rule(name=name, options=options))


def search(name, function, count, *, space=LINE, seed=0, objective=None, **options):
    """Ask and evaluate in turn; the trials in the order proposed."""
    history = []
    for index in range(count):
        asked = request(
            index, space=space, seed=seed, history=history, objective=objective
        )
        params = sampler(name, **options).propose(asked)
        if params is None:
            break
        history.append(trial(index, params, function(params), origin=name))
    return history


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("check", suite.CHECKS)
def test_samplers_conform(name, check):
    check(Rule(name=name, options=OPTIONS.get(name, {})))


ONE_FILE = '''"""Steps through every range in turn."""

from dataclasses import dataclass

from hpo.search.samplers.random import Sampler as Random


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Random points, drawn for every other index only.

    Attributes:
        stride: Which seeds are left out.
    """

    stride: int = 2

    def examine(self, space, objectives):
        return (f"takes every {self.stride}. seed",)

    def propose(self, request):
        from dataclasses import replace

        seed = request.seed - request.seed % self.stride
        return Random().propose(replace(request, seed=seed))
'''


def test_a_sampler_is_one_file_wherever_it_lies(tmp_path, monkeypatch):
    (tmp_path / "striding.py").write_text(ONE_FILE)
    monkeypatch.setattr(samplers, "__path__", [*samplers.__path__, str(tmp_path)])
    described = {d.name: d for d in registry.described()}["striding"]
    assert described.summary == "Steps through every range in turn"
    assert described.options == {"stride": 2}
    for check in suite.CHECKS:
        check(Rule(name="striding", options={"stride": 3}))
    with pytest.raises(StudyError) as caught:
        registry.make(Rule(name="strding"))
    assert "`striding`" in caught.value.hint


def test_optuna_stays_silent_and_its_settings_stay(caplog, capfd):
    before = logging.getLogger("optuna").level
    with caplog.at_level(logging.DEBUG):
        search("tpe", lambda p: p["rate"], 14, space=SPACE)
    assert not caplog.records
    assert capfd.readouterr().err == ""
    assert logging.getLogger("optuna").level == before


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_tpe_learns_what_random_does_not(direction):
    """Sums over ten seeds of the best of forty draws on a line."""
    sign = 1.0 if direction == "minimize" else -1.0
    objective = Objective(direction=direction)

    def function(params):
        return sign * abs(params["x"] - 0.3)

    def regret(name, **options):
        return sum(
            min(
                abs(function(t.params))
                for t in search(
                    name, function, 40, seed=seed, objective=objective, **options
                )
            )
            for seed in range(8)
        )

    assert regret("tpe", startup=8) < 0.5 * regret("random")


def test_tpe_is_random_until_enough_trials_have_ended():
    asked = request(2, history=search("random", lambda p: p["rate"], 2, space=SPACE))
    alone = request(2)
    assert sampler("tpe").propose(asked) == sampler("tpe").propose(alone)


def test_how_trials_ended_in_optunas_words():
    nan = math.nan
    history = [
        trial(0, {"x": 0.1}, 1.0, values={1: 2.0, 2: 1.0}),
        trial(1, {"x": 0.2}, 3.0, "converged", {1: 3.0}),
        trial(2, {"x": 0.3}, 4.0, "stopped", {1: 4.0, 2: nan, 3: 5.0}),
        trial(3, {"x": 0.4}, 2.0, "diverged", {1: 2.0, 2: nan}),
        trial(4, {"x": 0.5}, None, "failed"),
        trial(5, {"x": 0.6}, 2.0, "cancelled", {1: 2.0}),
        trial(6, {"x": 0.7}, 2.0, "running", {1: 2.0}),
        trial(7, {"x": 0.8}, None, "pending"),
        trial(8, {"x": 0.9}, None, "completed", {1: nan}),
        trial(9, {"x": 7.0}, 1.0, "completed"),  # from another space
    ]
    got = [
        (t.state, t.value, t.intermediate_values)
        for t in frozen_trials(LINE, history, (Objective(),))
    ]
    assert got == [
        (TrialState.COMPLETE, 1.0, {}),
        (TrialState.COMPLETE, 3.0, {}),
        (TrialState.PRUNED, None, {1: 4.0, 3: 5.0}),
        (TrialState.PRUNED, None, {}),
        (TrialState.FAIL, None, {}),
        (TrialState.FAIL, None, {}),
        (TrialState.RUNNING, None, {}),
        (TrialState.RUNNING, None, {}),
        (TrialState.PRUNED, None, {}),
    ]


def test_tpe_keeps_away_from_where_trials_diverged():
    """Twenty diverged above 0.5, ten good below: proposals follow."""
    history = [
        trial(n, {"x": 0.5 + n / 50}, None, "diverged", {1: math.nan})
        for n in range(20)
    ] + [trial(20 + n, {"x": n / 20}, 1.0 + n) for n in range(10)]
    asked = [request(30 + n, space=LINE, history=history) for n in range(20)]
    low = sum(sampler("tpe").propose(a)["x"] < 0.5 for a in asked)
    assert low >= 17


def test_running_trials_push_the_next_proposal_away():
    """The constant liar: what waits at the best place makes that place worse."""
    done = [trial(n, {"x": n / 12}, abs(n / 12 - 0.5)) for n in range(12)]
    busy = [trial(12 + n, {"x": 0.5 + n / 1000}, state="running") for n in range(6)]

    def spread(history):
        asked = [request(100 + n, space=LINE, history=history) for n in range(20)]
        return sum(abs(sampler("tpe").propose(a)["x"] - 0.5) for a in asked)

    assert spread(done + busy) > spread(done)


@settings(max_examples=25, deadline=None, suppress_health_check=[SLOW])
@given(st.integers(0, 10**6))
def test_random_is_uniform_in_the_declared_scale(seed):
    space = Space(
        {
            "log": FloatDistribution(1e-4, 1.0, log=True),
            "n": IntDistribution(1, 4),
            "c": CategoricalDistribution(["a", "b"]),
        }
    )
    made = sampler("random")
    points = [made.propose(request(n, space=space, seed=seed)) for n in range(60)]
    decades = [math.floor(math.log10(p["log"])) for p in points]
    assert set(decades) == {-4, -3, -2, -1}
    assert {p["n"] for p in points} == {1, 2, 3, 4}
    assert {p["c"] for p in points} == {"a", "b"}


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        (Rule(name="tppe"), "unknown sampler `tppe`", "`tpe`"),
        (Rule(name="tpe", options={"start": 3}), "no option `start`", "`startup`"),
        (Rule(name="tpe", options={"startup": -1}), "startup must be an integer", ""),
        (Rule(name="tpe", options={"candidates": 0}), "candidates must be", ""),
        (Rule(name="random", options={"seed": 3}), "no option `seed`", "no options"),
    ],
)
def test_a_wrong_sampler_is_refused(given, message, hint):
    with pytest.raises(StudyError) as caught:
        registry.make(given)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_optuna_is_the_version_this_was_tried_with():
    assert optuna.__version__.split(".")[0] == "5"


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_what_was_made_for_earlier_proposals_changes_none(sampler, monkeypatch):
    """A live run, whose ended trials are translated once, against translating all anew."""
    a_study = simulated.study(sampler=Rule(name=sampler), stopping=())
    loop = simulated.SimulatedLoop(a_study, workers=3)
    loop.run()

    class Forgetful(dict):
        def setdefault(self, key, default=None):
            return {}

    monkeypatch.setattr(optuna_study, "_MADE", Forgetful())
    again = simulated.SimulatedLoop(a_study, workers=3)
    again.run()
    assert again.ledger.lines == loop.ledger.lines
    ended = [t for t in loop.director.trials.values() if t.ended]
    monkeypatch.undo()
    made = optuna_study._MADE[a_study.families[0].space]
    assert len(made) >= sum(t.family == "rnn" for t in ended) - 3


EVERY_KIND = Space(
    {
        "a": FloatDistribution(-1.0, 2.0),
        "b": FloatDistribution(1e-5, 1.0, log=True),
        "c": FloatDistribution(0.0, 1.0, step=0.25),
        "d": IntDistribution(1, 9),
        "e": IntDistribution(1, 512, log=True),
        "f": IntDistribution(1, 99, step=7),
        "g": CategoricalDistribution((None, "x", 3, True)),
        "h": FloatDistribution(2.0, 2.0),
        "i": CategoricalDistribution(("only",)),
        "k": FloatDistribution(0.0, 1.0),
        "l": FloatDistribution(0.1, 2.3, step=0.05),
        "m": FloatDistribution(5e-324, 1e300, log=True),
    }
)


@pytest.mark.parametrize("space", [EVERY_KIND, SPACE], ids=["every kind", "suite"])
def test_a_random_draw_is_that_of_an_optuna_study(space):
    for index in range(40):
        asked = request(index, space=space)
        whole = optuna_study.ask(
            optuna.samplers.RandomSampler(seed=asked.seed), asked, history=()
        )
        found = sampler("random").propose(asked)
        assert found == whole and list(found) == list(whole)
        assert [type(v) for v in found.values()] == [type(v) for v in whole.values()]


@pytest.mark.parametrize(("rule", "learns"), [("halving", False), ("asha", True)])
def test_it_is_told_when_all_is_drawn_before_a_sampler_could_learn(rule, learns):
    pytest.importorskip("torch")

    def drawn(startup):
        sampler = Rule(name="gp", options={"startup": startup})
        made = simulated.study(
            budget=Budget(trials=30, epochs=9),
            sampler=sampler,
            stopping=(Rule(name=rule),),
        )
        loop = simulated.SimulatedLoop(made, workers=2)
        loop.run()
        return loop.director, [t.params for t in loop.director.trials.values()]

    director, points = drawn(2)
    said = [r for r in director.remarks if "`gp` will draw at random" in r]
    assert len(said) == (not learns)
    # And so it is: nearly all points are those of one that never begins to learn.
    others = sum(a != b for a, b in zip(points, drawn(1000)[1], strict=True))
    assert others > 5 if learns else others <= 2
