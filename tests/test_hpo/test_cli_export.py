"""`hpo export`, read back by the programs it is for."""

from __future__ import annotations

import csv
import math
import os
import struct

import optuna
import pytest

from hpo.ledger.folder import RunFolder
from hpo.study import Objective
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run

STATES = dict(
    enumerate(
        (
            *("COMPLETE", "COMPLETE", "PRUNED", "FAIL", "FAIL", "COMPLETE"),
            *("COMPLETE", "PRUNED", "RUNNING", "WAITING", "WAITING"),
        ),
        1,
    )
)


@pytest.fixture
def sample(tmp_path):
    return sample_run.write(tmp_path / "results")


def export(sample, to, *options):
    return run("export", sample, "--to", to, *options)


@pytest.mark.parametrize("name", ["runs.db", "runs.log"])
def test_optuna_reads_values_states_parameters_and_curves(name, sample, tmp_path):
    place = tmp_path / "new" / name
    result = export(sample, "optuna", "--out", place)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{place}\n" and "optuna-dashboard" in result.stderr
    if name.endswith(".log"):
        backend = optuna.storages.journal.JournalFileBackend(str(place))
        storage = optuna.storages.JournalStorage(backend)
    else:
        storage = optuna.storages.RDBStorage(f"sqlite:///{place}")
    assert optuna.get_all_study_names(storage) == ["sample/rnn", "sample/linear"]
    rnn, linear = (
        optuna.load_study(study_name=f"sample/{n}", storage=storage)
        for n in ("rnn", "linear")
    )
    trials = {t.user_attrs["trial"]: t for t in (*rnn.trials, *linear.trials)}
    assert {n: t.state.name for n, t in trials.items()} == STATES
    assert rnn.direction.name == "MINIMIZE" and rnn.metric_names == ["rmse [V]"]
    assert rnn.best_trial.user_attrs["trial"] == 1 and rnn.best_value == 0.00097
    assert linear.best_params == {"model.order": 12}
    curve = [0.05, 0.03, 0.01, 0.004, 0.002, 0.0012, 0.00099, 0.00097]
    assert trials[1].intermediate_values == dict(enumerate(curve, 1))
    assert math.isnan(trials[4].intermediate_values[1]) and trials[4].value is None
    assert trials[3].intermediate_values == {1: 0.09, 2: 0.08}
    assert trials[3].params["model.cell"] == "lstm"
    assert trials[3].distributions == sample_run.STUDY.family("rnn").space.distributions
    assert trials[6].user_attrs["rank"] == 2 and trials[6].user_attrs["seed"] == 1006
    assert trials[1].datetime_start.timestamp() == 1.0
    assert trials[9].datetime_complete is None
    if isinstance(storage, optuna.storages.RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


def test_optuna_gets_every_objective_and_its_limit(tmp_path):
    goals = (
        sample_run.STUDY.objectives[0],
        Objective(metric="fit", direction="maximize", unit="%", limit=95.0),
    )
    path = sample_run.write(tmp_path, sample_run.STUDY.replace(objectives=goals))
    place = tmp_path / "runs.log"
    assert export(path, "optuna", "--out", place).exit_code == 0
    backend = optuna.storages.journal.JournalFileBackend(str(place))
    storage = optuna.storages.JournalStorage(backend)
    study = optuna.load_study(study_name="sample/rnn", storage=storage)
    assert [d.name for d in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert study.metric_names == ["rmse [V]", "fit [%]"]
    trials = {t.user_attrs["trial"]: t for t in study.trials}
    assert trials[1].values == [0.00097, 90.0] and trials[1].constraints == {"0": 5.0}
    assert trials[4].values is None and trials[4].state.name == "FAIL"
    assert len(trials[1].intermediate_values) == 8


def test_csv_is_that_of_results(sample):
    result = export(sample, "csv")
    place = RunFolder(sample).report / "trials.csv"
    assert result.stdout.strip() == str(place) and result.stderr == ""
    assert place.read_text() == run("results", sample, "--format", "csv").stdout


def test_parquet_has_typed_columns_and_curves(sample, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    place = tmp_path / "x.parquet"
    assert export(sample, "parquet", "--out", place).exit_code == 0
    table = parquet.read_table(place)
    assert table.schema.metadata[b"study"] == b"sample"
    rows = {r["trial"]: r for r in table.to_pylist()}
    text = run("results", sample, "--format", "csv").stdout
    for line in csv.DictReader(text.splitlines()):
        row = rows[int(line["trial"])]
        for key, cell in line.items():
            if isinstance(row[key], float):
                assert row[key] == float(cell), key
            else:
                assert ("" if row[key] is None else str(row[key])) == cell, key
    types = {f.name: str(f.type) for f in table.schema}
    assert types["params.model.hidden_size"] == "int64"
    assert types["params.optimizer.learning_rate"] == "double"
    assert types["params.model.cell"] == "string"
    assert rows[3]["curve_epoch"] == [1, 2]
    assert rows[3]["valid_rmse"] == [0.09, 0.08]
    assert rows[3]["train_loss"] == [0.18, 0.16]
    assert math.isnan(rows[4]["valid_rmse"][0]) and rows[5]["valid_rmse"] == []


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 3], "int64"),
        ([1, 2.5], "float64"),
        ([True, None], "bool_"),
        ([True, 2], "string"),
        (["a", 1, None], "string"),
        ([[1, 2], None], "string"),
        ([None], "string"),
    ],
)
def test_a_hyperparameter_gets_one_type(values, kind):
    from hpo.export.parquet import _column

    column, found = _column(values)
    assert found == kind
    assert [v is None for v in column] == [v is None for v in values]


def scalars(folder):
    """(tag, step) → value of a TensorBoard log, by the format's own framing."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    (path,) = folder.iterdir()
    data, out, plugins = path.read_bytes(), {}, 0
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "hparams":
                plugins += 1
            elif value.WhichOneof("value") == "simple_value":
                out[value.tag, event.step] = (value.simple_value, event.wall_time)
    return out, plugins


def test_tensorboard_gets_a_log_a_trial(sample):
    pytest.importorskip("tensorboardX")
    result = export(sample, "tensorboard")
    place = RunFolder(sample).report / "tensorboard"
    assert result.stdout.strip() == str(place) and "tensorboard --log" in result.stderr
    names = sorted(p.name for p in place.iterdir())
    assert names[:2] == ["trial-0001-rnn", "trial-0002-linear"] and len(names) == 11
    found, plugins = scalars(place / "trial-0007-rnn")
    assert plugins == 3
    rmse = [v for (tag, _), (v, _) in sorted(found.items()) if tag == "valid/rmse"]
    curve = [0.05, 0.03, 0.01, 0.006, 0.005, 0.0042, 0.0038, 0.00371]
    assert rmse == pytest.approx(curve)
    assert found["train/loss", 3][0] == pytest.approx(0.02)
    assert found["train/loss", 3][1] == 1.0  # the ledger's time, not today's
    assert found["best/rmse", 8][0] == pytest.approx(0.00371)
    diverged, _ = scalars(place / "trial-0004-rnn")
    assert math.isnan(diverged["valid/rmse", 1][0])
    assert not any(tag == "best/rmse" for tag, _ in diverged)


@pytest.mark.parametrize("to", ["optuna", "csv", "parquet", "tensorboard"])
def test_an_export_of_before_is_replaced_but_no_file_of_yours(to, sample, tmp_path):
    for _ in range(2):
        assert export(sample, to).exit_code == 0
    assert not list(RunFolder(sample).report.glob(".export-*"))
    (tmp_path / "mine").write_text("precious")
    refused(export(sample, to, "--out", tmp_path / "mine"), "there already")
    assert (tmp_path / "mine").read_text() == "precious"
    refused(export(sample, to, "--out", tmp_path / "mine" / "x"), "cannot write")
    assert sorted(os.listdir(tmp_path)) == ["mine", "results"]


@pytest.mark.parametrize("to", ["optuna", "csv", "parquet", "tensorboard"])
def test_a_run_without_trials_is_exported_empty(to, sample):
    path = sample / "events.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1]))
    result = export(sample, to)
    assert result.exit_code == 0, result.stderr


def test_mistakes(sample, monkeypatch):
    refused(run("export", sample), "--to", status=2)
    refused(export(sample, "excel"), "excel", status=2)
    refused(run("export", "no", "--to", "csv", "--results", sample.parents[1]), "`no`")
    path = sample / "events.jsonl"
    whole = path.read_text()
    path.write_text(whole.replace('"lstm"', '"elman"'))
    refused(export(sample, "optuna"), "trial 3 does not lie in the space")
    assert not list(RunFolder(sample).report.iterdir())
    path.write_text(whole)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(export(sample, "parquet"), "needs the package `pyarrow`", "pip install")
