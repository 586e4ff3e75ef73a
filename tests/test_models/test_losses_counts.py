"""Losses over what was seen: however a part is cut, they are the mean over all of it."""

from __future__ import annotations

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from hpo.testing import families
from models import dlinear
from models.categorical_vqvae import Config as Categorical
from models.categorical_vqvae import _terms
from models.coded import branch_terms, squared_term
from models.forecasting import forecast_loss
from models.informed import supervised_loss
from models.layers.window_coder import Coder
from models.losses import Loss
from models.sequence_loss import SequenceLoss
from models.training import evaluation
from models.variational import Divergence, Scored, bound_terms

STD = np.array([2.0, 0.5])
SHAPE = (6, 9, 2)
FREE = {"divergence.free_bits": jnp.float32(0.0), "divergence.now": jnp.float32(1.0)}


def gapped():
    """Outputs and batch of six rows, the first two of which have been seen least."""
    random = np.random.default_rng(0)
    share = np.where(np.arange(6) < 2, 0.2, 0.9)[:, None, None]
    seen = random.random(SHAPE) < share
    found, wanted = random.normal(size=(2, *SHAPE)).astype(np.float32)
    late = np.broadcast_to(np.arange(9)[None, :, None] >= 3, SHAPE)
    code = {n: random.normal(size=(6, 3)).astype(np.float32) for n in "mv"}
    outputs = {
        "y": found,
        "branch.0": wanted + 1.0,
        "branch.1": wanted + 2.0 * found,
        "mean": code["m"],
        "log_variance": code["v"],
    }
    return outputs, {"y": wanted, "seen.y": seen, "scored.y": seen & late}


def errors(outputs, batch, name="y"):
    return (outputs[name].astype(float) - batch["y"]) / STD


def of_forecast():
    outputs, batch = gapped()
    wanted = np.abs(errors(outputs, batch))[batch["scored.y"]].mean()
    return forecast_loss("mae", std=STD), {"mae": wanted}


def of_coded():
    outputs, batch = gapped()
    scored = Scored(signal="y", std=STD, start=2)
    seen = batch["seen.y"][:, 2:]
    squares = [
        (errors(outputs, batch, n)[:, 2:][seen] ** 2).mean()
        for n in ("y", "branch.0", "branch.1")
    ]
    branches = branch_terms(Coder(kind="multiscale"), scored)
    loss = Loss(terms={"squared": squared_term(scored), **branches})
    return loss, {"squared": squares[0], "branches": np.mean(squares[1:])}


def of_bound():
    outputs, batch = gapped()
    seen = batch["seen.y"]
    squares = errors(outputs, batch) ** 2
    variance = np.array([0.5, 3.0])
    each = 0.5 * (np.log(2 * np.pi * variance) + squares / variance)
    mean, log_variance = outputs["mean"], outputs["log_variance"]
    nats = 0.5 * (mean**2 + np.exp(log_variance.astype(float)) - 1 - log_variance)
    loss = Loss(
        terms=bound_terms(divergence=Divergence(), scored=Scored(signal="y", std=STD))
    )
    return loss, {"nll": each[seen].mean(), "kl": nats.sum() / seen.sum()}


def of_categories():
    """Rows of columns, without time: the first channel."""
    outputs, batch = gapped()
    task = SimpleNamespace(role="y", scored_mask="scored.y")
    squared = _terms(Categorical(), task, np.full(9, STD[0]))["squared"]
    kept = batch["scored.y"][..., 0]
    wanted = (errors(outputs, batch)[..., 0][kept] ** 2).mean()
    return Loss(terms={"squared": squared}), {"squared": wanted}


def of_informed():
    outputs, batch = gapped()
    stated = SimpleNamespace(supervised=1)
    data = SimpleNamespace(statistics=SimpleNamespace(std={"y": STD}))
    term = supervised_loss(
        config=SequenceLoss(kind="mse"), stated=stated, data=data, start=2
    )
    seen = batch["seen.y"][:, 2:, :1]
    wanted = (errors(outputs, batch)[:, 2:, :1][seen] ** 2).mean()
    return Loss(terms={"data": term}), {"data": wanted}


def part_of(arrays, rows):
    return {name: jnp.asarray(array[rows]) for name, array in arrays.items()}


def shown(outputs):
    """Outputs as the families give them: a code as one entry, a fixed variance."""
    variance = jnp.broadcast_to(jnp.asarray([0.5, 3.0], jnp.float32), (6, 2))
    code = {name: outputs[name] for name in ("mean", "log_variance")}
    return {**outputs, "code": code, "variance": variance}


@pytest.mark.parametrize(
    "made", [of_forecast, of_coded, of_bound, of_categories, of_informed]
)
def test_parts_weigh_what_was_seen_of_them(made):
    (loss, wanted), (outputs, batch) = made(), gapped()
    hyper = {
        **FREE,
        "weights.data": jnp.float32(1.0),
        "coder.branch_weight": jnp.float32(1.0),
    }
    found = {name: [] for name in wanted}
    if made is of_categories:
        outputs, batch = (
            {n: a[..., 0] for n, a in arrays.items() if a.ndim == 3}
            | {n: a for n, a in arrays.items() if a.ndim < 3}
            for arrays in (outputs, batch)
        )
    for rows in (slice(0, 2), slice(2, 6)):
        own = part_of(batch, rows)
        _, terms = loss(shown(part_of(outputs, rows)), own, hyper)
        sizes = loss.sizes(own, hyper, samples=9 * own["y"].shape[0])
        for name in found:
            found[name].append((float(terms[name]), float(sizes[name])))
    for name, pairs in found.items():
        values, weights = np.array(pairs).T
        pooled = np.average(values, weights=weights)
        assert pooled == pytest.approx(wanted[name], rel=1e-5), name
        assert abs(np.average(values, weights=[2, 4]) / wanted[name] - 1) > 1e-3
    whole = {n: jnp.asarray(a) for n, a in batch.items() if n != "seen.y"}
    assert not loss.counts(whole, hyper), "without gaps all is weighed as it ever was"


def test_a_forecast_s_loss_is_its_metric_however_validation_is_cut(
    tmp_path, monkeypatch
):
    """The metric pools errors one by one; of the example, one value in fifty is missing."""
    monkeypatch.setattr(evaluation, "BATCH_NUMBERS", 2000)
    learner = families.make(dlinear, "forecast", tmp_path)
    (epoch,) = learner.fit_iter(1)
    assert epoch.valid["loss.mae"] == pytest.approx(epoch.valid["mae"], rel=2e-6)
