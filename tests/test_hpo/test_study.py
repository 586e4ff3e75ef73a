"""The frozen study: its checks, its JSON, how trials are divided, and seeds."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

from hpo import seeds
from hpo.errors import StudyError
from hpo.fixed import FixedTrial
from hpo.stopping import registry
from hpo.study import Budget, Family, Objective, Resources, Rule, Study
from search_spaces.space import Space

SPACE = Space({"rate": FloatDistribution(1e-4, 1e-1, log=True), "width": 8})


def study(**changes):
    families = changes.pop("families", (Family(name="a", space=SPACE),))
    return Study(name="toy", families=families, **changes)


@given(
    shares=st.lists(st.floats(0.1, 10), min_size=1, max_size=5),
    trials=st.integers(1, 200),
    fixed=st.integers(0, 2),
)
def test_trials_are_divided_by_shares_and_nobody_gets_none(shares, trials, fixed):
    families = [
        Family(name=f"f{i}", space=SPACE, share=share) for i, share in enumerate(shares)
    ]
    families += [Family(name=f"c{i}", space=SPACE, trials=1) for i in range(fixed)]
    counts = study(families=tuple(families), budget=Budget(trials=trials)).trials_of()
    assert list(counts) == [f.name for f in families]
    assert all(n >= 1 for n in counts.values())
    assert sum(counts.values()) == max(trials, len(families))
    open_counts = [counts[f"f{i}"] for i in range(len(shares))]
    order = sorted(range(len(shares)), key=lambda i: shares[i])
    assert all(
        open_counts[a] <= open_counts[b] + 1
        for a, b in zip(order, order[1:], strict=False)
    )


def test_equal_shares_divide_evenly():
    families = tuple(Family(name=n, space=SPACE) for n in "abc")
    counts = study(families=families, budget=Budget(trials=9)).trials_of()
    assert counts == {"a": 3, "b": 3, "c": 3}


def test_json_round_trip_and_fingerprint():
    made = study(
        families=(
            Family(name="a", space=SPACE, share=2.0, initial_points=({"rate": 0.01},)),
            Family(name="b", space=SPACE, create="elsewhere:make", trials=1, epochs=1),
        ),
        data={"name": "duffing", "samples": 100},
        objectives=(Objective(metric="fit", direction="maximize", unit="%"),),
        sampler=Rule(name="tpe", options={"startup": 5}),
        settings={"loss.n_skip": 50},
    )
    again = Study.from_json(json.loads(json.dumps(made.to_json())))
    assert again.to_json() == made.to_json()
    assert again.fingerprint() == made.fingerprint()
    assert made.replace(seed=1).fingerprint() != made.fingerprint()
    assert made.epochs_of("b") == 1 and made.epochs_of("a") == made.budget.epochs


def test_a_record_names_initial_points_as_it_did_in_its_time():
    """They were written as `first`; one that names neither is not a study."""
    today = study(
        families=(Family(name="a", space=SPACE, initial_points=({"rate": 0.01},)),)
    )
    record = json.loads(json.dumps(today.to_json()))
    (family,) = record["families"]
    family["first"] = family.pop("initial_points")
    assert Study.from_json(record) == today
    del family["first"]
    with pytest.raises(StudyError, match="not the description of a study"):
        Study.from_json(record)


def test_a_record_without_defaults_keeps_the_rungs_of_its_time():
    """The first rung was a tenth of the budget, rounded down, where none was named."""
    today = study(stopping=(Rule(name="asha"), Rule(name="asha", options={"grace": 7})))
    record = json.loads(json.dumps(today.to_json()))
    assert Study.from_json(record).stopping == today.stopping
    del record["defaults"]
    recorded = Study.from_json(record)
    again = Study.from_json(json.loads(json.dumps(recorded.to_json())))
    assert again.stopping == recorded.stopping
    old, named = (registry.make(r) for r in again.stopping)
    firsts = {10: 1, 19: 1, 20: 2, 51: 5, 100: 10, 1000: 100}
    assert {b: old.rungs(b, 0)[0] for b in firsts} == firsts
    assert registry.make(today.stopping[0]).rungs(100, 0) == (1, 3, 9, 27, 81)
    assert named.rungs(100, 0) == (7, 21, 63)


@pytest.mark.parametrize("recorded,last", [(None, 0.5), (2, 0.5), (3, 0.6)])
def test_a_recorded_halving_goes_on_with_the_stages_of_its_time(recorded, last):
    """The last stage had half of the budget until version 3 of the defaults."""
    rules = (Rule(name="halving"), Rule(name="halving", options={"last": 0.7}))
    record = json.loads(json.dumps(study(stopping=rules).to_json()))
    record["defaults"] = recorded
    if recorded is None:
        del record["defaults"]
    found = [registry.make(r).last for r in Study.from_json(record).stopping]
    assert found == [last, 0.7]


SEVERAL = ("stopping", "families", "objectives")
OTHER_KINDS = [
    *(("description", "str", bad) for bad in (3, None)),
    ("evaluate", "str", 3),
    ("name", "str", 3),
    *(("settings", "Mapping", bad) for bad in (3, None, [])),
    *(("budget", "Budget", bad) for bad in ({"trials": 3}, None)),
    ("resources", "Resources", None),
    *(("sampler", "Rule", bad) for bad in ("tpe", None)),
    *(
        ("stopping", "Rule", bad)
        for bad in ("asha", ("asha",), Rule(name="asha"), None)
    ),
    *(("objectives", "Objective", bad) for bad in ("rmse", ("rmse",), Objective())),
    *(("families", "Family", bad) for bad in ("rnn", ("rnn",), None)),
]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: study(families=()), "no family"),
        (lambda: study(families=(Family(name="a", space=SPACE),) * 2), "twice"),
        (lambda: study(seed=-1), "from 0 up"),
        (lambda: Study(name="a/b", families=(Family(name="a", space=SPACE),)), "a/b"),
        (lambda: Budget(trials=0), "must be positive, got 0"),
        (lambda: Objective(direction="down"), "minimize"),
        *((lambda bad=bad: Objective(metric=bad), "metric") for bad in (3, None, "")),
        *((lambda bad=bad: Objective(unit=bad), "unit") for bad in (3, None)),
        *(
            (lambda bad=bad: Objective(limit=bad), repr(bad))
            for bad in ("20_000", True, math.nan, math.inf, [1])
        ),
        *(
            (
                lambda name=name, bad=bad: study().replace(**{name: bad}),
                f"a study's {name} {'are a tuple of' if name in SEVERAL else 'is a'} {kind}, "
                f"got {bad!r}",
            )
            for name, kind, bad in OTHER_KINDS
        ),
        (lambda: study(seed=True), "from 0 up, got True"),
        (lambda: Rule(name=3), "has a name, got 3"),
        (lambda: Rule(name=""), "has a name"),
        (lambda: Rule(name="tpe", options=[1]), "`tpe`: options are a mapping"),
        (lambda: Rule(name="tpe", options={1: 2}), "`tpe`: options are a mapping"),
        *(
            (
                lambda bad=bad: Resources(gpus_per_trial=bad),
                f"not negative, got {bad!r}",
            )
            for bad in (math.inf, math.nan, -0.5, 1e6, "1", True)
        ),
        (lambda: Family(name="a", space=SPACE, share=math.inf), "share"),
        (lambda: Family(name="a", space=SPACE, share=0), "share"),
        (
            lambda: Family(name="a", space=SPACE, initial_points=({"rat": 1},)),
            "did you mean `rate`",
        ),
        (
            lambda: Family(name="a", space=SPACE, initial_points=({"rate": 1.0},)),
            "outside",
        ),
        (lambda: study().family("b"), "no family `b`"),
        (lambda: Study.from_json({"name": "x"}), "not the description"),
    ],
)
def test_bad_studies_are_refused_with_rule_value_and_remedy(build, message):
    with pytest.raises(StudyError) as caught:
        build()
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [4.5, 1e1, math.inf, math.nan, "4", True, [4]])
@pytest.mark.parametrize(
    ("build", "what"),
    [
        (lambda value: Budget(trials=value), "budget trials"),
        (lambda value: Budget(epochs=value), "budget epochs"),
        (lambda value: Budget(total_epochs=value), "budget total_epochs"),
        (lambda value: Family(name="a", space=SPACE, trials=value), "`a`: trials"),
        (lambda value: Family(name="a", space=SPACE, epochs=value), "`a`: epochs"),
        (lambda value: Resources(workers=value), "workers"),
    ],
)
def test_trials_epochs_and_workers_are_whole_numbers(build, what, value):
    """What is none ended in a TypeError or an OverflowError later, or trained 10.0 epochs."""
    with pytest.raises(StudyError) as caught:
        build(value)
    assert caught.value.message.endswith(
        f"{what} must be a whole number, got {value!r}"
    )
    assert "such as" in (caught.value.hint or "")
    with pytest.raises(StudyError, match="must be positive, got 0"):
        build(0)
    assert build(4) is not None


@pytest.mark.parametrize("epochs", [0, 2.5, "4", True])
def test_a_fixed_trial_ends_after_a_whole_number_of_epochs(epochs):
    with pytest.raises(StudyError, match="1 epoch or more") as caught:
        FixedTrial(family="a", params={"rate": 1e-2}, seed=1, epochs=epochs)
    assert repr(epochs) in caught.value.message and caught.value.hint


def test_limits_that_may_be_left_out_and_seconds_that_may_be_a_part():
    assert Budget(total_epochs=None, seconds=None) == Budget()
    assert Budget(seconds=0.5).seconds == 0.5
    for name in ("trials", "epochs"):
        with pytest.raises(StudyError, match="whole number, got None"):
            Budget(**{name: None})
    for seconds in (math.inf, math.nan, 0, -1.0, "30", True):
        with pytest.raises(StudyError, match="budget seconds must be") as caught:
            Budget(seconds=seconds)
        assert repr(seconds) in caught.value.message and caught.value.hint


def test_objective_ranks_nan_last_in_either_direction():
    nan = float("nan")
    for direction, best in (("minimize", 1.0), ("maximize", 2.0)):
        key = Objective(direction=direction).rank_key
        assert sorted([nan, 2.0, 1.0], key=key)[0] == best
        assert key(nan) == key(None) == float("inf")


def test_seeds_are_stable_and_told_apart():
    # pinned: a recorded seed must mean the same in every later version
    assert seeds.derive(0, "rnn", "trial", 7) == 3630347611
    made = {
        seeds.derive(s, f, "trial", i) for s in (0, 1) for f in "ab" for i in range(50)
    }
    assert len(made) == 200
    assert seeds.derive(0, "1") != seeds.derive(0, 1)
