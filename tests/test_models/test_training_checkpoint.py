"""Checkpoints: exact, atomic, refused where they do not belong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from models.errors import UserError
from models.losses import Loss, Term
from models.training import checkpoint
from models.training.checkpoint import NAME, CheckpointError
from models.training.problem import Problem
from tests.test_models.training_toys import (
    ToyFeed,
    assert_bitwise,
    learner_of,
    leaves,
    mse,
    numbers,
    recurrent_problem,
    sequences,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("stop", [0, 1, 4, 5])
def test_going_on_equals_never_stopping(stop, tmp_path):
    problem = recurrent_problem(**{"model.dropout": 0.2})
    whole = learner_of(problem, epochs=5)
    expected = numbers(whole.fit())
    first = learner_of(problem, epochs=5)
    first.fit(stop)
    first.save(tmp_path)
    second = learner_of(problem, epochs=5)
    second.restore(tmp_path)
    assert numbers(second.fit_iter(5)) == expected
    assert_bitwise((second.state, second.best), (whole.state, whole.best))
    assert list(second.fit_iter(5)) == []


@pytest.mark.slow
def test_stopping_after_every_epoch_in_another_process_changes_nothing(tmp_path):
    """Each epoch in a fresh process, as after a kill."""
    expected = numbers(learner_of(recurrent_problem(), epochs=3).fit())
    program = f"""
import sys, pathlib, json
from tests.test_models.training_toys import *
folder = pathlib.Path({str(tmp_path)!r})
learner = learner_of(recurrent_problem(), epochs=3)
if (folder / "checkpoint.safetensors").exists():
    learner.restore(folder)
epochs = learner.fit(int(sys.argv[1]))
learner.save(folder)
print(json.dumps(numbers(epochs)))
"""
    for stop in (1, 2, 3):
        out = subprocess.run(
            [sys.executable, "-c", program, str(stop)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        got = [tuple(row) for row in json.loads(out.stdout)]
    assert got == expected


def test_restored_records_come_first_with_their_nan(tmp_path):
    arrays = sequences(0)
    arrays["y"][:] = np.nan
    feed = ToyFeed(arrays, batch_size=6)
    learner = learner_of(recurrent_problem(), feed=feed, epochs=3)
    learner.fit(2)
    learner.save(tmp_path)
    again = learner_of(recurrent_problem(), feed=feed, epochs=3)
    again.restore(tmp_path)
    got = again.fit()
    assert [e.number for e in got] == [1, 2, 3]
    assert all(np.isnan(e.train["loss"]) for e in got)
    assert [e.seconds for e in got[:2]] == [e.seconds for e in learner.records]


def test_random_keys_inside_a_model_are_saved(tmp_path):
    class Noisy(nnx.Module):
        """Holds a random stream of its own, as ready-made NNX layers do."""

        def __init__(self, key):
            self.layer = nnx.Linear(1, 1, rngs=nnx.Rngs(key))
            self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(key))

    def forward(model, batch, *, key, training, carry, hyper):
        u = model.dropout(batch["u"], deterministic=key is None)
        return {"y": model.layer(u)}, carry

    problem = Problem(
        signature="noisy-model",
        build=lambda key: Noisy(key),
        forward=forward,
        loss=Loss(terms={"mse": Term(function=mse)}),
        metrics=recurrent_problem().metrics,
    )
    expected = numbers(learner_of(problem, epochs=3).fit())
    learner = learner_of(problem, epochs=3)
    learner.fit(1)
    learner.save(tmp_path)
    again = learner_of(problem, epochs=3)
    again.restore(tmp_path)
    assert numbers(again.fit()) == expected


def saved(folder, **options):
    learner = learner_of(recurrent_problem(), epochs=3, **options)
    learner.fit(1)
    learner.save(folder)
    return learner


@pytest.mark.parametrize(
    ("word", "options"),
    [
        ("signature", {"problem": recurrent_problem(signature="another")}),
        ("signature", {"objective": ("mae", "minimize")}),
        ("seed", {"seed": 1}),
        ("hyper", {"problem": recurrent_problem(learning_rate=0.5)}),
        ("hyper", {"epochs": 4}),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(word, options, tmp_path):
    saved(tmp_path)
    options = {"problem": recurrent_problem(), "epochs": 3} | options
    other = learner_of(options.pop("problem"), **options)
    before = jax.tree.map(np.asarray, other.state)
    with pytest.raises(UserError, match=word) as caught:
        other.restore(tmp_path)
    assert caught.value.hint
    assert_bitwise(before, other.state)
    assert other.records == ()


def test_a_missing_or_damaged_checkpoint_is_refused(tmp_path):
    learner = saved(tmp_path)
    whole = (tmp_path / NAME).read_bytes()
    for damage in (b"", whole[:100], whole[:-7], b"\xff" * 64, b"pickle" + whole):
        (tmp_path / NAME).write_bytes(damage)
        with pytest.raises(CheckpointError, match="damaged"):
            learner.restore(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        learner.restore(tmp_path / "nowhere")
    arrays = checkpoint.flatten({"state": learner.state, "best": learner.best})
    with pytest.raises(CheckpointError, match="missing or unknown"):
        checkpoint.unflatten({"state": learner.state}, arrays)
    name = next(iter(arrays))
    with pytest.raises(CheckpointError, match="float16"):
        checkpoint.unflatten(
            {"state": learner.state, "best": learner.best},
            arrays | {name: arrays[name].astype(np.float16)},
        )


def test_a_failing_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    learner = saved(tmp_path)
    old = (tmp_path / NAME).read_bytes()
    learner.fit(2)

    def full(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            learner.save(tmp_path)
    assert (tmp_path / NAME).read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == [NAME]
    learner.save(tmp_path)
    assert (tmp_path / NAME).read_bytes() != old


def test_a_killed_writer_leaves_a_whole_checkpoint(tmp_path):
    program = f"""
import numpy as np, pathlib
from models.training import checkpoint
for n in range(10**6):
    array = np.full((300, 300), n, np.int32)
    checkpoint.write(pathlib.Path({str(tmp_path)!r}), {{"a": array}}, {{"n": n}})
"""
    for pause in (0.0, 0.013, 0.031):
        child = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        while not (tmp_path / NAME).exists():
            assert child.poll() is None
            time.sleep(0.01)
        time.sleep(pause)
        child.send_signal(signal.SIGKILL)
        child.wait()
        arrays, metadata = checkpoint.read(tmp_path)
        assert (arrays["a"] == metadata["n"]).all()
        (tmp_path / NAME).unlink()


def test_the_file_is_plain_safetensors(tmp_path):
    learner = saved(tmp_path)
    content = (tmp_path / NAME).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = json.loads(header.pop("__metadata__")["json"])
    assert len(metadata["records"]) == 1
    assert len(header) == len(leaves((learner.state, learner.best)))


def test_scalars_empty_and_strided_arrays_survive(tmp_path):
    arrays = {
        "scalar": np.asarray(3, np.int32),
        "empty": np.zeros((0, 4), np.float32),
        "strided": np.arange(24.0).reshape(4, 6).T[::2],
        "flag": np.asarray(True),
        "key": np.asarray([1, 2**32 - 1], np.uint32),
    }
    checkpoint.write(tmp_path, arrays, {"x": float("nan"), "y": -float("inf")})
    got, metadata = checkpoint.read(tmp_path)
    for name, array in arrays.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)
        assert got[name].shape == array.shape
    assert np.isnan(metadata["x"])
    assert metadata["y"] == -np.inf
