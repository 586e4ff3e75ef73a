"""Several objectives with limits: who is dominated, who ranks where, who is proposed."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

sys.path.insert(0, str(Path(__file__).parent))
import run_helpers as helpers
import run_processes as processes
from msgspec import structs

from hpo.director import Director, replay
from hpo.errors import StudyError
from hpo.fronts import crowding, dominates, fronts
from hpo.ledger.log import read_events
from hpo.objectives import attained, feasible, places
from hpo.report import formats, table
from hpo.report.summary import load_summary, summarize
from hpo.run.launch import launch
from hpo.search import registry
from hpo.search.registry import Request
from hpo.seeds import derive
from hpo.study import Budget, Objective, Rule
from hpo.trials.curve import Curve
from hpo.trials.record import Trial
from hpo.trials.states import State
from models.training.protocol import Epoch
from search_spaces.space import Space
from tests.test_hpo.test_director import Table, simple

sys.path.pop(0)

SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing

VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, math.inf])
VECTORS = st.integers(1, 3).flatmap(
    lambda n: st.lists(st.tuples(*[VALUES] * n), max_size=14)
)
RMSE, SIZE = Objective(), Objective(metric="parameters", limit=20_000)


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    processes.end_all()


# -- fronts -------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, suppress_health_check=[SLOW])
@given(VECTORS)
def test_fronts_are_what_is_left_when_the_better_ones_are_taken_away(vectors):
    expected, left, front = [0] * len(vectors), set(range(len(vectors))), 0
    while left:
        front += 1
        best = {
            i
            for i in left
            if not any(
                all(a <= b for a, b in zip(vectors[j], vectors[i], strict=True))
                and any(a < b for a, b in zip(vectors[j], vectors[i], strict=True))
                for j in left
            )
        }
        for i in best:
            expected[i] = front
        left -= best
    assert fronts(vectors) == expected


def test_crowding_is_the_sum_of_the_gaps_around():
    line = [(0.0, 4.0), (1.0, 2.0), (2.0, 1.0), (4.0, 0.0)]
    inf = math.inf
    assert crowding(line) == [inf, 2 / 4 + 3 / 4, 3 / 4 + 2 / 4, inf]
    assert crowding([line[1], line[0], line[3], line[2]]) == [1.25, inf, inf, 1.25]
    assert crowding([(1.0, 1.0)] * 3) == [inf, 0.0, inf]
    assert crowding([]) == []


@settings(max_examples=100, deadline=None, suppress_health_check=[SLOW])
@given(
    st.lists(
        st.tuples(*[st.none() | st.sampled_from([0.0, 1.0, 2.0, 3.0])] * 2), max_size=12
    ),
    st.none() | st.sampled_from([0.5, 2.0]),
    st.sampled_from(["minimize", "maximize"]),
)
def test_places_put_limits_before_fronts_before_the_first_objective(
    found, limit, direction
):
    objectives = (RMSE, Objective(metric="b", direction=direction, limit=limit))
    sign = 1 if direction == "minimize" else -1

    def within(values):
        if limit is None:
            return True
        return values[1] is not None and sign * values[1] <= sign * limit

    def vector(values):
        signed = (values[0], None if values[1] is None else sign * values[1])
        return tuple(math.inf if v is None else v for v in signed)

    got = places(dict(enumerate(found)), objectives)
    assert sorted(p.rank for p in got.values()) == list(range(1, len(found) + 1))
    for i, j in itertools.permutations(range(len(found)), 2):
        if within(found[i]) and not within(found[j]):
            assert got[i].rank < got[j].rank and got[j].front is None
        if within(found[i]) and within(found[j]):
            a, b = vector(found[i]), vector(found[j])
            if dominates(a, b):
                assert got[i].rank < got[j].rank and got[i].front < got[j].front
            if got[i].front == got[j].front and a < b:
                assert got[i].rank < got[j].rank


def test_one_objective_ranks_by_value_at_any_length():
    values = {n: (float(derive(0, n) % 5000),) for n in range(20_000)}
    got = places(values, (RMSE,))
    order = sorted(values, key=lambda n: (values[n], n))
    assert [got[n].rank for n in order] == list(range(1, 20_001))


# -- the Director -------------------------------------------------------------------------


def sized(table, start, values, size):
    """A whole trial whose first epoch says how many parameters it has."""
    for number, value in enumerate(values, 1):
        epoch = Epoch(number, {"loss": 1.0}, {"rmse": value, "mae": -value})
        _, events = table.director.judge(start.trial, 1, epoch, 0.0)
        table.write(
            structs.replace(e, parameters=size)
            if number == 1 and e.event == "epoch"
            else e
            for e in events
        )


def test_the_best_is_within_the_limits():
    table = Table(simple(objectives=(RMSE, SIZE), budget=Budget(trials=4, epochs=4)))
    trials = [(1.0, 30_000), (3.0, 20_000), (2.0, None), (3.0, 10_000)]
    best = []
    for value, size in trials:
        start = table.next()
        sized(table, start, [value + 1, value, value + 2, value + 3], size)
        best.append(table.director.best().number)
    # too large, but the only one; then one within; unknown is beyond; equal but smaller
    assert best == [1, 2, 2, 4]
    assert table.director.trials[2].parameters == 20_000


def test_the_best_epoch_is_the_first_objectives():
    objectives = (RMSE, Objective(metric="mae", direction="minimize"))
    table = Table(simple(objectives=objectives))
    start = table.next()
    sized(table, start, [3.0, 1.0, 2.0, 4.0], None)
    trial = table.director.trials[1]
    assert attained(trial, objectives) == (1.0, -1.0)


def test_a_metric_that_no_epoch_has_fails_the_trial():
    objectives = (RMSE, SIZE, Objective(metric="fit"))
    table = Table(simple(objectives=objectives))
    start = table.next()
    sized(table, start, [1.0], 5)
    assert table.state(1) == "failed"
    assert table.director.trials[1].reason == (
        "the learner reports no `fit` but mae, rmse"
    )


def test_halving_compares_the_first_objective():
    rules = (Rule(name="asha"),)
    table = Table(simple(objectives=(RMSE, SIZE), stopping=rules))
    for value, size, state in ((1.0, 9, "completed"), (2.0, 1, "stopped")):
        start = table.next()
        sized(table, start, [value] * 4, size)
        assert table.state(start.trial) == state


# -- samplers -----------------------------------------------------------------------------

CUBE = Space({f"x{i}": FloatDistribution(0.0, 1.0) for i in range(4)})
BOTH = (Objective(metric="f"), Objective(metric="g"))


def zdt1(params):
    """Zitzler, Deb and Thiele's first problem in four dimensions."""
    x = list(params.values())
    g = 1 + 9 * sum(x[1:]) / 3
    return {"f": x[0], "g": g * (1 - math.sqrt(x[0] / g))}


def search(name, count, *, seed=0, objectives=BOTH, function=zdt1, **options):
    history = []
    sampler = registry.make(Rule(name=name, options=options))
    for index in range(count):
        params = sampler.propose(
            Request(
                space=CUBE,
                seed=derive(seed, "proposal", index),
                family_seed=derive(seed),
                index=index,
                history=history,
                objective=objectives[0],
                further=objectives[1:],
            )
        )
        valid = function(params)
        history.append(
            Trial(
                number=index + 1, family="rnn", index=index, params=params, seed=0,
                budget=1, state=State.COMPLETED, value=valid["f"], best_epoch=1,
                further=valid, curve=Curve.of([(1, valid["f"])]),
            )
        )  # fmt: skip
    return history


def volume(history, *, corner=(1.1, 11.0)):
    """The area between a corner and the front, by sweeping from the left."""
    points = [attained(t, BOTH) for t in history]
    area, lowest = 0.0, corner[1]
    for f, g in sorted(p for p in points if p[0] < corner[0] and p[1] < corner[1]):
        if g < lowest:
            area += (corner[0] - f) * (lowest - g)
            lowest = g
    return area


@pytest.mark.parametrize(
    ("name", "options"), [("nsga2", {"population": 16}), ("tpe", {"startup": 16})]
)
def test_samplers_widen_the_front_faster_than_chance(name, options):
    """The area missing to the largest possible one, against random draws."""
    whole = 1.1 * 11 - 1 / 3 - 0.0  # the true front: g = 1 - sqrt(f)

    def missing(name, **options):
        found = [whole - volume(search(name, 120, seed=s, **options)) for s in range(3)]
        return np.median(found)

    assert missing(name, **options) < 0.75 * missing("random")


@pytest.mark.parametrize(
    ("name", "options"), [("nsga2", {"population": 10}), ("tpe", {"startup": 10})]
)
@pytest.mark.parametrize("count", [1, 2])
def test_samplers_keep_to_the_limits(name, options, count):
    """Points beyond a limit are avoided, though its first objective is the best."""
    objectives = (Objective(metric="f", limit=0.9), Objective(metric="g", limit=-0.7))
    if count == 1:
        objectives = (Objective(metric="f"), Objective(metric="g", limit=0.3))

    def function(params):
        x = params["x0"]
        return {"f": 1 - x, "g": -x if count == 2 else x}

    found = search(name, 60, objectives=objectives, function=function, **options)
    late = [attained(t, objectives) for t in found[30:]]
    share = np.mean([feasible(v, objectives) for v in late])
    assert share > 0.6, "by chance it would be 0.3"


def test_cmaes_refuses_several_objectives():
    pytest.importorskip("cmaes")
    with pytest.raises(StudyError, match="one objective, got 2") as caught:
        Director(simple(objectives=(RMSE, SIZE), sampler=Rule(name="cmaes")), workers=1)
    assert "`nsga2`" in caught.value.hint


@pytest.mark.oracles
def test_a_gaussian_process_takes_two_objectives():
    pytest.importorskip("torch")
    found = search("gp", 12, startup=8)
    assert all(CUBE.validate(t.params) == t.params for t in found)


# -- the report ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Real workers; the learner's `parameters` is its searched size, 1 to 4."""
    objectives = (RMSE, Objective(metric="parameters", limit=3))
    study = helpers.study(
        "pareto", objectives=objectives, stopping=(), sampler=Rule(name="qmc"),
        budget=Budget(trials=8, epochs=3),
    )  # fmt: skip
    return launch(study, results=tmp_path_factory.mktemp("pareto"))


def test_the_table_shows_fronts_and_limits(outcome):
    summary = load_summary(outcome.folder)
    rows = {r.trial: r for r in summary.rows}
    sizes = {n: r.params["size"] for n, r in rows.items()}
    assert {n: r.values for n, r in rows.items()} == {
        n: (r.objective, float(sizes[n])) for n, r in rows.items()
    }
    within = [r for r in rows.values() if sizes[r.trial] <= 3]
    expected = fronts([(r.objective, sizes[r.trial]) for r in within])
    assert [r.front for r in within] == expected
    beyond = [r for r in rows.values() if sizes[r.trial] == 4]
    assert beyond and all(r.front is None for r in beyond)
    assert [r.rank for r in summary.rows] == list(range(1, 9))
    assert {r.trial for r in summary.rows[-len(beyond) :]} == {r.trial for r in beyond}
    for width in (60, 80, 200):
        text = table.render(summary, width=width).plain
        assert "front" in text and "parameters" in text
        assert text.count("parameters 4 is beyond 3") == len(beyond)
        assert max(map(len, text.splitlines()[5:])) <= max(width, 70)
    assert "by front, then by rmse: rmse small, parameters small (at most 3)" in (
        table.render(summary, width=100).plain
    )


def test_the_summary_and_the_director_agree_on_the_best(outcome):
    events, _ = read_events(outcome.folder / "events.jsonl")
    for n in range(1, len(events) + 1):
        director = replay(outcome.study, events[:n], workers=1)
        best = director.best()
        ranked = summarize(outcome.study, events[:n], folder=outcome.folder).best
        assert (best and best.number) == (ranked and ranked.trial)


def test_programs_get_fronts_and_values(outcome):
    summary = load_summary(outcome.folder)
    records = json.loads(formats.to_json(summary))
    rows = list(csv.DictReader(io.StringIO(formats.to_csv(summary))))
    assert len(records) == len(rows) == 8
    for record, row in zip(records, rows, strict=True):
        assert record["objectives"] == {
            "rmse": record["objective"],
            "parameters": record["params"]["size"],
        }
        assert row["front"] == ("" if record["front"] is None else str(record["front"]))
        assert float(row["objectives.parameters"]) == record["params"]["size"]
    head, _, *lines = formats.to_markdown(summary).splitlines()
    assert head == (
        "| rank | front | trial | family | rmse | parameters | state | epochs | seconds "
        "| hyperparameters |"
    )
    assert len(lines) == 8


def test_rows_can_be_sorted_by_any_objective(outcome):
    summary = load_summary(outcome.folder)
    sizes = [r.params["size"] for r in summary.select(sort="parameters").rows]
    assert sizes == sorted(sizes)
    found = [r.front or 99 for r in summary.select(sort="front").rows]
    assert found == sorted(found)


def test_one_objective_is_reported_as_ever(tmp_path):
    outcome = launch(helpers.study(budget=Budget(trials=2, epochs=1)), results=tmp_path)
    summary = load_summary(outcome.folder)
    (record, *_) = formats.json_rows(summary)
    assert "front" not in record and "objectives" not in record
    assert "front" not in table.render(summary, width=200).plain
