"""The family `fmpe`: its network against its equation, its density against quadrature."""

from __future__ import annotations

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import fmpe
from models.data.catalog import prepare
from models.errors import DataError
from models.training.protocol import Context

SMALL = {
    "model.hidden_size": 6,
    "model.blocks": 2,
    "model.frequencies": 1,
    "solver.steps": 6,
    "data.batch_size": 20,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Two parameters in a box, the second only below 2; some observations are missing."""
    path = tmp_path_factory.mktemp("own") / "simulations.hdf5"
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for part, rows in {"train": 40, "valid": 24, "test": 12}.items():
            theta = random.uniform([-1, 0], [1, 2], size=(rows, 2))
            x = np.repeat(theta[:, None], 3, axis=1) + random.normal(size=(rows, 3, 2))
            x[random.random(x.shape) < 0.2] = np.nan
            file[f"{part}/theta"], file[f"{part}/x"] = theta, x
    return path


BOUNDS = {"theta": [[-1, 1], [None, 2]]}


def learner(path, epochs=1, seed=0, **config):
    data = prepare({"path": str(path), "bounds": BOUNDS}).to_json()
    task = {"name": "posterior", "draws": 8, "scored_draws": 0}
    context = Context(
        task=task,
        data=data,
        seed=seed,
        epochs=epochs,
        objective=("loss.velocity", "minimize"),
    )
    return fmpe.create({**SMALL, **config}, context)


def model_of(made):
    """The model with its initial parameters."""
    return made.problem.build(jax.random.key(3))


def given(made, rows=5):
    random = np.random.default_rng(1)
    x = random.normal(size=(rows, 3, 2)).astype(np.float32)
    mask = random.random(x.shape) < 0.7
    return {"x": jnp.asarray(np.where(mask, x, 9.0)), "given.x": jnp.asarray(mask)}


def silu(x):
    return x / (1 + np.exp(-x))


def test_the_velocity_equals_its_equation(path):
    made = learner(path)
    model, batch = model_of(made), given(made)
    random = np.random.default_rng(2)
    point = random.normal(size=(5, 3, 2)).astype(np.float32)
    time = random.random(size=(5, 3)).astype(np.float32)

    def linear(layer, x):
        return x @ np.asarray(layer.weight[...]) + np.asarray(layer.bias[...])

    statistics = made.interface.statistics
    mean, std = statistics.mean["x"], statistics.std["x"]
    mask = np.asarray(batch["given.x"])
    x = np.where(mask, (np.asarray(batch["x"]) - mean) / std, 0.0).reshape(5, -1)
    seen = np.concatenate([x, mask.reshape(5, -1)], axis=1)
    context = linear(model.context, silu(linear(model.read, seen)))
    t = time[..., None]
    when = np.concatenate([t, np.cos(np.pi * t), np.sin(np.pi * t)], axis=-1)
    condition = silu(linear(model.when, when) + context[:, None])
    hidden = linear(model.place, point) + condition
    for block in model.blocks:
        inner = np.concatenate([silu(hidden), condition], axis=-1)
        hidden = hidden + linear(block.second, silu(linear(block.first, inner)))
    wanted = linear(model.head, silu(hidden))
    found = model.velocity(jnp.asarray(point), jnp.asarray(time), model.encode(batch))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_what_is_missing_does_not_matter_and_that_it_is_does(path):
    made = learner(path)
    model, batch = model_of(made), given(made)
    seen = np.asarray(batch["given.x"])
    other = batch | {"x": jnp.where(seen, batch["x"], -3.0)}
    np.testing.assert_array_equal(model.encode(batch), model.encode(other))
    nothing = batch | {"given.x": jnp.zeros_like(batch["given.x"])}
    assert np.isfinite(model.encode(nothing)).all()
    whole = other | {"given.x": jnp.ones_like(batch["given.x"])}
    assert not np.isclose(model.encode(whole), model.encode(other)).all()


def test_the_density_of_draws_is_one_over_the_box(path):
    """An initial network, its weights made larger, over all that the limits allow."""
    made = learner(path)
    model = model_of(made)
    model.head.weight.set_value(4 * model.head.weight[...])
    one = {name: values[:1] for name, values in given(made).items()}
    first = (np.arange(30) + 0.5) / 15 - 1
    second = 2 - np.geomspace(1e-3, 60, 81)
    cells = np.stack(np.meshgrid(first, (second[1:] + second[:-1]) / 2), axis=-1)
    points = jnp.asarray(cells.reshape(-1, 2), jnp.float32)
    repeated = {n: jnp.repeat(a, len(points), axis=0) for n, a in one.items()}
    found = np.exp(np.asarray(jax.jit(model.log_prob)(points, repeated)))
    area = np.repeat(-np.diff(second) / 15, 30)
    assert np.sum(found * area) == pytest.approx(1.0, abs=0.02)
    drawn = model.sample(
        jax.random.normal(jax.random.key(0), (1, 1000, 2)), model.encode(one)
    )
    drawn = np.asarray(drawn)[0]
    assert (np.abs(drawn[:, 0]) <= 1).all() and (drawn[:, 1] <= 2).all()
    for right, above in ((True, True), (True, False), (False, True)):
        inside = (cells[..., 0] > 0.2) == right, (cells[..., 1] > 0.5) == above
        share = np.sum((found * area)[np.logical_and(*inside).reshape(-1)])
        ours = ((drawn[:, 0] > 0.2) == right) & ((drawn[:, 1] > 0.5) == above)
        assert ours.mean() == pytest.approx(share, abs=0.05)


def test_what_is_selected_by_does_not_depend_on_how_a_trial_trains(path):
    """The loss on frozen noise, at stratified times, of equal networks is equal."""
    plain = learner(path)
    values = plain.evaluate("valid")
    assert plain.evaluate("valid") == values
    for changed in (
        {"matching.sigma_min": 0.2},
        {"matching.times": "power", "matching.power": 3.0},
        {"matching.times": "logit_normal", "matching.location": 1.0},
    ):
        found = learner(path, **changed).evaluate("valid")
        assert found == pytest.approx(values, rel=1e-4)
    trained, same = (
        learner(path, **{"matching.sigma_min": s}).fit()[0] for s in (0.2, 0.0)
    )
    assert trained.train["loss"] != same.train["loss"]


def test_rows_with_numbers_are_drawn_for_by_themselves(path):
    made = learner(path)
    x = np.zeros((3, 3, 2))
    batch = {"x": x, "seen.x": np.ones(x.shape, bool)}
    (same, again, _), _ = (made.outputs(batch)[0]["theta"], None)
    np.testing.assert_allclose(same, again, rtol=1e-5)
    numbers = {"number": np.array([5, 6, 5], np.int32)}
    first, second, third = made.outputs(batch | numbers)[0]["theta"]
    np.testing.assert_allclose(first, third, rtol=1e-5)
    assert not np.isclose(first, second).any()


def test_simulations_without_their_parameters_are_refused(path, tmp_path):
    broken = tmp_path / "broken.hdf5"
    broken.write_bytes(path.read_bytes())
    with h5py.File(broken, "r+") as file:
        file["train/theta"][3, 1] = np.nan
    with pytest.raises(DataError, match="values of `theta` in `broken` are missing"):
        learner(broken)
