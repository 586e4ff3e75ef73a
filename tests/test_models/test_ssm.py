"""The family `ssm`: realisation, linear start, recursion and sensitivities against others' code."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from flax import nnx

from models.data.statistics import Statistics
from models.layers.linear_approximation import best_linear_approximation
from models.layers.realization import StateSpace, kung, observer_gain
from models.layers.state_space import Known, NonlinearStateSpace
from models.ssm import SSM, Model
from tests.test_models.task_data import sequences

POLES = np.array([0.9 * np.exp(0.7j), 0.9 * np.exp(-0.7j), 0.5])


def system(*, inputs=2, outputs=2, poles=POLES):
    """A known system with three states, in scrambled coordinates."""
    random = np.random.default_rng(3)
    a = np.diag(poles).astype(complex)
    a[:2, :2] = [[poles[0].real, poles[0].imag], [-poles[0].imag, poles[0].real]]
    turn = random.normal(size=(3, 3))
    return StateSpace(
        a=turn @ a.real @ np.linalg.inv(turn),
        b=turn @ random.normal(size=(3, inputs)),
        c=random.normal(size=(outputs, 3)) @ np.linalg.inv(turn),
        d=random.normal(size=(outputs, inputs)),
    )


def scipy_outputs(known, u):
    discrete = scipy.signal.dlti(known.a, known.b, known.c, known.d, dt=1.0)
    return scipy.signal.dlsim(discrete, u)[1]


def test_linear_simulation_is_scipys():
    known, u = system(), np.random.default_rng(0).normal(size=(60, 2))
    np.testing.assert_allclose(known.outputs(u), scipy_outputs(known, u), rtol=1e-10)
    turned = known.turned(np.random.default_rng(1).normal(size=(3, 3)))
    np.testing.assert_allclose(turned.outputs(u), known.outputs(u), rtol=1e-8)


def test_kung_realises_a_known_system():
    known = system()
    discrete = scipy.signal.dlti(known.a, known.b, known.c, known.d, dt=1.0)
    response = np.stack(scipy.signal.dimpulse(discrete, n=80)[1], axis=-1)
    found = kung(response, 3)
    u = np.random.default_rng(0).normal(size=(60, 2))
    np.testing.assert_allclose(
        np.sort_complex(np.linalg.eigvals(found.a)), np.sort_complex(POLES), rtol=1e-8
    )
    np.testing.assert_allclose(found.outputs(u), known.outputs(u), atol=1e-8)


def test_poles_come_inside():
    outside = np.array([1.25 * np.exp(0.7j), 1.25 * np.exp(-0.7j), 1.0])
    known = system(poles=outside)
    inside = np.linalg.eigvals(known.stable(0.95).a)
    wanted = np.where(np.abs(outside) > 1, outside / 1.25**2, 0.95)
    np.testing.assert_allclose(
        np.sort_complex(inside), np.sort_complex(wanted), rtol=1e-8
    )
    kept = np.linalg.eigvals(known.stable(1.0).a)
    assert np.isclose(np.abs(kept - 1).min(), 0, atol=1e-8), "the integrator is gone"
    assert system().stable(0.95).a is not None


def test_observer_is_the_stationary_filter():
    known, noise = system(), np.eye(2) / 10
    spread = np.eye(3)
    for _ in range(500):  # the Riccati recursion, step by step
        innovation = known.c @ spread @ known.c.T + noise
        gain = known.a @ spread @ known.c.T @ np.linalg.inv(innovation)
        spread = known.a @ spread @ known.a.T + np.eye(3) - gain @ innovation @ gain.T
    np.testing.assert_allclose(observer_gain(known, disturbance=10.0), gain, rtol=1e-6)


def test_a_linear_system_is_recovered_exactly():
    known, random = system(), np.random.default_rng(0)
    train = []
    for length in (900, 700):
        u = random.normal(size=(length, 2))
        train.append((u, known.outputs(u) + [0.5, -2.0]))
    u = random.normal(size=(300, 2))
    wanted = known.outputs(u) + [0.5, -2.0]
    u_gaps, y_gaps = train[0][0].copy(), train[0][1].copy()
    u_gaps[400], y_gaps[200] = np.nan, np.nan
    gaps = [(u_gaps, y_gaps), train[1]]
    for records in (train, gaps):
        model = best_linear_approximation(
            records, [(u, wanted)], order=3, extra=2, ridge=1e-10, radius=0.9995
        )
        found = model.system.outputs(u) + model.constant
        tolerance = (
            1e-5 if records is train else 0.2
        )  # a gap moves the states behind it
        np.testing.assert_allclose(found, wanted, atol=tolerance)
    model = best_linear_approximation(
        train, [(u, wanted)], order=3, extra=2, ridge=1e-10, radius=0.9995
    )
    assert model.system.order == 5
    states = np.concatenate([model.system.states(u) for u, _ in train])
    np.testing.assert_allclose(states.std(axis=0), 1.0, rtol=1e-6)


def space_of(*, known, inputs=2, outputs=2, seed=0):
    space = NonlinearStateSpace(
        states=3, inputs=inputs, outputs=outputs, hidden=4, known=known
    )
    random = np.random.default_rng(seed)
    params = [space.transition, space.output, space.hidden]
    for parameter in params + ([space.gain] if known else []):
        shape = parameter[...].shape
        parameter.set_value(jnp.asarray(0.4 * random.normal(size=shape), float))
    return space


def signals(*, known):
    random = np.random.default_rng(5)
    u = jnp.asarray(random.normal(size=(2, 9, 2)), float)
    if not known:
        return u, None
    mask = np.arange(9)[None, :, None] < np.array([4, 6])[:, None, None]
    mask = mask & (np.arange(9) != 2)[None, :, None]  # a gap among the known ones
    y = np.where(mask, random.normal(size=(2, 9, 2)), np.nan)
    return u, Known(jnp.asarray(y, float), jnp.asarray(mask))


@pytest.mark.parametrize("known", [False, True])
def test_is_its_equation(known):
    space = space_of(known=known)
    u, given = signals(known=known)
    run = space(u, given)
    m, k, n = (
        np.asarray(p[...]) for p in (space.transition, space.output, space.hidden)
    )
    for b in range(2):
        x = np.zeros(3)
        for t in range(9):
            now = np.asarray(u[b, t])
            h = np.tanh(n @ np.concatenate([x, now, [1]]))
            y = k @ np.concatenate([x, now, h, [1]])
            np.testing.assert_allclose(run.outputs[b, t], y, rtol=1e-4, atol=1e-5)
            x = m @ np.concatenate([x, now, h])
            if known and given.mask[b, t, 0]:
                x = x + np.asarray(space.gain[...]) @ (np.asarray(given.y[b, t]) - y)


@pytest.mark.parametrize("known", [False, True])
def test_sensitivities_are_the_jacobian(known):
    with jax.enable_x64(True):
        space = space_of(known=known)
        u, given = signals(known=known)
        graph, params, rest = nnx.split(space, nnx.Param, ...)

        def outputs(params):
            return nnx.merge(graph, params, rest)(u, given).outputs

        wanted = nnx.to_pure_dict(jax.jit(jax.jacfwd(outputs))(params))
        y, found = jax.jit(lambda: space.sensitivities(u, given))()
        np.testing.assert_allclose(y, outputs(params), rtol=1e-12)
        assert set(found) == set(wanted) == {*found}
        for name, values in found.items():
            assert np.abs(values).max() > 0
            np.testing.assert_allclose(values, wanted[name], rtol=1e-9, atol=1e-12)


def test_begins_at_the_linear_approximation_in_physical_units():
    statistics = Statistics(
        mean={"u": np.array([1.0, -2.0]), "y": np.array([0.5])},
        std={"u": np.array([2.0, 0.5]), "y": np.array([3.0])},
        count=100,
    )
    config = SSM(order=3, hidden_size=4, extra_states=1)
    model = Model(config=config, data=sequences(statistics), key=jax.random.key(0))
    known, random = system(outputs=1), np.random.default_rng(0)
    u = random.normal(size=(700, 2))
    records = [(u, known.outputs(u))]
    start = best_linear_approximation(
        records, records, order=3, extra=1, ridge=1e-10, radius=0.9995
    )
    model.begin(start)
    space = model.space
    n, inputs, _ = space.sizes
    for parameter in (space.transition, space.output):  # the hidden layer, silent
        end = -1 if parameter is space.output else None
        silent = parameter[...].at[:, n + inputs : end].set(0.0)
        parameter.set_value(silent)
    physical = u[:50] * [2.0, 0.5] + [1.0, -2.0]
    found = model({"u": jnp.asarray(physical[None], jnp.float32)})[0]
    wanted = scipy_outputs(known, u[:50]) * 3.0 + 0.5
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())
