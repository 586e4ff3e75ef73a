"""What sequence families may minimise: values, signatures, parts of batches, penalties."""

from __future__ import annotations

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import crnn, rnn, tcn
from models.config import Config, static, traced
from models.data.statistics import Statistics
from models.errors import ConfigError
from models.sequence_loss import SequenceLoss, sequence_loss
from models.training.gradients import GradientEngine
from models.training.state import HORIZON, initialize
from tests.test_models.task_data import sequences

STATISTICS = Statistics(
    mean={"u": np.array([1.0, -2.0]), "y": np.array([0.5, 0.0])},
    std={"u": np.array([2.0, 0.5]), "y": np.array([3.0, 0.1])},
    count=100,
)
DATA = sequences(STATISTICS)
GAPPY = dataclasses.replace(
    DATA, reference=dataclasses.replace(DATA.reference, gaps=("y",))
)
FAMILIES = (rnn, tcn, crnn)
RANDOM = np.random.default_rng(0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner(Config):
    size: float = traced(0.0, low=0.0, off=0.0)
    rate: float = traced(0.1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer(Config):
    inner: Inner = dataclasses.field(default_factory=Inner)
    count: int = static(3)


def config_of(family, **flat):
    own = {"model.hidden_size": 4} if family is not tcn else {"model.channels": 4}
    common = {"data.window": 20, "data.batch_size": 64, "loss.n_skip": 4}
    return family.Config.from_flat({**own, **common, **flat})


def a_batch(rows=64, *, gaps=True, dtype=np.float64):
    u, y = RANDOM.normal(size=(2, rows, 20, 2)).astype(dtype)
    batch = {"u": jnp.asarray(u), "y": jnp.asarray(y)}
    if gaps:
        # Parts of a batch hold as little as nothing, and much.
        share = np.linspace(0.0, 1.0, rows)[:, None, None]
        batch["seen.y"] = jnp.asarray(RANDOM.uniform(size=y.shape) < share)
    return batch


def gradients_of(problem, batch):
    hyper = {k: jnp.asarray(v) for k, v in problem.values().items()}
    hyper[HORIZON] = jnp.asarray(10.0)
    graph, state, _ = initialize(
        problem, batch_size=64, seed=jnp.uint32(0), hyper=hyper
    )
    engine = GradientEngine(
        problem=problem, graph=graph, feed=None, objective="rmse", direction="minimize"
    )
    key = jax.random.key(0)
    found = jax.jit(lambda s, b: engine._gradients(s, b, key=key, hyper=hyper)[:2])(
        state, batch
    )
    value, slope = found
    return value, np.concatenate([np.ravel(x) for x in jax.tree.leaves(slope)])


@pytest.mark.parametrize(
    ("family", "kind"),
    [(rnn, "mse"), pytest.param(tcn, "weighted", marks=pytest.mark.slow)],
)
def test_gaps_in_micro_batches_give_the_gradient_of_the_whole(family, kind):
    values = {"loss.kind": "mse"}
    if kind == "weighted":
        values = {"loss.last_weight": 0.1, "regularization.activation": 0.3}
    problem = family.problem(config_of(family, **values), GAPPY)
    problem = dataclasses.replace(problem, micro_batch=16)
    with jax.enable_x64(True):
        batch = a_batch()
        whole, wanted = gradients_of(
            dataclasses.replace(problem, micro_batch=None), batch
        )
        parts, got = gradients_of(problem, batch)
        # Positive control: means of means are another gradient.
        plain = {
            name: dataclasses.replace(term, count=None)
            for name, term in problem.loss.terms.items()
        }
        unweighed = type(problem.loss)(terms=plain)
        _, wrong = gradients_of(dataclasses.replace(problem, loss=unweighed), batch)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6 * abs(wanted).max())
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-6)
    assert abs(wrong - wanted).max() > 0.01 * abs(wanted).max()


def test_masks_that_targets_draw_are_weighed_too():
    """Windows in a row are counted so: behind a reset fewer samples count."""

    def some(key, batch, step):
        first = jnp.where(batch["u"][:, 0, 0] > 0, 5, 19)
        return batch | {
            "counted.y": (jnp.arange(20)[None] >= first[:, None])[..., None]
        }

    problem = rnn.problem(config_of(rnn, **{"loss.kind": "mse"}), DATA)
    problem = dataclasses.replace(problem, targets=(some,))
    with jax.enable_x64(True):
        batch = a_batch(gaps=False)
        # Whole parts of one kind: without weights they would all count alike.
        order = jnp.argsort(batch["u"][:, 0, 0])
        batch = {name: values[order] for name, values in batch.items()}
        _, got = gradients_of(problem, batch)
        _, wanted = gradients_of(dataclasses.replace(problem, micro_batch=None), batch)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6 * abs(wanted).max())


def test_gaps_no_longer_forbid_micro_batches_and_ratios_do():
    assert rnn.problem(config_of(rnn), GAPPY).micro_batch == 16
    problem = rnn.problem(config_of(rnn, **{"loss.kind": "nrmse"}), GAPPY)
    assert problem.loss.whole
    with jax.enable_x64(True):
        batch = a_batch()
        _, got = gradients_of(problem, batch)
        _, wanted = gradients_of(dataclasses.replace(problem, micro_batch=None), batch)
    np.testing.assert_array_equal(got, wanted)


def numpy_loss(kind, p, t, seen, weight):
    e = (p - t) / STATISTICS.std["y"]
    w = np.where(seen, weight, 0.0)
    if kind == "nrmse":
        return np.sqrt((w * e**2).sum((0, 1)) / w.sum((0, 1))).mean()
    a = abs(e)
    error = {"mse": e**2, "mae": a, "huber": np.where(a < 1, e**2 / 2, a - 0.5)}[kind]
    return (w * error).sum() / w.sum()


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
@pytest.mark.parametrize("last", [1.0, 0.1])
@pytest.mark.parametrize("kind", ["mse", "mae", "huber", "nrmse"])
def test_values_equal_numpy(kind, last, gaps):
    config = SequenceLoss(kind=kind, n_skip=2, n_cut=3, last_weight=last)
    loss = sequence_loss(config=config, std=STATISTICS.std["y"], start=1)
    p, t = RANDOM.normal(size=(2, 4, 12, 2))
    seen = RANDOM.uniform(size=p.shape) < 0.6 if gaps else np.ones(p.shape, bool)
    kept = slice(3, -3)
    line = np.logspace(0.0, np.log10(last), 6)
    weight = np.broadcast_to(line[None, :, None], p[:, kept].shape)
    wanted = numpy_loss(kind, p[:, kept], t[:, kept], seen[:, kept], weight)
    batch = {"y": jnp.asarray(t, jnp.float32)}
    if gaps:
        batch["seen.y"] = jnp.asarray(seen)
    hyper = {"loss.last_weight": jnp.float32(last)}
    total, terms = loss({"y": jnp.asarray(p, jnp.float32)}, batch, hyper)
    np.testing.assert_allclose(total, wanted, rtol=1e-5)
    assert set(terms) == {kind}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_what_is_off_is_in_no_signature(family):
    config = config_of(family)
    said = {key for key, _ in config.static_signature()} | set(config.traced())
    new = {"loss.n_cut", "loss.last_weight"} | {
        key for key in config.flat() if key.startswith("regularization.")
    }
    assert len(new) == 4 and not new & said
    for key, value, other in (
        ("loss.n_cut", 3, 4),
        ("loss.last_weight", 0.5, 0.2),
        ("regularization.activation", 0.1, 0.2),
        ("regularization.temporal_activation", 0.1, 0.2),
    ):
        on = config_of(family, **{key: value})
        assert on.static_signature() != config.static_signature()
        again = config_of(family, **{key: other})
        same = on.static_signature() == again.static_signature()
        assert same == (key != "loss.n_cut"), "traced values share a compilation"
        assert (key in on.traced()) == same


def test_a_field_that_is_off_by_its_value():
    off, on = Outer(), Outer.from_flat({"inner.size": 0.5})
    assert off.traced() == {"inner.rate": 0.1}
    assert on.traced() == {"inner.size": 0.5, "inner.rate": 0.1}
    assert not off.inner.on("size") and on.inner.on("size")
    assert off.flat()["inner.size"] == 0.0
    assert on.static_signature() == (*off.static_signature(), ("inner.size", "on"))


@pytest.mark.parametrize(
    "family",
    [rnn, *(pytest.param(f, marks=pytest.mark.slow) for f in (tcn, crnn))],
    ids=lambda f: f.__name__,
)
def test_penalties_are_of_what_the_head_reads(family):
    weights = {
        "regularization.activation": 0.5,
        "regularization.temporal_activation": 2.0,
    }
    problem = family.problem(config_of(family, **weights), DATA)
    assert problem.loss.names == ("mae", "activation", "temporal_activation")
    assert problem.residuals is None
    hyper = {k: jnp.asarray(v) for k, v in problem.values().items()}
    batch = a_batch(3, gaps=False, dtype=np.float32)
    model = problem.build(jax.random.key(0))
    outputs, _ = problem.forward(
        model,
        {"u": batch["u"]},
        key=jax.random.key(1),
        training=True,
        carry=None,
        hyper=hyper,
    )
    h = np.asarray(outputs["features"], np.float64)
    total, terms = problem.loss(outputs, batch, hyper)
    np.testing.assert_allclose(terms["activation"], (h**2).mean(), rtol=1e-5)
    restless = (np.diff(h, axis=1) ** 2).mean()
    np.testing.assert_allclose(terms["temporal_activation"], restless, rtol=1e-5)
    np.testing.assert_allclose(
        total, terms["mae"] + 0.5 * (h**2).mean() + 2.0 * restless, rtol=1e-5
    )
    np.testing.assert_array_equal(
        outputs["y"], model({"u": batch["u"]}, key=jax.random.key(1))
    )


def test_least_squares_takes_a_plain_mean_square_only():
    plain = {"loss.kind": "mse"}
    assert rnn.problem(config_of(rnn, **plain), DATA).residuals is not None
    for other in ({"loss.n_cut": 2}, {"loss.last_weight": 0.5}, {"loss.kind": "nrmse"}):
        config = config_of(rnn, **{**plain, **other})
        assert rnn.problem(config, DATA).residuals is None


@pytest.mark.parametrize("family", ["rnn", "ar", "fransys"])
def test_a_loss_that_leaves_nothing_is_refused(family):
    module = importlib.import_module(f"models.{family}")
    with pytest.raises(ConfigError, match=r"n_skip.*n_cut` 10"):
        module.Config.from_flat(
            {"data.window": 20, "loss.n_skip": 10, "loss.n_cut": 10}
        )
