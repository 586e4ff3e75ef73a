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

from hpo import discovery
from hpo.check import corners
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
    assert corners.corners(space, first) == [
        {"cell": "a", "rate": 1e-3},
        {"cell": "b", "size": 5, "rate": 1e-3},
        {"cell": "a", "rate": 1e-4},
        {"cell": "a", "rate": 1e-2},
    ]
    middle = corners.middle(space, {"cell": "b"})
    assert middle == {"cell": "b", "size": 5, "rate": pytest.approx(1e-3)}
    steps = Space({"n": IntDistribution(2, 11, step=3), "r": FloatDistribution(0, 1)})
    assert corners.middle(steps, {}) == {"n": 8, "r": 0.5}
    for point in corners.corners(space, {}):
        space.validate(point)


def test_the_study_its_spaces_and_its_families_are_shown(study):
    result = run("check", study, columns=100)
    assert result.exit_code == 0, result.output
    assert "9 trials, 1 workers (local)" in result.stdout
    assert "optimizer.learning_rate  0.001 … 0.01 (log)" in result.stdout
    assert "early" not in result.stdout
    rows = {
        r["family"]: r
        for r in json.loads(run("check", study, "--format", "json").stdout)
    }
    rnn, linear = rows["rnn"], rows["linear"]
    assert (rnn["trials"], rnn["epochs"], rnn["corners"]) == (8, 9, 4)
    assert rnn["signatures"] == 2  # one and two layers; the rate is traced
    assert rnn["rungs"] and max(rnn["rungs"]) < 9
    assert (linear["trials"], linear["epochs"]) == (1, 1)
    assert linear["parameters"] is None and linear["signatures"] == 3
    assert rnn["parameters"] == list(learners())
    assert rnn["memory"] > 4 * 5 * rnn["parameters"][1]


def learners():
    """The sizes that real learners of one and two layers report."""
    create = __import__("models.rnn", fromlist=["create"]).create
    data = discovery.prepare_data(DATA)
    for layers in (1, 2):
        config = {"model.layers": layers, "model.hidden_size": 8, "data.window": 40}
        config |= {"data.batch_size": 8, "data.batches": 2, "loss.n_skip": 5}
        yield create(config, Context(data=data)).parameters


def test_a_corner_that_the_family_refuses_is_named(study):
    study.write_text(STUDY.replace("DROPOUT", "FloatDistribution(0.0, 0.5)"))
    result = run("check", study, "--format", "csv")
    assert result.exit_code == 1
    assert "`model.dropout` acts between two recurrent layers" in result.stderr
    assert "error: trials would fail at corners of rnn" in result.stderr
    assert '"model.layers": 1' in result.stderr
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
