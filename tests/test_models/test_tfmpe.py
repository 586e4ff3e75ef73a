"""The family `tfmpe`: who reads whom, densities, and the two schemes."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import tfmpe
from models.bottom_up import FRESH, NOW, PRIOR_DRAWS, TRUTH, prior_draws
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.errors import ConfigError, UserError
from models.flows import POINT, TIME, VELOCITY
from models.tasks import task_of
from models.tasks.base import describe
from models.transforms.batch import apply_transforms

SITES = {"name": "posterior", "draws": 4, "local": "local", "inputs": "f"}
TINY = {
    "model.size": 8,
    "model.blocks": 1,
    "model.heads": 2,
    "model.frequencies": 2,
    "solver.steps": 4,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One to three sites, three observations of each, whose errors are known."""
    task = task_of(SITES)
    dataset = open_dataset(prepare(task.write_sites(tmp_path_factory.mktemp("sites"))))
    found = describe(task, dataset)
    (batch,) = task.groups(dataset.part("valid"))
    return found, {name: jnp.asarray(a) for name, a in batch.items()}


def made(data, **changes):
    config = tfmpe.Config.from_flat({**TINY, **changes})
    return tfmpe.Model(config=config, data=data, key=jax.random.key(0))


def rows_of(batch, count):
    """Rows that have so many sites."""
    sites = np.asarray(batch["seen.local"])[:, :, 0].sum(axis=1)
    (rows,) = np.nonzero(sites == count)
    return {name: array[rows] for name, array in batch.items()}


@pytest.mark.parametrize(
    "tokens", ["site", pytest.param("each", marks=pytest.mark.slow)]
)
def test_sites_are_independent_given_what_they_share(data, tokens):
    """In one layer: another site's observations reach the shared parameter and no other site."""
    described, batch = data
    batch = rows_of(batch, 3)
    model = made(described, **{"seen.tokens": tokens, "model.mask": "independence"})
    moved = {**batch, "x": batch["x"].at[:, 1].add(1.0)}
    points = jax.random.normal(jax.random.key(1), (len(batch["x"]), 1, 4))
    graph, state = nnx.split(model)

    @jax.jit
    def velocity(batch):
        model = nnx.merge(graph, state)
        context = model.encode(described.task.given(batch, described))
        return model.velocity(points, jnp.full(points.shape[:2], 0.3), context)[:, 0]

    changed = np.abs(velocity(moved) - velocity(batch)).max(axis=0)
    assert (changed[[1, 3]] == 0).all() and (changed[[0, 2]] > 1e-4).all()


@pytest.mark.slow
def test_density_is_one_in_all_and_missing_sites_do_not_count(data):
    described, batch = data
    one = {name: array[:1] for name, array in rows_of(batch, 1).items()}
    model, size = made(described), 25
    axis = np.linspace(-5, 5, size, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    values = np.concatenate([grid, np.zeros_like(grid)], axis=-1)
    given = described.task.given(one, described)
    many = {k: jnp.repeat(a, len(grid) + 1, axis=0) for k, a in given.items()}
    values = np.concatenate([values, values[300:301]])
    values[-1, 2:] = 7.0
    graph, state = nnx.split(model)
    found = np.asarray(
        jax.jit(lambda v: nnx.merge(graph, state).log_prob(v, many))(
            jnp.asarray(values)
        )
    )
    assert np.exp(found[:-1]).sum() * (10 / (size - 1)) ** 2 == pytest.approx(
        1, abs=0.02
    )
    assert found[-1] == pytest.approx(found[300], abs=1e-5)


def drawn(config, described, batch, now):
    """What a row's targets are, as the engine draws them."""
    (transform,) = tfmpe.problem(config, described).targets
    values = {**config.traced(), "matching.training": 1.0, NOW: now}
    hyper = {name: jnp.asarray(value) for name, value in values.items()}
    key, step = jax.random.key(3), jnp.zeros((), jnp.int32)
    return apply_transforms((transform,), key=key, batch=batch, step=step, hyper=hyper)


def test_bottom_up_draws_parameters_from_the_prior(tmp_path, monkeypatch):
    monkeypatch.setenv("HPO_CACHE", str(tmp_path))
    request = {"name": "hierarchical_gaussian", "samples": 120, "sites": 4, "fewest": 2}
    dataset, task = open_dataset(prepare(request)), task_of(SITES)
    described = describe(task, dataset)
    (batch,) = task.groups(dataset.part("train"))
    batch = {name: jnp.asarray(a) for name, a in batch.items()}
    direct = tfmpe.Config.from_flat(TINY)
    bottom_up = tfmpe.Config.from_flat({**TINY, "scheme.kind": "bottom_up"})
    plain = drawn(direct, described, batch, 0.0)
    before, after = (drawn(bottom_up, described, batch, now) for now in (0.0, 1.0))
    for name in (
        POINT,
        TIME,
        VELOCITY,
    ):  # scored on the same paths, whatever the scheme
        np.testing.assert_array_equal(before[name], plain[name])
    np.testing.assert_array_equal(before[TRUTH], before[FRESH])
    np.testing.assert_array_equal(after[TRUTH], before[TRUTH])
    assert not np.array_equal(after[POINT], plain[POINT])
    fresh = np.asarray(task.vector(after))
    known = np.asarray(task.vector(batch))
    assert not set(fresh[:, 0].tolist()) & set(known[:, 0].tolist())
    apart = fresh[:, 1:] - fresh[:, :1]  # around the shared mean, as the prior says
    assert apart.std() == pytest.approx(0.5, rel=0.2)
    np.testing.assert_array_equal(after["seen.local"], batch["seen.local"])


def test_the_prior_is_drawn_by_seeds_of_no_data(tmp_path, monkeypatch):
    """Draws of the bank are not the parameters that the rows were simulated from."""
    monkeypatch.setenv("HPO_CACHE", str(tmp_path / "cache"))
    request = {"name": "hierarchical_gaussian", "samples": 120, "sites": 4}
    dataset, task = open_dataset(prepare(request)), task_of(SITES)
    bank = prior_draws(describe(task, dataset))
    assert bank.shape == (PRIOR_DRAWS, 5)
    for part in ("train", "valid", "test"):
        theta = np.float32(dataset.part(part).load(0)["theta"][:, 0])
        assert not np.isin(theta, bank[:, 0]).any(), part


def test_a_file_of_a_person_keeps_its_own_prior(tmp_path):
    """Also where its name and its shapes are those of a simulator."""
    path = Path(task_of(SITES).write_sites(tmp_path)["path"])
    own = path.rename(path.with_name("hierarchical_gaussian.hdf5"))
    dataset, task = open_dataset(prepare(str(own))), task_of(SITES)
    assert dataset.reference.name == "hierarchical_gaussian"
    assert prior_draws(describe(task, dataset)) is None


def test_the_error_of_a_surrogate_is_that_of_sites_there_are(data):
    described, batch = data
    config = tfmpe.Config.from_flat({**TINY, "scheme.kind": "bottom_up"})
    there = np.asarray(batch["seen.local"])[:, :, 0].reshape(-1)
    assert 0.2 < there.mean() < 0.9
    shape = (len(batch["x"]), 1, 4)
    outputs = {"velocity": jnp.zeros(shape), "surrogate": jnp.where(there, 2.0, 0.0)}
    loss = tfmpe.problem(config, described).loss
    held = batch | {VELOCITY: jnp.zeros(shape)}
    _, terms = loss(outputs, held, {})
    assert float(terms["surrogate"]) == pytest.approx(2.0)
    assert int(loss.sizes(held, {}, samples=1)["surrogate"]) == there.sum()


def test_sites_change_places_together_and_in_training_only(data):
    described, batch = data
    problem = tfmpe.problem(tfmpe.Config.from_flat(TINY), described)
    (shuffle,) = problem.augmentations
    other = shuffle(jax.random.key(1), batch, None)
    order = np.array(jax.random.permutation(jax.random.key(1), 3))
    assert (order != np.arange(3)).any()
    for name in batch:
        wanted = batch[name] if name == "theta" else batch[name][:, order]
        np.testing.assert_array_equal(other[name], wanted)
    assert "seen.local" in batch and not problem.transforms
    still = tfmpe.Config.from_flat({**TINY, "seen.shuffled": False})
    assert tfmpe.problem(still, described).augmentations == ()


@pytest.mark.slow
def test_a_surrogate_draws_site_by_site_and_keeps_gaps(data):
    described, batch = data
    batch = rows_of(batch, 2)
    model = made(described, **{"scheme.kind": "bottom_up", "scheme.size": 8})
    context = model.encode(described.task.given(batch, described))
    vector = jax.random.normal(jax.random.key(2), (len(batch["x"]), 4))
    graph, state = nnx.split(model)

    @jax.jit
    def values(vector):
        surrogate = nnx.merge(graph, state).surrogate
        return surrogate.drawn(vector, context, key=jax.random.key(4)).values

    first, second = values(vector), values(vector.at[:, 2].add(1.0))
    changed = np.abs(second - first).max(axis=(0, 2, 3))
    assert changed[0] == 0 and changed[1] > 1e-4 and changed[2] == 0
    assert (np.asarray(first)[:, 2] == 0).all() and first.shape == batch["x"].shape


def test_what_does_not_fit(data):
    described, _ = data
    with pytest.raises(ConfigError, match="multiple of `model.heads`"):
        tfmpe.Config.from_flat({"model.size": 10, "model.heads": 4})
    more = {"x": np.zeros((4, 3, 1)), "f": np.ones((4, 3, 1))}
    with pytest.raises(
        UserError, match=r"must be \[3, 3, 1\].*\n.*larger than all rows"
    ):
        described.batch(more)
