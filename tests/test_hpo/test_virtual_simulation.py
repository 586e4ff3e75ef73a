"""`hpo simulate --order arrival,virtual`: the same decisions, and what waiting costs."""

from __future__ import annotations

import json

import pytest

from hpo.errors import StudyError
from hpo.simulate import by_order, catalog
from hpo.simulate.pool import Pool
from hpo.simulate.task import Curve
from hpo.simulate.virtual import simulate
from hpo.study import Budget, Family, Resources, Rule, Study
from models.training.protocol import Epoch
from tests.test_hpo.command_line import refused, run
from tests.test_hpo.seated import decided
from tests.test_hpo.simulated import outcome
from tests.test_hpo.test_simulate import SPACE
from tests.test_hpo.test_simulate import task as falling


@pytest.mark.parametrize("rules", ["asha", "halving", "promotion", "patience"])
def test_any_number_of_workers_decides_the_same(rules):
    task = catalog.open_table("own_curves").task("duffing")
    families = tuple(
        Family(name=name, space=curves.space, trials=12)
        for name, curves in task.curves.items()
    )
    told = []
    for workers in (1, 3, 8):
        study = Study(
            name="simulated",
            families=families,
            objectives=(task.objective,),
            budget=Budget(trials=12, epochs=task.epochs, total_epochs=8 * task.epochs),
            stopping=(Rule(name="divergence"), Rule(name=rules)),
            resources=Resources(order="virtual:8"),
        )
        story = simulate(study, task, workers=workers)
        told.append((decided(story.events), outcome(story.director)))
        assert 0 <= story.idle(workers) < 1
    assert told[0] == told[1] == told[2]


def test_one_seat_and_one_worker_is_arrival_order():
    task = falling()
    stories = []
    for order in ("arrival", "virtual:1"):
        study = Study(
            name="simulated",
            families=(Family(name="made", space=SPACE),),
            budget=Budget(trials=20, epochs=9, total_epochs=60),
            stopping=(Rule(name="asha"),),
            resources=Resources(order=order),
        )
        stories.append(simulate(study, task))
    assert stories[0].events == stories[1].events
    assert stories[0].busy == stories[1].busy


def test_waiting_by_hand():
    """Two trials on two seats, an epoch of one takes three times the other's."""
    rows = [{"rate": 0.1, "kind": "a"}, {"rate": 0.01, "kind": "b"}]
    curves = [
        Curve(epochs=tuple(Epoch(n, {}, {"rmse": level}, seconds) for n in (1, 2)))
        for level, seconds in ((1.0, 1.0), (0.5, 3.0))
    ]
    task = falling().__class__(
        name="two",
        curves={"net": Pool(space=SPACE, rows=rows, curves=curves)},
        epochs=2,
        objective=falling().objective,
        best=0.5,
        median=1.0,
    )
    points = tuple(rows)
    study = Study(
        name="simulated",
        families=(Family(name="net", space=SPACE, initial_points=points),),
        budget=Budget(trials=2, epochs=2),
        stopping=(),
        resources=Resources(order="virtual:2"),
    )
    story = simulate(study, task, workers=2)
    taken = [(e.trial, e.epoch, e.elapsed) for e in story.events if e.event == "epoch"]
    # The quick one is done after 2 s, yet its second epoch waits for the slow one's first.
    assert taken == [(1, 1, 1.0), (2, 1, 3.0), (1, 2, 3.0), (2, 2, 6.0)]
    assert story.busy == 8.0 and story.idle(2) == pytest.approx(1 / 3)


def test_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    some = ("own_curves", "--tasks", "duffing", "--seeds", 2, "--budget", 3)
    both = ("--workers", "1,4", "--order", "arrival,virtual", "--stopping", "asha")
    found = run("simulate", *some, *both, "--format", "json")
    assert found.exit_code == 0, found.stderr
    rows = json.loads(found.stdout)
    assert [(r["workers"], r["order"]) for r in rows] == [
        (1, "arrival"),
        (1, "virtual:4"),
        (4, "arrival"),
        (4, "virtual:16"),
    ]
    assert [r["ratio"] for r in rows if r["order"] == "arrival"] == [1.0, 1.0]
    assert all(r["seconds"] > 0 and 0 <= r["idle"] < 1 for r in rows)
    shown = run("simulate", *some, *both)
    assert "virtual:16" in shown.stdout and "times" in shown.stdout
    refused(run("simulate", *some, "--workers", "0"), "from 1 up", "0")
    refused(
        run("simulate", *some, "--order", "virtual:0"),
        "1 to 999,999 seats",
        "virtual:0",
    )
    late = run("simulate", *some, "--order", "virtual", "--cost", "seconds")
    refused(late, "time budget", "s")


def test_manners_are_listed():
    found = [
        (m.workers, m.order) for m in by_order.manners("2, 8", "virtual,virtual:5")
    ]
    assert found == [
        (2, "virtual:8"),
        (2, "virtual:5"),
        (8, "virtual:32"),
        (8, "virtual:5"),
    ]
    with pytest.raises(StudyError, match="`--workers`"):
        by_order.manners("2,x", "arrival")
