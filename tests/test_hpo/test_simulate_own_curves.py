"""The table that comes along, and how it is packed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hpo.errors import StudyError
from hpo.simulate import catalog, compare
from hpo.simulate.tables import own_curves
from hpo.simulate.virtual import simulate
from hpo.study import Budget, Family, Rule, Study
from models.errors import DataError
from studies.curves import packing
from studies.curves.sets import EPOCHS, SETS, study
from tests.test_hpo.command_line import run


def test_it_is_found_without_a_data_folder(monkeypatch):
    monkeypatch.delenv("HPO_DATA", raising=False)
    table = catalog.open_table("own_curves")
    with np.load(own_curves.SHIPPED) as file:
        about = json.loads(str(file["about"]))
        for name in table.tasks:
            task = table.task(name)
            families = about["sets"][name]["families"]
            values = np.concatenate([file[f"{name}/{f}/values"] for f in families])
            best = np.nanmin(np.where(np.isfinite(values), values, np.nan), axis=1)
            assert task.size == len(values) >= 30
            assert task.best == pytest.approx(np.nanmin(best))
            assert task.median == pytest.approx(np.nanmedian(best))
    assert own_curves.SHIPPED.stat().st_size < 400_000


def test_it_is_searched_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["--tasks", "duffing", "--seeds", 2, "--budget", 2, "--trials", 5]
    found = run("simulate", "own_curves", *given, "--cost", "seconds", "--workers", 2)
    assert found.exit_code == 0, found.stderr
    assert "of the workers' time idle: random halving" in found.stdout


@pytest.mark.parametrize("recorded", SETS, ids=lambda s: s.name)
def test_sets_share_what_is_compiled_and_lie_in_the_shipped_spaces(recorded):
    made = study(recorded)
    assert len(made.fixed) >= 30 and made.budget.epochs == EPOCHS
    for family in made.families:
        mine = [t.params for t in made.fixed if t.family == family.name]
        shapes = {
            repr([(k, v) for k, v in p.items() if not k.startswith("optimizer.")])
            for p in mine
        }
        assert len(mine) == 2 * len(shapes)
    halves = [s.chosen_on for s in SETS]
    assert sum(halves) == len(halves) / 2


def test_an_earlier_file_keeps_its_numbers(tmp_path):
    values = np.random.default_rng(0).gamma(2.0, size=(4, 6)).astype(np.float32)
    earlier = tmp_path / "earlier.npz"
    np.savez(earlier, **{"own_x/rnn/rmse": values, "own_x/rnn/seconds": values + 1})
    (tmp_path / "own_curves").mkdir()
    packing.pack(tmp_path, tmp_path / "own_curves/own_curves.npz", earlier=earlier)
    task = catalog.open_table("own_curves", root=tmp_path).task("x")
    for row, expected in enumerate(values):
        curve = task.curves["rnn"].curve({"curve": row}, 0)
        assert [e.valid["rmse"] for e in curve.epochs] == pytest.approx(expected)
    assert task.seconds == pytest.approx(float(np.median((values + 1).sum(axis=1))))
    (tmp_path / "own_curves/own_curves.npz").write_bytes(b"no table")
    with pytest.raises(DataError, match="no table of own curves"):
        catalog.open_table("own_curves", root=tmp_path)


def test_idle_time_by_hand(tmp_path):
    """Two trials of 3 s and 1 s on two workers: 2 of 6 worker seconds are idle."""
    seconds = np.array([[1.0, 1.0, 1.0], [1.0, np.nan, np.nan]], np.float32)
    values = np.array([[3.0, 2.0, 1.0], [5.0, np.nan, np.nan]], np.float32)
    earlier = tmp_path / "earlier.npz"
    np.savez(earlier, **{"own_x/a/rmse": values, "own_x/a/seconds": seconds})
    (tmp_path / "own_curves").mkdir()
    packing.pack(tmp_path, tmp_path / "own_curves/own_curves.npz", earlier=earlier)
    task = catalog.open_table("own_curves", root=tmp_path).task("x")
    made = Study(
        name="two",
        families=(Family(name="a", space=task.curves["a"].space),),
        budget=Budget(trials=2, epochs=3),
        sampler=Rule(name="random"),
        stopping=(),
    )
    story = simulate(made, task, workers=2)
    assert story.director.elapsed == 3.0 and story.busy == 4.0
    assert story.idle(2) == pytest.approx(2 / 6)


def test_seconds_are_refused_where_none_are_recorded():
    plan = compare.Plan(
        source=compare.Source(table="x"),
        tasks=(),
        methods=(),
        budgets=(1,),
        studies=1,
        cost="seconds",
    )
    task = catalog.open_table("own_curves").task("duffing")
    object.__setattr__(task, "seconds", None)
    with pytest.raises(StudyError, match="no recorded seconds"):
        compare._limit(plan, task, 1)
