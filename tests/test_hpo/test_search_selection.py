"""A long history is modelled by a part of it, of which the best are never left out."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import TrialState

from hpo.search import optuna_study, registry
from hpo.search.selection import BEST, selection
from hpo.study import Objective, Rule
from hpo.testing.samplers import request
from hpo.trials.curve import Curve
from hpo.trials.record import Trial
from hpo.trials.states import State
from search_spaces.space import Space

SPACE = Space({"x": FloatDistribution(0.0, 1.0)})
LIMIT = 300


def history(seed, count, *, shares, direction="minimize"):
    """Trials in all states, some of whose values are equal or missing."""
    random = np.random.default_rng(seed)
    found = []
    for i, state in enumerate(
        random.choice(list(shares), count, p=list(shares.values()))
    ):
        ends = int(random.integers(1, 9))
        values = np.round(random.normal(size=ends), 2)
        if random.random() < 0.1:
            values[-1] = np.nan
        best = values.min() if direction == "minimize" else values.max()
        silent = state in ("pending", "failed") or not np.isfinite(best)
        curve = Curve.of([] if state == "pending" else enumerate(values.tolist(), 1))
        found.append(
            Trial(
                number=i + 1,
                family="any",
                index=i,
                params={"x": float(random.random())},
                seed=0,
                budget=9,
                state=State(state),
                value=None if silent else float(best),
                curve=curve,
            )
        )
    return found


def good(trials, objective):
    """The numbers of those that Optuna's TPE counts as good."""
    goals = (objective,)
    study = optuna.create_study(direction=objective.direction)
    frozen = []
    for trial in trials:
        (made,) = optuna_study.frozen_trials(SPACE, [trial], goals)
        made.number = trial.number
        if made.state is not TrialState.FAIL:
            frozen.append(made)
    count = default_gamma(len(frozen))
    return {t.number for t in _split_trials(study, frozen, count)[0]}


MIXES = {
    "completed": {"completed": 1.0},
    "halving": {"completed": 0.02, "paused": 0.5, "stopped": 0.43, "diverged": 0.05},
    "everything": {
        "completed": 0.3,
        "converged": 0.1,
        "stopped": 0.25,
        "paused": 0.1,
        "diverged": 0.1,
        "failed": 0.1,
        "running": 0.03,
        "pending": 0.02,
    },
}


@pytest.mark.parametrize("mix", MIXES)
@given(
    seed=st.integers(0, 10**6), down=st.booleans(), limit=st.sampled_from([None, 0.5])
)
@settings(max_examples=10, deadline=None)
def test_what_tpe_counts_as_good_is_there(mix, seed, down, limit):
    direction = "minimize" if down else "maximize"
    objective = Objective(metric="rmse", direction=direction, limit=limit)
    trials = history(seed, 900, shares=MIXES[mix], direction=direction)
    taken = selection(trials, objective, limit=LIMIT)
    assert [t.number for t in taken] == sorted(t.number for t in taken)
    kept = {t.number for t in taken}
    active = {t.number for t in trials if t.state in ("running", "pending")}
    assert active <= kept and not kept & {
        t.number for t in trials if t.state == "failed"
    }
    assert len(taken) <= max(LIMIT, len(active) + 3 * BEST)
    assert good(taken, objective) == good(trials, objective)


def test_the_others_come_from_all_times_and_the_newest_among_them():
    trials = history(3, 5000, shares={"diverged": 1.0})
    taken = [t.number for t in selection(trials, Objective(metric="rmse"), limit=LIMIT)]
    assert len(taken) == LIMIT and taken[-1] == 5000
    assert set(np.diff(taken)) <= {16, 17}


def test_a_short_history_is_taken_as_it_is():
    trials = history(4, LIMIT, shares=MIXES["everything"])
    assert selection(trials, Objective(metric="rmse"), limit=LIMIT) is trials


def test_a_proposal_follows_from_the_history_alone():
    trials = history(5, 700, shares=MIXES["everything"])
    copies = history(5, 700, shares=MIXES["everything"])
    differ = []
    for seed in range(8):
        asked = [
            request(700, space=SPACE, seed=seed, history=h) for h in (trials, copies)
        ]
        sampler = registry.make(Rule(name="tpe"))
        first, second = (sampler.propose(a) for a in asked)
        assert first == second == sampler.propose(asked[0])
        whole = registry.make(Rule(name="tpe", options={"limit": 700}))
        differ.append(whole.propose(asked[0]) != first)
    assert any(differ)  # it does leave something out
