"""A model that left the house computes elsewhere what it computes here."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
import subprocess
import sys
import textwrap

import jax.numpy as jnp
import numpy as np
import pytest

from models import exporting
from models.errors import UserError
from models.exported import load

ANY_LENGTH = [
    ("rnn", "simulation"),
    ("rnn", "prediction"),
    ("tcn", "simulation"),
    ("crnn", "prediction"),
    ("ssm", "simulation"),
    ("ar", "prediction"),
    ("fransys", "prediction"),
    ("pinc", "simulation"),
]
OWN_LENGTH = [("forecaster", "forecast"), ("dlinear", "forecast")]
ONE_BY_ONE = [("greybox", "simulation"), ("vqvae", "reconstruction")]
FAST = [("rnn", "prediction"), ("dlinear", "forecast")]


def marked(cases):
    return [c if c in FAST else pytest.param(*c, marks=pytest.mark.slow) for c in cases]


@pytest.fixture(autouse=True)
def without_kernels(monkeypatch):
    monkeypatch.setenv("HPO_KERNELS", "off")


def made(folder, family, task):
    """A learner that has learned nothing, and what a whole prediction takes."""
    module = importlib.import_module(f"models.{family}")
    example = module.example(task)
    learner = module.create(example.config, example.context(folder / "data"))
    return learner, example.given(folder / "data")


def exported(learner, folder, form="stablehlo"):
    about = {"task": {"name": "of a test"}}
    about = exporting.write(learner, folder, about=about, form=form)
    assert json.loads((folder / "model.json").read_text()) == about
    return load(folder), about


def apart(found, wanted):
    return np.abs(found - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize("family,task", marked(ANY_LENGTH))
def test_any_length_and_number_of_rows(family, task, tmp_path):
    learner, given = made(tmp_path, family, task)
    model, about = exported(learner, tmp_path / "out")
    assert about["inputs"]["u"]["shape"] == ["b", "t", 1]
    u, start = given["u"], given.get("y")
    for length in (8 if start is None else len(start) + 8, len(u)):
        arrays = {"u": u[:length]} | ({} if start is None else {"y": start})
        wanted = learner.predict(arrays)["y"]
        assert apart(model(u[:length], start, {"fs": 1.0}), wanted) < 1e-5
    batch, _ = learner.interface.batch({r: np.stack([a, -a]) for r, a in given.items()})
    assert apart(model.outputs(batch)["y"], learner.outputs(batch)[0]["y"]) < 1e-5
    if start is not None:
        np.testing.assert_array_equal(model(u, start)[: len(start)], start)


@pytest.mark.parametrize("family,task", marked(OWN_LENGTH))
def test_a_length_that_belongs_to_the_model(family, task, tmp_path):
    learner, given = made(tmp_path, family, task)
    model, about = exported(learner, tmp_path / "out")
    rows, length, channels = about["inputs"]["y"]["shape"]
    assert rows == "b" and length == learner.valid[0]["y"].shape[1]
    look_back = length - learner.interface.task.horizon
    cut = {role: array[:look_back] for role, array in given.items()}
    batch, _ = learner.interface.batch(cut)
    assert apart(model.outputs(batch)["y"], learner.outputs(batch)[0]["y"]) < 1e-5
    with pytest.raises(ValueError, match=rf"`y` must be \['b', {length}, {channels}\]"):
        model.outputs({n: a[:, 1:] for n, a in batch.items()})
    with pytest.raises(ValueError, match="inputs u and outputs y .*of a test"):
        model(np.zeros((20, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("family,task", ONE_BY_ONE)
def test_layers_that_need_numbers_take_rows_one_by_one(family, task, tmp_path):
    learner, given = made(tmp_path, family, task)
    model, about = exported(learner, tmp_path / "out")
    assert about["rows"] == 1
    batch, _ = learner.interface.batch({r: np.stack([a, -a]) for r, a in given.items()})
    shapes = {n: i["shape"] for n, i in about["inputs"].items()}
    if all(list(a.shape[1:]) == shapes[n][1:] for n, a in batch.items()):
        name = next(iter(about["outputs"]))
        found, wanted = model.outputs(batch), learner.outputs(batch)[0]
        assert apart(found[name], wanted[name]) < 1e-5


def test_five_lines_of_jax_without_this_project(tmp_path):
    learner, given = made(tmp_path, "rnn", "prediction")
    exported(learner, tmp_path / "out")
    shutil.rmtree(tmp_path / "data")
    np.savez(tmp_path / "given.npz", **given)
    program = """
        import sys, numpy as np
        sys.path.insert(0, sys.argv[1] + "/out")
        from predictor import load
        given = np.load(sys.argv[1] + "/given.npz")
        np.save(sys.argv[1] + "/y.npy", load(sys.argv[1] + "/out")(given["u"], given["y"]))
        assert not {"models", "hpo", "flax"} & set(sys.modules), "this project was needed"
    """
    elsewhere(program, tmp_path)
    wanted = learner.predict(given)["y"]
    assert apart(np.load(tmp_path / "y.npy"), wanted) < 1e-5


def test_the_program_alone_is_loaded_as_its_loader_says(tmp_path):
    """By the very lines in `predictor.py`, without that file and without a description."""
    learner, given = made(tmp_path, "rnn", "simulation")
    exported(learner, tmp_path / "my_model")
    told = (tmp_path / "my_model/predictor.py").read_text()
    lines = told.partition("as ``model.json`` says::")[2].partition("or, of ONNX")[0]
    assert lines.count("\n    ") == 3
    for name in ("predictor.py", "model.json"):
        (tmp_path / "my_model" / name).unlink()
    np.save(tmp_path / "u.npy", given["u"])
    begin = "import numpy as np\nu = np.load('u.npy')\n"
    end = "\nnp.save('y.npy', y)\n"
    elsewhere(begin + textwrap.dedent(lines) + end, tmp_path)
    assert apart(np.load(tmp_path / "y.npy"), learner.predict(given["u"])) < 1e-5


def elsewhere(program, folder):
    """Run a program in a folder, in a process that finds nothing of this project."""
    code = [sys.executable, "-P", "-c", textwrap.dedent(program), str(folder)]
    subprocess.run(code, check=True, cwd=folder, env={"HOME": str(folder)})


def test_a_folder_that_was_cut_short_is_refused(tmp_path):
    learner, given = made(tmp_path, "rnn", "prediction")
    _, about = exported(learner, tmp_path / "out")
    program, described = tmp_path / "out/program.jax", tmp_path / "out/model.json"
    data, text = program.read_bytes(), described.read_text()
    program.write_bytes(data[:-7])
    with pytest.raises(
        ValueError, match=f"hash {about['hash']}.*export the model again"
    ):
        load(tmp_path / "out")
    program.unlink()
    with pytest.raises(
        ValueError, match=r"must hold model.json and its program, whole"
    ):
        load(tmp_path / "out")
    program.write_bytes(data)
    described.write_text(text[: len(text) // 2])
    with pytest.raises(
        ValueError, match=r"must hold model.json and its program, whole"
    ):
        load(tmp_path / "out")
    described.write_text(text.replace('"format": 1', '"format": 99'))
    with pytest.raises(ValueError, match="format 1, got 99"):
        load(tmp_path / "out")
    described.write_text(text)
    model = load(tmp_path / "out")
    with pytest.raises(ValueError, match="0 of `y_init` and"):
        model(given["u"])
    with pytest.raises(
        ValueError, match=r"`u` must be \['b', 't', 1\], with t at least 8"
    ):
        model(given["u"][:5], given["y"][:2])
    with pytest.raises(ValueError, match="takes given.y, u, y, got u"):
        model.outputs({"u": given["u"][None]})


def test_what_cannot_leave_is_told(tmp_path, monkeypatch):
    learner, _ = made(tmp_path, "linear", "simulation")
    with pytest.raises(UserError, match="solved and predicts in NumPy"):
        exporting.write(learner, tmp_path / "out", about={})
    learner, _ = made(tmp_path, "rnn", "simulation")
    monkeypatch.setattr(exporting.compiled, "in_force", lambda: "x86-64-v3:0")
    with pytest.raises(UserError, match="kernels do not travel"):
        exporting.write(learner, tmp_path / "out", about={})
    assert not (tmp_path / "out").exists()


def test_a_program_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    learner, _ = made(tmp_path, "rnn", "simulation")
    outputs = learner.outputs
    monkeypatch.setattr(
        learner, "outputs", lambda batch: ({"y": outputs(batch)[0]["y"] * 1.01}, None)
    )
    with pytest.raises(UserError, match="off by 9.9e-03|off by 1.0e-02"):
        exporting.write(learner, tmp_path / "out", about={})
    assert not (tmp_path / "out").exists()


def test_a_program_that_gives_nan_is_not_written(tmp_path, monkeypatch):
    learner, _ = made(tmp_path, "rnn", "simulation")
    convert = exporting._stablehlo

    def broken(function, batch):
        def last_is_missing(batch):
            return {n: a.at[:, -1].set(jnp.nan) for n, a in function(batch).items()}

        return convert(last_is_missing, batch)

    monkeypatch.setattr(exporting, "_stablehlo", broken)
    with pytest.raises(UserError, match="must compute what the model does.*by nan"):
        exporting.write(learner, tmp_path / "out", about={})
    assert not (tmp_path / "out").exists()


ONNX = [
    *((f, t, ["b", "t"]) for f, t in ANY_LENGTH[:6]),
    ("fransys", "prediction", ["b", 32]),
    ("dlinear", "forecast", ["b", 24]),
    ("forecaster", "forecast", [1, 24]),
    ("greybox", "simulation", [1, 80]),
    ("vqvae", "reconstruction", [1, 24]),
]


@pytest.mark.oracles
@pytest.mark.parametrize("family,task,free", ONNX)
def test_onnx_runtime_computes_what_the_model_does(family, task, free, tmp_path):
    learner, given = made(tmp_path, family, task)
    model, about = exported(learner, tmp_path / "out", form="onnx")
    assert {tuple(i["shape"][:2]) for i in about["inputs"].values()} == {tuple(free)}
    batch = exporting._example(learner)
    if free[0] == "b":
        batch = {n: np.concatenate([a, a, a]) for n, a in batch.items()}
    if free[1] == "t":
        batch = {n: np.concatenate([a, a[:, ::-1]], axis=1) for n, a in batch.items()}
    found, wanted = model.outputs(batch), learner.outputs(batch)[0]
    assert set(found) == set(about["outputs"])
    assert all(apart(found[n], wanted[n]) < 1e-5 for n in found)
    if free[1] == "t":
        y = model(given["u"], given.get("y"))
        assert apart(y, learner.predict(given)["y"]) < 1e-5


@pytest.mark.oracles
def test_onnx_needs_neither_jax_nor_this_project(tmp_path):
    learner, given = made(tmp_path, "rnn", "prediction")
    exported(learner, tmp_path / "out", form="onnx")
    np.savez(tmp_path / "given.npz", **given)
    program = """
        import sys, numpy as np
        sys.path.insert(0, sys.argv[1] + "/out")
        from predictor import load
        given = np.load(sys.argv[1] + "/given.npz")
        np.save(sys.argv[1] + "/y.npy", load(sys.argv[1] + "/out")(given["u"], given["y"]))
        assert not {"models", "hpo", "jax", "flax"} & set(sys.modules)
    """
    code = [sys.executable, "-P", "-c", textwrap.dedent(program), str(tmp_path)]
    subprocess.run(code, check=True, cwd=tmp_path, env={"HOME": str(tmp_path)})
    wanted = learner.predict(given)["y"]
    assert apart(np.load(tmp_path / "y.npy"), wanted) < 1e-5


@pytest.mark.oracles
def test_what_the_converter_cannot_is_told(tmp_path):
    learner, _ = made(tmp_path, "vae", "reconstruction")
    with pytest.raises(UserError, match="(?s)program of its own.*--to stablehlo"):
        exporting.write(learner, tmp_path / "out", about={}, form="onnx")
    assert not (tmp_path / "out").exists()


def test_a_converter_that_is_not_there_is_named(tmp_path, monkeypatch):
    learner, _ = made(tmp_path, "rnn", "simulation")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"(?s)jax2onnx is not installed.*\[onnx\]"):
        exporting.write(learner, tmp_path / "out", about={}, form="onnx")
