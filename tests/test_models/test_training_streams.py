"""Windows in a row: the state goes on from one to the next, and only there."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.data.catalog import prepare
from models.errors import ConfigError
from models.layers.kernels import compiled
from models.training.protocol import Context

FAMILIES = (
    "rnn",
    pytest.param("tcn", marks=pytest.mark.slow),
    pytest.param("crnn", marks=pytest.mark.slow),
)
SMALL = {
    "rnn": {"model.hidden_size": 4, "model.layers": 2},
    "tcn": {"model.channels": 4, "model.depth": 3},
    "crnn": {"model.channels": 4, "model.depth": 2, "model.hidden_size": 4},
}
STREAMS = {
    "data.order": "consecutive",
    "data.window": 10,
    "data.batch_size": 2,
    "data.batches": None,
    "loss.n_skip": 4,
    "loss.kind": "mse",
    "optimizer.schedule": "constant",
}


def recorded(folder, lengths, *, gaps=False):
    random = np.random.default_rng(3)
    for part, sizes in {"train": lengths, "valid": (60,), "test": (40,)}.items():
        (folder / part).mkdir(parents=True)
        for i, length in enumerate(sizes):
            u = random.normal(size=length)
            y = np.convolve(u, [0.5, 0.3, 0.2])[:length]
            if gaps and part == "train":
                y[5:8] = np.nan
            with h5py.File(folder / part / f"{i}.hdf5", "w") as file:
                file["u0"], file["y0"] = u, y
    return prepare({"path": str(folder), "gaps": gaps}).to_json()


def learner_of(family, data, *, epochs=1, **changes):
    module = importlib.import_module(f"models.{family}")
    config = {**SMALL[family], **STREAMS, **changes}
    return module.create(
        config, Context(task={"name": "simulation"}, data=data, epochs=epochs)
    )


def model_of(learner, params):
    graph = learner.runner.engine.graph
    return nnx.merge(graph, params, learner.state.variables, copy=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_goes_on_where_the_step_before_ended(family, tmp_path):
    """Every loss of an epoch is that of the whole record, computed in one piece."""
    data = recorded(tmp_path, (47, 47))
    learner = learner_of(family, data, **{"optimizer.learning_rate": 0.0})
    batches, dataset = learner.feed.batches, learner.interface
    assert batches == 5, "47 samples are four windows of 10 and one of 7"
    model = model_of(learner, learner.state.params)
    whole, squares, count = {}, 0.0, 0
    for i in range(2):
        with h5py.File(tmp_path / "train" / f"{i}.hdf5") as file:
            u, y = file["u0"][:], file["y0"][:]
        given = {"u": jnp.asarray(u[None, :, None], jnp.float32)}
        whole[i] = (np.asarray(model(given))[0, :, 0] - y) / dataset.statistics.std["y"]
    means = []
    for start in range(0, 47, 10):
        first = 4 if start == 0 else start  # what is skipped, only behind a reset
        piece = np.concatenate([whole[i][first : start + 10] for i in (0, 1)])
        means.append(np.mean(piece**2))
        squares, count = squares + np.sum(piece**2), count + piece.size
    (epoch,) = learner.fit(1)
    assert epoch.train["loss"] == pytest.approx(np.mean(means), rel=2e-5)
    assert count == 2 * (47 - 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_validation_and_prediction_are_those_of_whole_records(family, tmp_path):
    data = recorded(tmp_path, (47, 47))
    streams = learner_of(family, data, **{"optimizer.learning_rate": 0.0})
    shuffled = learner_of(
        family, data, **{"data.order": "shuffled", "optimizer.learning_rate": 0.0}
    )
    (a,), (b,) = streams.fit(1), shuffled.fit(1)
    assert a.valid["rmse"] == pytest.approx(b.valid["rmse"], rel=1e-5)
    assert a.valid["loss.mse"] == pytest.approx(b.valid["loss.mse"], rel=1e-5)
    u = np.random.default_rng(0).normal(size=(33, 1))
    np.testing.assert_allclose(
        streams.predict(u), shuffled.predict(u), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_do_not_reach_into_the_window_before(family, tmp_path):
    """The step on a second window equals one by hand with the state held fixed."""
    data = recorded(tmp_path, (40, 40))
    learner = learner_of(family, data)
    engine, feed = learner.runner.engine, learner.feed
    order = np.asarray(engine.order(learner.state))
    first, second = (feed.batch(feed.arrays, jnp.asarray(row)) for row in order[:2])
    assert first["reset"].all() and not second["reset"].any()
    after, _ = jax.jit(engine.step)(learner.state, first)
    values, gradients = jax.jit(
        lambda s, b: engine._gradients(s, b, key=jax.random.key(0), hyper=s.hyper)[:2]
    )(after, second | {"counted.y": jnp.ones((2, 10, 1), bool)})

    std = learner.interface.statistics.std["y"]

    def loss(params):
        model = model_of(learner, params)
        outputs, _ = model.stream({"u": second["u"]}, after.carry)
        return jnp.mean(((outputs["y"] - second["y"]) / jnp.float32(std[0])) ** 2)

    wanted, by_hand = jax.jit(jax.value_and_grad(loss))(after.params)
    assert values["loss"] == pytest.approx(float(wanted), rel=1e-5)
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(by_hand))
    for a, b in zip(jax.tree.leaves(gradients), jax.tree.leaves(by_hand), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * scale)


def test_a_row_that_begins_anew_forgets_and_the_other_does_not(tmp_path):
    data = recorded(tmp_path, (40, 40))
    learner = learner_of("rnn", data)
    problem, batch = learner.problem, learner.next_batch()
    model = model_of(learner, learner.state.params)
    carry = jax.tree.map(jnp.ones_like, learner.state.carry)
    batch = {n: jnp.asarray(a) for n, a in batch.items()}
    batch["reset"] = jnp.asarray([True, False])
    options = {"key": jax.random.key(0), "training": True, "hyper": learner.state.hyper}
    outputs, _ = problem.forward(model, batch, carry=carry, **options)
    fresh, _ = model.stream({"u": batch["u"][:1]}, ())
    going, _ = model.stream({"u": batch["u"][1:]}, jax.tree.map(lambda c: c[1:], carry))
    np.testing.assert_allclose(outputs["y"][:1], fresh["y"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["y"][1:], going["y"], rtol=1e-5, atol=1e-6)
    assert np.abs(outputs["y"][1:] - model({"u": batch["u"][1:]})).max() > 1e-3


def test_gaps_and_the_end_of_a_record_are_not_counted(tmp_path):
    data = recorded(tmp_path, (33, 33), gaps=True)
    learner = learner_of("rnn", data, **{"optimizer.learning_rate": 0.0})
    model, std = (
        model_of(learner, learner.state.params),
        learner.interface.statistics.std["y"],
    )
    errors = []
    for i in range(2):
        with h5py.File(tmp_path / "train" / f"{i}.hdf5") as file:
            u, y = file["u0"][:], file["y0"][:]
        predicted = model({"u": jnp.asarray(u[None, :, None], jnp.float32)})
        errors.append((np.asarray(predicted)[0, :, 0] - y) / std)
    means = [
        np.nanmean(
            np.concatenate([e[4 if s == 0 else s : s + 10] for e in errors]) ** 2
        )
        for s in range(0, 33, 10)
    ]
    (epoch,) = learner.fit(1)
    assert epoch.train["loss"] == pytest.approx(np.mean(means), rel=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_interrupted_training_goes_on_bit_for_bit(family, tmp_path):
    data = recorded(tmp_path, (47, 33, 60))
    options = {"data.batches": 3, "model.dropout": 0.2}
    whole = learner_of(family, data, epochs=4, **options)
    wanted = [(e.train, e.valid) for e in whole.fit(4)]
    begun = learner_of(family, data, epochs=4, **options)
    begun.fit(2)
    begun.save(tmp_path / "kept")
    again = learner_of(family, data, epochs=4, **options)
    again.restore(tmp_path / "kept")
    assert [(e.train, e.valid) for e in again.fit_iter(4)] == wanted
    assert wanted[-1][0]["loss"] < wanted[0][0]["loss"]


def test_what_does_not_go_in_a_row_is_refused(tmp_path):
    from models import rnn

    data = recorded(tmp_path, (40, 40))
    context = Context(task={"name": "prediction", "known": 2, "horizon": 5}, data=data)
    with pytest.raises(ConfigError, match="not with 2 known outputs"):
        rnn.create({**SMALL["rnn"], **STREAMS}, context)
    with pytest.raises(ConfigError, match="windows that follow one another leave"):
        learner_of("rnn", data, **{"augmentation.shortest": 6})
    with pytest.raises(ConfigError, match="levenberg_marquardt"):
        learner_of("rnn", data, **{"optimizer.kind": "levenberg_marquardt"})


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALL)
def test_chunks_of_100_need_an_eighth_of_the_memory_of_5000(
    family, tmp_path, monkeypatch
):
    """XLA's own analysis of a training step (TSFast measured 11.8 times less)."""
    monkeypatch.setenv("HPO_KERNELS", "off")
    assert compiled.in_force() == "off"
    data = recorded(tmp_path, (10_000, 10_000))
    needed = {}
    for window, order in ((5000, "shuffled"), (100, "consecutive")):
        changes = {"data.window": window, "data.order": order, "data.batch_size": 4}
        learner = learner_of(family, data, **changes)
        batch = {n: jnp.asarray(a) for n, a in learner.next_batch().items()}
        program = jax.jit(learner.runner.engine.step).lower(learner.state, batch)
        needed[window] = program.compile().memory_analysis().temp_size_in_bytes
    assert needed[100] <= needed[5000] / 8, needed


PEAK = """
import gc, sys
from pathlib import Path
from tests.test_models import test_training_streams as streams

family, window, order = sys.argv[1], int(sys.argv[2]), sys.argv[3]
data = streams.recorded(Path(sys.argv[4]), (10_000, 10_000))
learner = streams.learner_of(
    family,
    data,
    epochs=2,
    **{"data.window": window, "data.order": order, "data.batch_size": 32},
    **{"data.batches": 4 if order == "shuffled" else None, "model.hidden_size": 32},
)
steps = learner.fit_iter(2)
next(steps)  # compiles
gc.collect()

def now(name):
    text = Path("/proc/self/status").read_text()
    return int(text.split(name + ":")[1].split()[0])

Path("/proc/self/clear_refs").write_text("5")  # forget the peak of compiling
before = now("VmRSS")
next(steps)
print(now("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize(
    "family", ["rnn", pytest.param("crnn", marks=pytest.mark.long)]
)
def test_the_process_itself_peaks_at_an_eighth(family, tmp_path):
    """What an epoch adds to a process that has compiled, by the kernel's own count.

    A tcn takes the rows of a batch one after another and needs little either way.
    """
    needed = {}
    for window, order in ((5000, "shuffled"), (100, "consecutive")):
        words = [family, str(window), order, str(tmp_path / str(window))]
        (tmp_path / str(window)).mkdir()
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *words],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
            env={
                **os.environ,
                "HPO_KERNELS": "off",
                "JAX_PLATFORMS": "cpu",
                # So that memory that is given back is seen to be.
                "MALLOC_MMAP_THRESHOLD_": "65536",
                "MALLOC_TRIM_THRESHOLD_": "65536",
            },
        )
        needed[window] = int(done.stdout.split()[-1])
    assert needed[100] <= needed[5000] / 8, needed
