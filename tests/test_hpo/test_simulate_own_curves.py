"""The table that comes along, and how it is packed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hpo.errors import StudyError
from hpo.ledger.events import RunEvent
from hpo.ledger.folder import RunFolder
from hpo.simulate import catalog, compare
from hpo.simulate.tables import own_curves
from hpo.simulate.virtual import simulate
from hpo.study import Budget, Family, Rule, Study
from models.errors import DataError
from studies.curves import packing
from studies.curves.sets import EPOCHS, SETS, study
from tests.test_hpo.command_line import run
from tests.test_hpo.simulated import SimulatedLoop


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


def test_its_halves_have_names():
    table = catalog.open_table("own_curves")
    chosen, held_out = (catalog.chosen(table, n) for n in ("chosen-on", "held-out"))
    assert {*chosen, *held_out} == {*table.tasks} and not {*chosen} & {*held_out}
    assert {s.name for s in SETS if not s.chosen_on} >= {*held_out} and held_out
    assert catalog.chosen(table, "held-out, duffing") == (*held_out, "duffing")
    with pytest.raises(StudyError, match="no task `held`"):
        catalog.chosen(table, "held")


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


def contents(file):
    with np.load(file) as found:
        return {name: found[name] for name in found.files}


def test_sets_of_a_packed_file_are_kept_beside_new_ones(tmp_path):
    """A run that has ended joins; of a set that is there already the new run counts."""
    recorded = next(s for s in SETS if s.name == "duffing.simulation")
    made = study(recorded)
    few = made.replace(fixed=made.fixed[::10], budget=Budget(trials=3, epochs=2))
    place = RunFolder.create(tmp_path / "runs", few)
    place.write_study(few, provenance={})
    loop = SimulatedLoop(few)
    loop.run()
    loop.write([RunEvent(action="finish", elapsed=loop.time)])
    place.events_file.write_text("".join(loop.ledger.lines))
    file = tmp_path / "own_curves.npz"
    packing.pack(tmp_path / "runs", file, earlier=own_curves.SHIPPED)
    before, after = contents(own_curves.SHIPPED), contents(file)
    told, now = (json.loads(str(c["about"]))["sets"] for c in (before, after))
    assert list(now) == list(told), "the order of sets says which study searches which"
    for name in told:
        assert (now[name] == told[name]) == (name != recorded.name)
    epochs = [e.valid["rmse"] for e in loop.ledger.events if e.event == "epoch"]
    values = [after[f"duffing.simulation/{f.name}/values"] for f in few.families]
    assert np.concatenate(values) == pytest.approx(np.reshape(epochs, (3, 2)), rel=1e-4)
    for name, array in before.items():
        if not name.startswith(("duffing.simulation/", "about")):
            np.testing.assert_array_equal(after[name], array)
    again = tmp_path / "again.npz"
    packing.pack(tmp_path / "none", again, earlier=file)
    assert contents(again).keys() == after.keys()
    np.savez(file, about=np.array(json.dumps({"layout": 0, "sets": {}})))
    with pytest.raises(DataError, match="layout 0, not 1"):
        packing.pack(tmp_path / "none", again, earlier=file)


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
