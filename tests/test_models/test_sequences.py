"""From a folder of HDF5 files to a trained learner, with a model of one line."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.config import Config, static, traced
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.windows import Windows
from models.errors import ConfigError
from models.example import Example
from models.family import learner_of
from models.layers.normalization import Standardize
from models.layers.traced import Traced
from models.sequences import SequenceLoss, sequence_loss, sequence_problem
from models.tasks import task_of
from models.tasks.base import describe
from models.training import evaluation
from models.training.optimizer import Optimizer
from models.training.protocol import Context
from tests.test_models.training_toys import numbers


@dataclass(frozen=True, kw_only=True)
class Taps(Config):
    taps: int = static(3, low=1)
    leak: float = traced(0.0)


@dataclass(frozen=True, kw_only=True)
class Family(Config):
    model: Taps = field(default_factory=Taps)
    data: Windows = field(default_factory=lambda: Windows(window=20, batch_size=8))
    loss: SequenceLoss = field(default_factory=lambda: SequenceLoss(n_skip=4))
    optimizer: Optimizer = field(default_factory=Optimizer)


class Filter(nnx.Module):
    """A short filter of u in standard deviations."""

    def __init__(self, *, config, data, key):
        statistics = data.statistics
        self.u = Standardize(mean=statistics.mean["u"], std=statistics.std["u"])
        self.y = Standardize(mean=statistics.mean["y"], std=statistics.std["y"])
        self.weights = nnx.Param(jnp.zeros((config.taps,)))
        self.leak = Traced(0.0, name="model.leak")

    def __call__(self, given, *, key=None):
        u = given["u"]
        x, taps = self.u(u), self.weights[...].shape[0]
        padded = jnp.pad(x, ((0, 0), (taps - 1, 0), (0, 0)))
        shifted = [padded[:, i : i + x.shape[1]] for i in range(taps)]
        y = sum(self.weights[i] * s for i, s in enumerate(shifted))
        return self.y.inverse(y + self.leak[...])


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return Example(task="simulation", config={}).context(
        tmp_path_factory.mktemp("data")
    )


def family(**flat):
    return Family.from_flat({"data.batches": 5, **flat})


class Filters:
    """The family's module, as the learner asks it."""

    Config, TASKS, CLOSED_FORM, CAUSAL = Family, ("simulation",), False, True

    @staticmethod
    def problem(config, data):
        return sequence_problem(Filter, config=config, data=data)


def problem_of(config, context):
    data = describe(task_of(context.task), open_dataset(context.data))
    return sequence_problem(Filter, config=config, data=data)


def test_trains_saves_and_evaluates(context, tmp_path):
    context = replace(context, epochs=6)
    learner = learner_of(Filters, family(), context)
    epochs = learner.fit()
    assert epochs[-1].valid["rmse"] < epochs[0].valid["rmse"]
    declared = {"rmse", "mae", "nrmse", "fit", "r2"}
    assert set(epochs[0].valid) == {*declared, "loss.mse"}
    assert set(learner.evaluate("test")) == set(epochs[0].valid)
    assert learner.configuration == family().flat()
    learner.save(tmp_path)
    again = learner_of(Filters, family(), context)
    again.restore(tmp_path)
    assert numbers(again.fit()) == numbers(epochs)
    assert again.feed is learner.feed, "trials of one process share the data"
    assert again.valid[0]["u"] is learner.valid[0]["u"]


@pytest.mark.parametrize("kind,of", [("mse", np.square), ("mae", np.abs)])
@pytest.mark.parametrize("gaps", [False, True])
def test_loss_terms_are_means_over_all_that_they_count(
    kind, of, gaps, tmp_path, monkeypatch
):
    """Of records of several lengths and, a group at a time, of several batches."""
    monkeypatch.setattr(evaluation, "BATCH_NUMBERS", 1000)
    random, scale = np.random.default_rng(4), 9.0
    for part, lengths in (("train", (90,)), ("valid", (12, 180, 180, 180))):
        (tmp_path / part).mkdir()
        for i, length in enumerate(lengths):
            with h5py.File(tmp_path / part / f"{i}.h5", "w") as file:
                file["u0"] = random.normal(size=length)
                y = scale * random.normal(size=length)  # the short record's are larger
                if gaps and part == "valid":
                    y[6 : 8 + 30 * i] = np.nan
                file["y0"], scale = y, 1.0
    data = prepare({"path": str(tmp_path), "gaps": gaps}).to_json()
    context = Context(data=data, task={"name": "simulation"}, seed=0, epochs=1)
    learner = learner_of(Filters, family(**{"loss.kind": kind}), context)
    dataset, errors = open_dataset(data), []
    for i in range(4):
        with h5py.File(tmp_path / "valid" / f"{i}.h5") as file:
            error = learner.predict(file["u0"][:][:, None])[:, 0] - file["y0"][:]
        errors.append(error[4:] / dataset.statistics.std["y"][0])  # behind `n_skip`
    wanted = np.nanmean(of(np.concatenate(errors)))
    found = learner.evaluate("valid")[f"loss.{kind}"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_the_contexts_objective_decides_which_epoch_is_kept(context):
    def kept(objective):
        given = replace(context, epochs=6, objective=objective)
        learner = learner_of(Filters, family(), given)
        scores = [epoch.valid[objective[0]] for epoch in learner.fit()]
        return learner.evaluate("valid")[objective[0]], scores

    least, scores = kept(("rmse", "minimize"))
    np.testing.assert_allclose(least, min(scores), rtol=1e-6)
    most, scores = kept(("rmse", "maximize"))
    np.testing.assert_allclose(most, max(scores), rtol=1e-6)
    assert most > least


def test_scores_physical_units_after_the_datasets_start(context):
    settings = {"score_from": 30, "also_score_from": [5]}
    reference = {**context.data, "settings": settings}
    learner = learner_of(Filters, family(), replace(context, data=reference))
    (epoch,) = learner.fit(1)
    record = open_dataset(context.data).part("valid").load(0)
    error = learner.predict(record["u"]) - record["y"]
    wanted = {
        "rmse": np.sqrt(np.mean(error[30:] ** 2)),
        "mae": np.abs(error[30:]).mean(),
    }
    wanted["rmse_from_5"] = np.sqrt(np.mean(error[5:] ** 2))
    for name, value in wanted.items():
        np.testing.assert_allclose(epoch.valid[name], value, rtol=1e-5)


def test_both_feedings_train_the_same(context):
    resident, streaming = (
        learner_of(Filters, family(**{"data.feeding": mode}), context).fit(2)
        for mode in ("resident", "streaming")
    )
    for a, b in zip(resident, streaming, strict=True):
        np.testing.assert_allclose(
            list(a.train.values()), list(b.train.values()), rtol=1e-5
        )
        np.testing.assert_allclose(
            list(a.valid.values()), list(b.valid.values()), rtol=1e-5
        )


@pytest.mark.parametrize("kind", ["mse", "mae", "huber"])
def test_loss_in_standard_deviations_after_the_skipped_samples(kind):
    random = np.random.default_rng(0)
    y, target = random.normal(size=(2, 3, 9, 2)).astype(np.float32) * [1.0, 50.0]
    std = np.array([0.5, 40.0])
    loss = sequence_loss(config=SequenceLoss(kind=kind, n_skip=4), std=std)
    e = np.abs((y - target) / std)[:, 4:]
    wanted = {
        "mse": e**2,
        "mae": e,
        "huber": np.where(e < 1, 0.5 * e**2, e - 0.5),
    }[kind].mean()

    def value(y):
        y, t = (jnp.asarray(x, jnp.zeros(()).dtype) for x in (y, target))
        return loss({"y": y}, {"y": t}, {})

    total, terms = value(y)
    np.testing.assert_allclose(total, wanted, rtol=1e-5)
    assert set(terms) == {kind}
    spoiled = y.copy()
    spoiled[:, :4] = 1e6
    np.testing.assert_array_equal(value(spoiled)[0], total)
    with pytest.raises(ValueError, match=r"\(3, 9, 1\)"):
        value(y[..., :1])


def test_signature_tells_static_from_traced(context):
    def signature(**flat):
        return problem_of(family(**flat), context).signature

    assert signature() == signature(
        **{"model.leak": 1.0, "optimizer.learning_rate": 1.0}
    )
    for other in (
        {"model.taps": 4},
        {"loss.kind": "mae"},
        {"loss.n_skip": 5},
        {"data.window": 21},
        {"optimizer.schedule": "constant"},
    ):
        assert signature() != signature(**other)


def test_a_loss_that_leaves_nothing_is_refused(context):
    with pytest.raises(ConfigError, match="n_skip"):
        problem_of(family(**{"loss.n_skip": 20}), context)
