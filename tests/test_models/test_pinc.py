"""The family `pinc`: exact derivatives in time, its rollout, bad input, and what it learns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import pinc
from models.data.catalog import prepare
from models.errors import ConfigError
from models.layers.initialization import initialize
from models.layers.surrogate import Surrogate
from models.physics.found import find_equation
from models.physics.solve import rk4
from models.training.protocol import Context
from tests.test_models.test_pirnn import task_data


def surrogate(*, layers=2):
    made = Surrogate(
        states=2, inputs=1, hidden_size=6, layers=layers, reach=np.array([0.3, 2.0])
    )
    initialize(made, jax.random.key(0))
    return made


def points(count=5):
    random = np.random.default_rng(0)
    shapes = (2, 1, 1)
    return [jnp.asarray(random.normal(size=(1, count, size))) for size in shapes]


def test_the_derivative_in_time_is_exact():
    """Against differences of the surrogate, and the product rule by hand for one layer."""
    with jax.enable_x64(True):
        made, (state, left, right) = surrogate(layers=1), points()
        share = jnp.linspace(0.0, 1.0, 5)[None, :, None]

        @jax.jit
        def run(share):
            now, moved = made.moving(state, left, right, share)
            return now, moved, made(state, left, right, share)

        now, moved, plain = run(share)
        step = 1e-6
        ahead, back = run(share + step)[0], run(share - step)[0]
        np.testing.assert_allclose(now, plain, rtol=1e-14)
        np.testing.assert_allclose(moved, (ahead - back) / (2 * step), rtol=1e-7)
        first = made.hidden[0]
        before = np.concatenate([state, left, right, share], axis=-1) @ np.asarray(
            first.weight[...]
        ) + np.asarray(first.bias[...])
        bent = np.tanh(before)
        weight = np.asarray(made.head.weight[...])
        value = bent @ weight + np.asarray(made.head.bias[...])
        slope = ((1 - bent**2) * np.asarray(first.weight[...])[-1]) @ weight
        reach = np.array([0.3, 2.0])
        np.testing.assert_allclose(
            moved, reach * (value + np.asarray(share) * slope), rtol=1e-12
        )


def test_the_initial_condition_holds_and_a_rollout_goes_from_end_to_end():
    made, (state, left, right) = surrogate(), points()
    nothing, whole = jnp.zeros((1, 5, 1)), jnp.ones((2, 1, 1))
    np.testing.assert_array_equal(made(state, left, right, nothing), state)
    u = jnp.concatenate([left, right], axis=0)
    path = np.asarray(jax.jit(made.rollout)(state[0, :2], u))
    assert path.shape == (2, 5, 2)
    np.testing.assert_array_equal(path[:, 0], state[0, :2])
    for k in range(4):
        after = made(path[:, k : k + 1], u[:, k : k + 1], u[:, k + 1 : k + 2], whole)
        np.testing.assert_allclose(path[:, k + 1], after[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"physics.equation": "bouc_wenn"}, "unknown equation"),
        ({"model.n_y_supervised": 3}, "must be at most the 1 outputs"),
        ({"rate": None}, "tells no sampling rate"),
        ({"data.window": 6}, "`data.window`"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    changes = dict(changes)
    rate = changes.pop("rate", 100.0)
    with pytest.raises(ConfigError, match=message):
        pinc.problem(pinc.Config.from_flat(changes), task_data(rate=rate))


@pytest.mark.parametrize("changes", [{}, {"model.start": "sample"}])
def test_dropout_that_acts_nowhere_is_refused(changes):
    with pytest.raises(ConfigError, match="acts between two layers"):
        pinc.Config.from_flat({"model.dropout": 0.1, **changes})


@pytest.mark.slow
def test_its_rollout_is_that_of_runge_and_kutta():
    """A mass on a spring from the equation alone; 100 samples, a period takes 20 of them."""
    data = prepare({"name": "mass_spring_damper", "samples": 1024}).to_json()
    config = {
        "physics.equation": "mass_spring_damper",
        "physics.trained": False,
        "model.hidden_size": 24,
        "model.encoder.hidden_size": 4,
        "weights.data": 0.0,
        "weights.residual": 0.0,
        "collocation.amplitude": 3.0,
        "data.window": 8,
        "data.batch_size": 4,
        "data.batches": 200,
        "optimizer.learning_rate": 1e-2,
        "optimizer.decay_start": 0.2,
    }
    context = Context(
        task={"name": "prediction", "known": 5, "horizon": 100},
        data=data,
        seed=0,
        epochs=20,
        objective=("loss.collocation", "minimize"),
    )
    learner = pinc.create(config, context)
    learner.fit()
    found = learner.describe("test")["states"][:, 5:]
    equation = find_equation("mass_spring_damper")
    inputs = _windows(learner, "test")[:, 5:]
    coefficients = {k: jnp.asarray(v) for k, v in equation.values.items()}
    wanted = rk4(
        lambda x, v: equation.derivative(x, v, coefficients),
        jnp.asarray(found[:, 0]),
        jnp.asarray(inputs),
        rate=20.0,
        steps=8,
    )
    wrong = np.sqrt(np.mean((found - wanted) ** 2, axis=(0, 1)))
    assert np.all(wrong < 0.05 * np.std(wanted, axis=(0, 1))), wrong


def _windows(learner, part):
    """The inputs of a part as it is scored, ``[N, T, 1]``."""
    (group,) = learner._groups(part)
    return np.asarray(group["u"])
