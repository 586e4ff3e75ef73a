"""`hpo check`: corners known by hand, sizes against real learners, nothing trained."""

from __future__ import annotations

import csv
import io
import json

import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo import packages
from hpo.check import corners
from hpo.cli import check
from hpo.errors import StudyError
from models.training.protocol import Context
from search_spaces.space import Space
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run

DATA = {"name": "simulated_wiener_hammerstein", "samples": 2048}
STUDY = f'''"""Two sizes of a network, and a baseline."""

from optuna.distributions import FloatDistribution, IntDistribution

from hpo.study import Budget, Family, Objective, Resources, Rule, Study

STUDY = Study(
    name="small",
    data={DATA!r},
    task="simulation",
    families=(
        Family(name="rnn", space={{
            "model.layers": IntDistribution(1, 2),
            "model.hidden_size": 8,
            "model.dropout": DROPOUT,
            "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
            "data.window": 40, "data.batch_size": 8, "data.batches": 2,
            "loss.n_skip": 5,
        }}),
        Family(name="linear", space={{"model.lags": IntDistribution(1, 20)}}),
    ),
    objectives=(Objective(unit="V"),),
    budget=Budget(trials=9, epochs=9),
    stopping=(Rule(name="asha"),),
    resources=Resources(executor="local"),
)
'''


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(STUDY.replace("DROPOUT", "0.0"))
    return path


def test_corners_are_the_first_point_with_one_dimension_at_an_end():
    space = Space(
        {
            "cell": CategoricalDistribution(["a", "b"]),
            "size": IntDistribution(1, 9),
            "rate": FloatDistribution(1e-4, 1e-2, log=True),
            "fixed": 3,
        }
    ).when("size", "cell", "b")
    first = {"cell": "a", "rate": 1e-3}
    single = [
        ((), {"cell": "a", "rate": 1e-3}),
        (("cell",), {"cell": "b", "size": 5, "rate": 1e-3}),
        (("rate",), {"cell": "a", "rate": 1e-4}),
        (("rate",), {"cell": "a", "rate": 1e-2}),
    ]
    assert said(corners.corners(space, first, together=1)) == single
    assert said(corners.corners(space, first)) == [
        *single,
        (("cell", "size"), {"cell": "b", "size": 1, "rate": 1e-3}),
        (("cell", "size"), {"cell": "b", "size": 9, "rate": 1e-3}),
        (("cell", "rate"), {"cell": "b", "size": 5, "rate": 1e-4}),
        (("cell", "rate"), {"cell": "b", "size": 5, "rate": 1e-2}),
    ]
    middle = corners.middle(space, {"cell": "b"})
    assert middle == {"cell": "b", "size": 5, "rate": pytest.approx(1e-3)}
    steps = Space({"n": IntDistribution(2, 11, step=3), "r": FloatDistribution(0, 1)})
    assert corners.middle(steps, {}) == {"n": 8, "r": 0.5}
    for corner in corners.corners(space, {}):
        space.validate(corner.point)


def said(found):
    return [(c.keys, dict(c.point)) for c in found]


@pytest.mark.slow
def test_the_study_its_spaces_and_its_families_are_shown(study):
    result = run("check", study, columns=100)
    assert result.exit_code == 0, result.output
    assert "9 trials, 1 workers (local)" in result.stdout
    assert "random (the default); seed 0" in result.stdout
    assert "stopping   asha\n" in result.stdout
    assert "optimizer.learning_rate  0.001 … 0.01 (log)" in result.stdout
    assert "early" not in result.stdout
    rows = {
        r["family"]: r
        for r in json.loads(run("check", study, "--format", "json").stdout)
    }
    rnn, linear = rows["rnn"], rows["linear"]
    assert (rnn["trials"], rnn["epochs"], rnn["corners"]) == (8, 9, 6)
    assert rnn["signatures"] == 2  # one and two layers; the rate is traced
    assert rnn["rungs"] and max(rnn["rungs"]) < 9
    assert (linear["trials"], linear["epochs"]) == (1, 1)
    assert linear["parameters"] == [2, 21] and linear["signatures"] == 3
    assert rnn["parameters"] == list(learners())
    assert rnn["memory"] > 4 * 5 * rnn["parameters"][1]
    rules = '    stopping=(Rule(name="asha"),),\n'
    study.write_text(study.read_text().replace(rules, ""))
    assert "divergence, halving (the default)\n" in run("check", study).stdout


def learners():
    """The sizes that real learners of one and two layers report."""
    create = __import__("models.rnn", fromlist=["create"]).create
    data = packages.prepare_data(DATA)
    for layers in (1, 2):
        config = {"model.layers": layers, "model.hidden_size": 8, "data.window": 40}
        config |= {"data.batch_size": 8, "data.batches": 2, "loss.n_skip": 5}
        context = Context(data=data, task={"name": "simulation"})
        yield create(config, context).parameters


def test_many_rungs_leave_room_for_the_other_columns():
    assert check._shortly(()) == ""
    assert check._shortly((1, 4, 16, 64, 99)) == "1, 4, 16, 64, 99"
    assert check._shortly(tuple(range(5, 80, 5))) == "5, 10, …, 75"


def test_a_corner_that_the_family_refuses_is_named(study):
    study.write_text(STUDY.replace("DROPOUT", "FloatDistribution(0.0, 0.5)"))
    result = run("check", study, "--format", "csv")
    assert result.exit_code == 1
    assert "`model.dropout` acts between two recurrent layers" in result.stderr
    assert "error: trials would fail: rnn" in result.stderr
    assert '"model.layers": 1' in result.stderr
    hint = result.stderr[
        result.stderr.index("hint: ") :
    ]  # the family's own comes first
    assert hint.index("`model.layers`") < hint.index("; or narrow the space")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [r["family"] for r in rows] == ["rnn", "linear"]


def test_a_probe_estimates_the_time_and_leaves_nothing(study, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    study.write_text(sample_run.WALK)
    result = run("check", study, "--probe")
    assert result.exit_code == 0, result.stderr
    assert "at most about" in result.stdout and "early" in result.stdout
    assert not list((tmp_path / "temporary").iterdir())
    row = json.loads(run("check", study, "--probe", "--format", "json").stdout)[0]
    assert row["seconds"] >= 0 and row["compile_seconds"] == 0
    assert row["signatures"] is None and row["parameters"] is None


@pytest.mark.slow
def test_mistakes(study):
    refused(run("check", "quickstrat"), "unknown study", "`quickstart`")
    refused(run("check", study, "--format", "yaml"), "yaml", status=2)
    whole = STUDY.replace("DROPOUT", "0.0")
    study.write_text(whole.replace("model.lags", "model.lgas"))
    refused(run("check", study), "`model.lgas`", "`model.lags`")
    study.write_text(whole.replace("wiener", "weiner"))
    refused(run("check", study), "simulated_weiner_hammerstein")
    broken = sample_run.WALK.replace(
        'yield {"rmse"', 'raise ValueError("no")\n            yield {"rmse"'
    )
    study.write_text(broken)
    result = run("check", study, "--probe")
    assert result.exit_code == 1 and "the probe failed: ValueError: no" in result.stderr


def windows(study, window, n_skip, more=""):
    """The study with these windows; `more` is a condition, or further text."""
    text = STUDY.replace("DROPOUT", "0.0")
    text = text.replace('"data.window": 40', f'"data.window": {window}')
    text = text.replace('"loss.n_skip": 5,', f'"loss.n_skip": {n_skip},')
    text = text.replace("space={", "space=Space({", 1)
    text = text.replace(
        '        }),\n        Family(name="linear"',
        f'        }}){more}),\n        Family(name="linear"',
    )
    study.write_text(
        text.replace(
            "from hpo.study", "from search_spaces.space import Space\nfrom hpo.study"
        )
    )
    return study


def test_two_keys_that_exclude_each_other_are_both_named(study):
    """Neither end is refused alone: 20 … 60 samples, of which 5 … 30 are skipped."""
    windows(study, "IntDistribution(20, 60)", "IntDistribution(5, 30)")
    result = run("check", study, "--families", "rnn", "--format", "json")
    assert result.exit_code == 1
    (refused,) = json.loads(result.stdout)[0]["refused"]
    assert sorted(refused["keys"]) == ["data.window", "loss.n_skip"]
    assert refused["point"]["data.window"] == 20
    assert refused["point"]["loss.n_skip"] == 30
    assert "must be less than `data.window`, got 30 and 20" in result.stderr
    assert "trials would fail: rnn (`data.window` with `loss.n_skip`)" in result.stderr


@pytest.mark.slow
def test_a_corner_that_a_condition_excludes_is_not_refused(study):
    when = '.when("loss.n_skip", "data.window", at_least=90)'
    windows(study, "IntDistribution(51, 200)", "IntDistribution(5, 80)", when)
    result = run("check", study, "--families", "rnn")
    assert result.exit_code == 0, result.stderr
    windows(study, "IntDistribution(51, 200)", "IntDistribution(5, 80)")
    assert run("check", study, "--families", "rnn").exit_code == 1


def test_what_the_data_refuses_at_a_corner_is_named(study):
    windows(study, "IntDistribution(40, 3000)", "5")
    result = run("check", study, "--families", "rnn")
    assert result.exit_code == 1
    assert "rnn (`data.window`)" in result.stderr
    assert "must not be longer than every file" in result.stderr


def test_launch_refuses_constants_that_leave_nothing_of_a_window(study, tmp_path):
    windows(study, "40", "40")
    place = ("--results", tmp_path / "out")
    refused(run("launch", study, *place), "`loss.n_skip`", "`data.window`", "40 and 40")
    windows(study, "40", "IntDistribution(5, 30)")
    words = ("--set", "data.window=4")
    refused(run("launch", study, *words, *place), "`loss.n_skip`", "`data.window`")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_constant_need_not_fit_the_default_of_a_searched_key(study):
    """rnn skips 50 samples by default, but here it is searched up to 30."""
    windows(study, "40", "IntDistribution(5, 30)")
    assert run("check", study, "--families", "rnn").exit_code == 0


@pytest.mark.slow
def test_check_takes_what_launch_takes(study):
    study.write_text(STUDY.replace("DROPOUT", "0.0"))
    given = ("--families", "rnn", "--trials", 4, "--epochs", 27, "--set",
             "model.hidden_size=16", "--workers", 3, "--executor", "ray")  # fmt: skip
    result = run("check", study, *given)
    assert result.exit_code == 0, result.stderr
    assert "4 trials, 3 workers (ray)" in result.stdout
    (row,) = json.loads(run("check", study, *given, "--format", "json").stdout)
    assert (row["family"], row["trials"], row["epochs"]) == ("rnn", 4, 27)
    refused(run("check", study, "--families", "rn"), "`rn`", "`rnn`")
    refused(run("check", study, "--set", "model.hiden_size=3"), "`model.hidden_size`")


def test_workers_are_counted_as_launch_does(study, monkeypatch):
    """``auto`` is as many as have room, also where the study names a number."""
    from hpo.check import preview

    seen = []

    def stands(chosen, **_):
        seen.append(chosen.resources.workers)
        raise StudyError("nothing is looked at here")

    monkeypatch.setattr(preview, "preview", stands)
    study.write_text(STUDY.replace("DROPOUT", "0.0"))
    for text in ("auto", "7"):
        refused(run("check", study, "--workers", text), "nothing is looked at")
    both = ("--workers", "7", "--set", "resources.workers=3")
    refused(run("check", study, *both), "nothing is looked at")
    assert seen == [None, 7, 3]


STROLL = """
import dataclasses

(walk,) = STUDY.families
STUDY = STUDY.replace(families=(walk, dataclasses.replace(walk, name="stroll")))
"""


def test_fewer_trials_than_families_are_not_raised_in_silence(study, tmp_path):
    study.write_text(sample_run.WALK + STROLL)
    result = run("check", study, "--trials", 1)
    assert "note: 2 trials, not 1: each family gets at least one" in result.stderr
    assert "note:" not in run("check", study, "--trials", 2).stderr
    where = ("--results", tmp_path / "out", "--executor", "local")
    result = run("launch", study, "--trials", 1, *where)
    assert "2 trials, not 1: each family gets at least one" in result.stderr


def test_check_and_launch_have_the_same_options():
    import typer.main

    from hpo.cli.main import app

    commands = typer.main.get_command(app).commands
    check, launch = ({p.name for p in commands[c].params} for c in ("check", "launch"))
    assert check - launch == {"probe", "format"}
    attach = {"address", "insecure_cluster", "patience", "storage"}
    assert launch - check == {"results", "repeat", "chaos", "chaos_seed", *attach}


def test_data_that_is_no_reference_is_told_with_its_rule_and_its_remedy(study):
    told = (
        "learns from a dataset",
        "'folder': './mydata'",
        "hint: name a dataset",
        "path",
    )
    result = run("check", study, "--set", 'data={"folder": "./mydata"}')
    refused(result, *told)
    assert "error: hint" not in result.stderr and ": hint:" not in result.stderr
