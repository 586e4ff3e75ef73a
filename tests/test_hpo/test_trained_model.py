"""A tuned model loaded again: its best epoch's parameters, in another process than trained."""

from __future__ import annotations

import json
import re

import h5py
import numpy as np
import pytest

import hpo
from hpo.errors import RunError
from hpo.ledger.folder import RunFolder
from hpo.report.summary import load_summary
from hpo.run import launch as runner
from hpo.study import Budget, Family, Objective, Resources, Study
from models.exported import load
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run

LINEAR = {"model.lags": 4, "model.output_lags": 1, "model.ridge": 0.0}
RNN = {
    "model.layers": 1, "model.hidden_size": 4, "data.window": 20, "data.batch_size": 8,
    "data.batches": 3, "loss.n_skip": 4, "optimizer.learning_rate": 0.01,
}  # fmt: skip


def write_data(folder):
    """Two outputs, of which a linear model finds the first exactly."""
    random = np.random.default_rng(0)
    for part, length in (("train", 400), ("valid", 100), ("test", 100)):
        (folder / part).mkdir(parents=True)
        u = random.normal(size=length)
        y = np.zeros(length)
        for t in range(1, length):
            y[t] = 0.5 * y[t - 1] + u[t - 1]
        with h5py.File(folder / part / "record.hdf5", "w") as file:
            file["u0"], file["y0"], file["y1"] = u, y, 3.0 + 2 * y
            file.attrs["fs"] = 10.0


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A run of a linear and a recurrent model on data with two outputs."""
    place = tmp_path_factory.mktemp("tuned")
    write_data(place / "mydata")
    study = Study(
        name="tuned",
        data=str(place / "mydata"),
        task="simulation",
        families=(
            Family(name="linear", space=LINEAR, trials=1, epochs=1),
            Family(name="rnn", space=RNN, trials=1),
        ),
        objectives=(Objective(metric="rmse", unit="V"),),
        budget=Budget(trials=2, epochs=3),
        resources=Resources(executor="local"),
    )
    assert runner.launch(study, results=place / "results").state == "finished"
    return place


def test_the_best_model_predicts_what_the_ledger_says(tuned):
    model = hpo.load_model("tuned", results=tuned / "results")
    assert model.family == "linear" and model.config["model.lags"] == 4
    with h5py.File(tuned / "mydata/valid/record.hdf5") as file:
        u, y = file["u0"][:][:, None], np.stack([file["y0"][:], file["y1"][:]], axis=1)
    predicted = model.predict(u)
    assert predicted.shape == y.shape
    rmse = np.sqrt(((predicted - y) ** 2).mean(axis=0)).mean()
    assert rmse == pytest.approx(model.objective, rel=1e-6, abs=1e-12)


def test_any_trial_predicts_with_its_best_epoch(tuned):
    summary = load_summary(RunFolder.find(tuned / "results", "tuned").path)
    (row,) = [r for r in summary.rows if r.family == "rnn"]
    model = hpo.load_model(summary.folder, row.trial)
    values = model.learner.evaluate("valid")
    assert values["rmse"] == pytest.approx(row.objective, rel=1e-5)
    with h5py.File(tuned / "mydata/valid/record.hdf5") as file:
        u, y = file["u0"][:][:, None], np.stack([file["y0"][:], file["y1"][:]], axis=1)
    rmse = np.sqrt(((model.predict(u) - y) ** 2).mean(axis=0)).mean()
    assert rmse == pytest.approx(row.objective, rel=1e-4)


def test_the_command_writes_the_datas_own_layout(tuned):
    where = ("--results", tuned / "results")
    file, out = tuned / "mydata/test/record.hdf5", tuned / "out.hdf5"
    result = run("predict", "tuned", file, "--out", out, *where)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{out}\n"
    with h5py.File(out) as made, h5py.File(file) as given:
        assert set(made) == {"y0", "y1"} and made.attrs["fs"] == 10.0
        assert made["y0"].shape == given["y0"].shape
        np.testing.assert_allclose(made["y1"][20:], given["y1"][20:], atol=1e-6)
    said = re.search(r"linear: 100 samples of y, rmse \S+ (\S+)", result.stderr)
    assert said and said[1].endswith("V"), "the study's unit, where the files name none"
    refused(run("predict", "tuned", file, "--out", out, *where), "is there already")


def test_a_file_without_measurements_and_wrong_files(tuned, tmp_path):
    where = ("--out", tmp_path / "out.hdf5", "--results", tuned / "results")
    with h5py.File(tmp_path / "new.hdf5", "w") as file:
        file["u0"] = np.zeros(30)
    result = run("predict", "tuned", tmp_path / "new.hdf5", *where)
    assert result.exit_code == 0 and "rmse" not in result.stderr
    (tmp_path / "out.hdf5").unlink()
    known = np.where(
        np.arange(100) < 60, outputs_of(tuned / "mydata/test/record.hdf5").T, np.nan
    )
    with h5py.File(tuned / "mydata/test/record.hdf5") as whole:
        u = whole["u0"][:]
    for name, values in (("some", known), ("none", [known[0], np.full(100, np.nan)])):
        with h5py.File(tmp_path / f"{name}.hdf5", "w") as file:
            file["u0"], file["y0"], file["y1"] = u, *values
        result = run("predict", "tuned", tmp_path / f"{name}.hdf5", *where)
        assert result.exit_code == 0, result.stderr
        assert ("rmse" in result.stderr) == (name == "some")
        if name == "some":
            apart = outputs_of(tmp_path / "out.hdf5").T - known
            rmse = np.sqrt(np.nanmean(apart**2, axis=1)).mean()
            told = float(re.search(r"rmse (\S+) (\S+)", result.stderr)[1])
            scale = {"V": 1, "mV": 1e3, "µV": 1e6}[result.stderr.split()[-1]]
            assert told == pytest.approx(rmse * scale, rel=1e-2)
        (tmp_path / "out.hdf5").unlink()
    with h5py.File(tmp_path / "wide.hdf5", "w") as file:
        file["u0"] = np.zeros((30, 2))
    refused(run("predict", "tuned", tmp_path / "wide.hdf5", *where), "2 channels", "1")
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["v"] = np.zeros(30)
    refused(run("predict", "tuned", tmp_path / "other.hdf5", *where), "`u0` is not in")
    (tmp_path / "text.hdf5").write_text("no HDF5")
    refused(run("predict", "tuned", tmp_path / "text.hdf5", *where), "HDF5")
    assert not (tmp_path / "out.hdf5").exists()


def outputs_of(path):
    with h5py.File(path) as file:
        return np.stack([file["y0"][:], file["y1"][:]], axis=1)


def test_a_file_is_predicted_chunk_by_chunk(tuned, tmp_path):
    where = ("--results", tuned / "results")
    file = tuned / "mydata/test/record.hdf5"
    summary = load_summary(RunFolder.find(tuned / "results", "tuned").path)
    numbers = {row.family: row.trial for row in summary.rows}
    found = {}
    for name, more in (("whole", ()), ("pieces", ("--chunk", 7))):
        out = tmp_path / f"{name}.hdf5"
        options = ("--out", out, "--trial", numbers["rnn"], *more, *where)
        assert run("predict", "tuned", file, *options).exit_code == 0
        found[name] = outputs_of(out)
    np.testing.assert_allclose(found["pieces"], found["whole"], rtol=1e-5, atol=1e-5)
    assert found["whole"].std() > 0
    result = run(
        "predict", "tuned", file, "--out", tmp_path / "none.hdf5", "--chunk", 7,
        "--trial", numbers["linear"], *where,
    )  # fmt: skip
    refused(result, "holds no state", "predict whole sequences")
    assert not (tmp_path / "none.hdf5").exists()


def test_the_number_of_known_outputs_is_chosen(tuned, tmp_path):
    study = Study(
        name="known",
        data=str(tuned / "mydata"),
        task={"name": "prediction", "known": 5, "horizon": 10},
        families=(Family(name="rnn", space={**RNN, "model.hidden_size": 2}),),
        budget=Budget(trials=1, epochs=1),
        resources=Resources(executor="local"),
    )
    assert runner.launch(study, results=tmp_path).state == "finished"
    file, where = tuned / "mydata/test/record.hdf5", ("--results", tmp_path)
    measured = outputs_of(file)
    for known, more in ((5, ()), (31, ("--known", 31, "--chunk", 8))):
        out = tmp_path / f"{known}.hdf5"
        assert run("predict", "known", file, "--out", out, *more, *where).exit_code == 0
        equal = np.isclose(outputs_of(out), measured, rtol=1e-6).all(axis=1)
        assert equal[:known].all() and not equal[known:].all()
    wanted = ("predict", "known", file, "--out", tmp_path / "no.hdf5", *where)
    result = run(*wanted, "--known", 100)
    refused(result, "the first 100 outputs of", "got 100 samples", "`--known N`")
    refused(run(*wanted, "--known", 0), "--known", status=2)
    simulated = ("predict", "tuned", file, "--out", tmp_path / "no.hdf5")
    result = run(*simulated, "--known", 5, "--results", tuned / "results")
    refused(result, "gives a model no outputs, got `--known 5`")
    future = tmp_path / "future.hdf5"  # nobody has measured what comes behind
    with h5py.File(file) as whole, h5py.File(future, "w") as cut:
        for name in ("u0", "y0", "y1"):
            values = whole[name][:]
            values[31 if name != "u0" else len(values) :] = np.nan
            cut[name] = values
    out = tmp_path / "foretold.hdf5"
    asked = ("predict", "known", future, "--out", out, "--known", 31, *where)
    result = run(*asked, "--chunk", 8)
    assert result.exit_code == 0 and "rmse" not in result.stderr, result.stderr
    np.testing.assert_array_equal(outputs_of(out), outputs_of(tmp_path / "31.hdf5"))
    asked = ("predict", "known", future, "--out", tmp_path / "no.hdf5", *where)
    refused(run(*asked, "--known", 40), "there is none at sample 31", "`--known N`")


def test_a_model_leaves_in_a_folder_of_its_own(tuned, tmp_path, monkeypatch):
    monkeypatch.setenv("HPO_KERNELS", "off")  # set back what the command sets
    where = ("--results", tuned / "results")
    summary = load_summary(RunFolder.find(tuned / "results", "tuned").path)
    (row,) = [r for r in summary.rows if r.family == "rnn"]
    out = tmp_path / "model"
    wanted = ("export", "tuned", "--to", "identibench", "--trial", row.trial, *where)
    result = run(*wanted, "--out", out)
    assert result.exit_code == 0 and result.stdout == f"{out}\n", result.stderr
    told = json.loads((out / "model.json").read_text())
    assert (told["study"], told["trial"], told["family"]) == ("tuned", row.trial, "rnn")
    assert told["config"]["model.hidden_size"] == 4
    assert told["channels"] == {"u": ["u0"], "y": ["y0", "y1"]}
    assert told["sampling_rate"] == 10.0 and len(told["normalisation"]["std"]["y"]) == 2
    u = np.random.default_rng(1).normal(size=(50, 1))
    model = hpo.load_model("tuned", row.trial, results=tuned / "results")
    np.testing.assert_allclose(load(out)(u), model.predict(u), rtol=1e-5, atol=1e-5)
    refused(run(*wanted, "--out", out), "is there already")
    for _ in range(2):  # that of before gives way
        result = run(*wanted)
        assert result.stdout == f"{summary.folder}/report/model-{row.trial}\n"
    written = []

    def noted(model, place, **how):
        written.append((place.name, how["form"]))
        return {"inputs": {}}

    monkeypatch.setattr("hpo.export.model.export_model", noted)
    for form in ("onnx", "stablehlo"):  # neither takes the other one's place
        asked = ("export", "tuned", "--to", form, "--trial", row.trial, *where)
        assert run(*asked).exit_code == 0
    names = f"model-{row.trial}-onnx", f"model-{row.trial}"
    assert written == [(names[0], "onnx"), (names[1], "stablehlo")]
    table = ("export", "tuned", "--to", "csv", "--trial", row.trial, *where)
    refused(run(*table), "writes all trials, got `--trial")


def test_what_has_no_model_is_told(tmp_path):
    (tmp_path / "walk.py").write_text(sample_run.WALK)
    where = ("--results", tmp_path / "out")
    run("launch", tmp_path / "walk.py", "--trials", 1, *where)
    with pytest.raises(RunError, match="no model to predict with|no checkpoint"):
        hpo.load_model("walks", results=tmp_path / "out")


def test_data_that_changed_is_refused(tuned, tmp_path):
    import shutil

    shutil.copytree(tuned / "results", tmp_path / "results")
    folder = RunFolder.find(tmp_path / "results", "tuned")
    text = folder.study_file.read_text()
    digest = text.split('"train": "', 1)[1][:12]
    folder.study_file.write_text(text.replace(digest, "0" * 12, 1))
    with pytest.raises(RunError, match="data changed"):
        hpo.load_model(folder.path)
