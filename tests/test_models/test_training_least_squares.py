"""Least squares: against closed forms, scipy and plain numpy; and as exact as any learner."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from flax import nnx

from hpo.testing.families import compilations
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.feeding import make_feed
from models.data.plan import make_plan
from models.data.tiles import Tiles, tiles
from models.data.windows import Windows
from models.errors import ConfigError
from models.losses import Loss, Term
from models.metrics import sequence_metrics
from models.training.least_squares.jacobian import COLUMNS, columns
from models.training.optimizer import Optimizer
from models.training.problem import Problem
from models.training.residuals import Residuals
from tests.test_models.training_toys import (
    ToyFeed,
    learner_of,
    leaves,
    mse,
    numbers,
    recurrent_problem,
    sequences,
)

START = 3
STAGES = ((2, 7), (1, 2))


class TiledToy(ToyFeed):
    """Ten windows of 20; the last one counts from sample 9 on."""

    window = 20

    def tiles(self, start):
        skip = np.full(self.count, start, np.int32)
        skip[-1] = 9
        return Tiles(np.arange(self.count, dtype=np.int32), skip)


class Filter(nnx.Module):
    """Three taps and a constant, and a sine of them: linear where `bend` is zero."""

    def __init__(self, key):
        self.taps = nnx.Param(0.3 * jax.random.normal(key, (3, 1)))
        self.constant = nnx.Param(jnp.zeros((1,)))

    def __call__(self, u, bend):
        late = jnp.pad(u, ((0, 0), (2, 0), (0, 0)))
        past = jnp.concatenate([late[:, 2 - k : 22 - k] for k in range(3)], axis=-1)
        y = past @ self.taps[...] + self.constant[...][None, None]
        return y + jnp.sin(bend * y)


class Cliff(nnx.Module):
    """A number that is its own output up to 1; beyond, no step can follow what it gives."""

    def __init__(self, key):
        self.place = nnx.Param(jnp.zeros(()))

    def __call__(self, u, bend):
        place = self.place[...]
        rough = 1.0 + 0.01 * jnp.sin(1e8 * place)
        return jnp.where(place < 1.0, place, rough) + jnp.zeros_like(u)


def filter_problem(*, bend=0.0, stages=((), ()), build=Filter, **optimizer):
    def forward(model, batch, *, key, training, carry, hyper):
        return {"y": model(batch["u"], hyper["bend"])}, carry

    def residuals(outputs, batch):
        late = (jnp.arange(20) >= START)[None, :, None]
        scored = late & (batch["seen"] > 0)
        zero = jnp.zeros_like(batch["y"])
        return jnp.where(scored, outputs["y"] - batch["y"], zero), scored

    return Problem(
        signature=("filter", build.__name__, stages),
        build=build,
        forward=forward,
        loss=Loss(terms={"mse": Term(function=mse)}),
        metrics=sequence_metrics(),
        hyper={"bend": bend},
        optimizer=Optimizer(
            kind="levenberg_marquardt",
            stage_windows=stages[0],
            stage_epochs=stages[1],
            **optimizer,
        ),
        residuals=Residuals(function=residuals, start=START),
    )


def data(seed=0, count=10):
    arrays = sequences(seed, count=count)
    return {**arrays, "seen": np.ones_like(arrays["y"])}


def regression(arrays):
    """Rows and targets of all that counts, by hand."""
    rows, targets = [], []
    for n in range(10):
        for t in range(9 if n == 9 else START, 20):
            if arrays["seen"][n, t, 0]:
                rows.append([*(arrays["u"][n, t - k, 0] for k in range(3)), 1.0])
                targets.append(arrays["y"][n, t, 0])
    return np.array(rows), np.array(targets)


def lm_learner(problem, arrays, **options):
    feed = TiledToy(arrays, batch_size=4)  # three chunks, the last one half empty
    return learner_of(problem, feed=feed, valid=(data(1, count=3),), **options)


def found(learner):
    params = learner.state.params
    return np.append(np.ravel(params["taps"]), params["constant"])


def test_one_step_solves_what_is_linear():
    arrays = data()
    learner = lm_learner(filter_problem(damping=1e-12), arrays)
    (epoch,) = learner.fit(1)
    rows, targets = regression(arrays)
    solution, (squares,), *_ = np.linalg.lstsq(rows, targets, rcond=None)
    np.testing.assert_allclose(found(learner), solution, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(epoch.train["loss"], squares / len(rows), rtol=1e-5)
    assert epoch.train["windows"] == 10 and epoch.train["refused"] == 0


def test_a_step_is_damped_by_the_lengths_of_the_columns():
    arrays, damping = data(), 0.5
    problem = filter_problem(damping=damping, scale_floor=0.9)
    learner = lm_learner(problem, arrays)
    start = found(learner)
    learner.fit(1)
    rows, targets = regression(arrays)
    matrix, gradient = rows.T @ rows, rows.T @ (rows @ start - targets)
    lengths = np.maximum(np.diag(matrix), 0.9 * np.diag(matrix).max())
    wanted = start - np.linalg.solve(matrix + damping * np.diag(lengths), gradient)
    np.testing.assert_allclose(found(learner), wanted, rtol=1e-4, atol=1e-5)


def test_hidden_values_do_not_count():
    arrays = data()
    arrays["seen"][np.random.default_rng(3).random((10, 20, 1)) < 0.3] = 0
    rows, targets = regression(arrays)
    arrays["y"][arrays["seen"] == 0] = np.nan
    learner = lm_learner(filter_problem(damping=1e-12), arrays)
    learner.fit(1)
    solution = np.linalg.lstsq(rows, targets, rcond=None)[0]
    np.testing.assert_allclose(found(learner), solution, rtol=1e-4, atol=1e-5)


def test_ends_where_scipy_ends():
    arrays = data()
    learner = lm_learner(filter_problem(bend=1.5), arrays, epochs=30)
    start = found(learner)
    epochs = learner.fit()
    rows, targets = regression(arrays)

    def residuals(x):
        y = rows @ x
        return y + np.sin(1.5 * y) - targets

    wanted = scipy.optimize.least_squares(residuals, start, method="lm", x_scale="jac")
    loss = 2 * wanted.cost / len(rows)
    np.testing.assert_allclose(epochs[-1].train["loss"], loss, rtol=1e-4)
    np.testing.assert_allclose(found(learner), wanted.x, rtol=1e-3, atol=1e-4)
    losses = [epoch.train["loss"] for epoch in epochs]
    assert all(b <= a * (1 + 1e-6) for a, b in zip(losses, losses[1:], strict=False))


@pytest.mark.parametrize("count", [3, COLUMNS, COLUMNS + 5])
def test_columns_are_the_jacobian(count):
    matrix = np.random.default_rng(0).normal(size=(7, count)).astype(np.float32)

    def function(x):
        return jnp.tanh(jnp.asarray(matrix) @ x) + jnp.sum(x * x), jnp.sum(x)

    x = jnp.linspace(-0.1, 0.1, count)
    values, jacobian, beside = columns(function, x)
    wanted = jax.jacfwd(lambda x: function(x)[0])(x)
    np.testing.assert_allclose(values, function(x)[0], rtol=1e-6)
    np.testing.assert_allclose(jacobian, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(beside, jnp.sum(x), atol=1e-6)


@pytest.mark.parametrize("lengths", [(50,), (20, 33, 19, 71)])
@pytest.mark.parametrize("stride", [1, 3, 7])
def test_tiles_score_every_sample_once(lengths, stride):
    part = SimpleNamespace(lengths=lengths, name="train")
    plan = make_plan(part, Windows(window=20, stride=stride, batch_size=1))
    windows = tiles(plan, 5)
    counted = {i: np.zeros(n, int) for i, n in enumerate(lengths) if n >= 20}
    for number, skip in zip(*windows, strict=True):
        place = np.searchsorted(plan.first, number, side="right") - 1
        begin = (number - plan.first[place]) * stride
        counted[plan.records[place]][begin + skip : begin + 20] += 1
    for record, times in counted.items():
        last = 20 + (lengths[record] - 20) // stride * stride
        assert (times[:5] == 0).all() and (times[5:last] == 1).all()
        assert (times[last:] == 0).all()


@pytest.mark.parametrize("batches,count", [(None, 11), (1, 8)])
def test_a_feed_leaves_no_sample_out_but_where_its_batches_are_given(
    batches, count, tmp_path
):
    for part, length in (("train", 460), ("valid", 80)):
        (tmp_path / part).mkdir()
        with h5py.File(tmp_path / part / "a.h5", "w") as file:
            file["u0"], file["y0"] = np.random.default_rng(1).normal(size=(2, length))
    windows = Windows(window=60, stride=40, batch_size=8, batches=batches)
    feed = make_feed(open_dataset(prepare(str(tmp_path))).part("train"), windows)
    scored = np.zeros(460, int)
    for number, skip in zip(*feed.tiles(20), strict=True):
        scored[40 * number + skip : 40 * number + 60] += 1
    stop = 20 + 40 * count  # of 11 windows 8 make a whole batch
    assert (scored[20:stop] == 1).all() and not scored[:20].any()
    assert not scored[stop:].any() and feed.batches == 1


def test_stages_take_a_few_windows_first():
    problem = filter_problem(stages=STAGES)
    epochs = lm_learner(problem, data(), epochs=5).fit()
    assert [e.train["windows"] for e in epochs] == [2, 7, 7, 10, 10]


def test_going_on_equals_never_stopping(tmp_path):
    def make(epochs=6):
        problem = filter_problem(bend=1.5, stages=STAGES)
        return lm_learner(problem, data(), epochs=epochs)

    whole = numbers(make().fit())
    stopped = make()
    stopped.fit(3)
    stopped.save(tmp_path)
    going_on = make()
    going_on.restore(tmp_path)
    assert numbers(going_on.fit()) == whole
    assert numbers(make(99).fit(6)) == whole, "the budget changed an epoch"


def test_a_changed_damping_scales_that_of_then(tmp_path):
    """After an adoption the step is that of ridge regression with the new λ, by numpy."""
    arrays, key = data(), "optimizer.damping"
    rows, targets = regression(arrays)

    def make(damping=0.5):
        return lm_learner(filter_problem(damping=damping), arrays, epochs=3)

    donor, mine, same = make(), make(0.01), make(0.01)
    (first,) = donor.fit(1)
    donor.save(tmp_path)
    mine.adopt(tmp_path, {key: 4.0})
    before, now = found(donor).astype(float), 8 * first.train["damping"]
    np.testing.assert_allclose(mine.state.optimizer.value, now, rtol=1e-6)
    mine.fit(2)
    square = rows.T @ rows
    gradient = rows.T @ (rows @ before - targets)
    step = np.linalg.solve(square + now * np.diag(np.diag(square)), gradient)
    np.testing.assert_allclose(found(mine), before - step, rtol=1e-4, atol=1e-5)
    assert np.abs(step).max() > 1e-3
    same.adopt(tmp_path, {key: 0.5, "optimizer.damping_up": 3.0})
    assert float(same.state.optimizer.value) == first.train["damping"]


def test_a_second_trial_compiles_nothing():
    lm_learner(filter_problem(damping=0.3), data()).fit()
    with compilations() as seconds:
        lm_learner(filter_problem(damping=0.7), data(6), seed=8, epochs=9).fit()
    assert not seconds


def test_a_better_place_from_where_no_step_leads_on_is_refused():
    """The undamped step goes to 2, beyond the cliff: 1 is nearer the target 2 than 0 is."""
    arrays = data()
    arrays["y"] = np.full_like(arrays["y"], 2.0)
    learner = lm_learner(filter_problem(build=Cliff, damping=1e-6), arrays, epochs=30)
    losses = [epoch.train["loss"] for epoch in learner.fit()]
    place = float(learner.state.params["place"])
    assert 0.99 < place < 1.0
    assert losses == sorted(losses, reverse=True)
    assert learner.records[0].train["refused"] > 2


def test_what_is_not_finite_changes_nothing():
    arrays = data()
    arrays["u"][4, 5] = np.nan
    learner = lm_learner(filter_problem(), arrays)
    before = leaves(learner.state.params)
    (epoch, _) = learner.fit(2)
    assert np.isnan(epoch.train["loss"]) and epoch.train["skipped"] == 1
    for a, b in zip(before, leaves(learner.state.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_cannot_be_trained_so_is_refused():
    with pytest.raises(ConfigError, match="minimises a mean square"):
        learner_of(recurrent_problem(kind="levenberg_marquardt"))
    problem = filter_problem()
    with pytest.raises(ConfigError, match="windows on the device, got ToyFeed"):
        learner_of(problem)
    wide = dataclasses.replace(problem, build=lambda key: Wide())
    with pytest.raises(ConfigError, match="at most 1000 parameters, this one has 1001"):
        lm_learner(wide, data())
    carrying = dataclasses.replace(problem, initial_carry=lambda size: None)
    with pytest.raises(ConfigError, match="carry a state"):
        lm_learner(carrying, data())
    with pytest.raises(ConfigError, match="describe the same stages"):
        Optimizer(stage_windows=(3,), stage_epochs=())
    with pytest.raises(ConfigError, match="flat_cosine, got none"):
        lm_learner(problem, data()).fit_flat_cos()


class Wide(nnx.Module):
    """One parameter too many."""

    def __init__(self):
        self.weight = nnx.Param(jnp.zeros((1001,)))


def test_signatures_from_before_there_was_a_choice_stay():
    plain = Optimizer()
    keys = {key for key, *_ in plain.static_signature()}
    assert keys == {"config", "schedule"}
    assert set(plain.traced()) == {
        *("learning_rate", "weight_decay", "clip_norm", "b1", "b2"),
        *("decay_start", "warmup"),
    }
    second = Optimizer(kind="levenberg_marquardt")
    assert {key for key, *_ in second.static_signature()} == {
        *("config", "kind", "stage_windows", "stage_epochs"),
    }
    assert set(second.traced()) == {
        *("damping", "damping_up", "damping_down", "scale_floor"),
    }
