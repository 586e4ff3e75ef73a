"""Residuals of exact solutions, and what is known of states before anything is learned."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.signal

from models.errors import ConfigError
from models.physics.differences import DIFFERENCES
from models.physics.excitation import Excitation
from models.physics.found import find_equation
from models.physics.residual import Residual
from models.physics.states import Signals, state_scale

WAVE = 3.0  # rad/s of the force


@pytest.fixture(scope="module")
def solution():
    """The Duffing oscillator under a smooth force, by scipy at a tolerance of 1e-13."""
    equation = find_equation("duffing")
    values = equation.values
    field = jax.jit(lambda x, u: equation.derivative(x, u, values))

    def change(t, x):
        return np.asarray(field(x, np.array([np.sin(WAVE * t)])))

    with jax.enable_x64(True):
        found = scipy.integrate.solve_ivp(
            change,
            (0.0, 1.0),
            [0.1, 0.0],
            method="DOP853",
            rtol=1e-13,
            atol=1e-13,
            dense_output=True,
        )
    return equation, found.sol


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=() if n == "diff2_central" else pytest.mark.slow)
        for n in DIFFERENCES
    ],
)
def test_the_residual_of_a_solution_vanishes_at_the_order_of_its_difference(
    name, solution
):
    equation, states = solution
    sizes = []
    with jax.enable_x64(True):
        coefficients = {k: jnp.asarray(v) for k, v in equation.values.items()}
        for rate in (100.0, 200.0):
            t = np.arange(int(rate) + 1) / rate
            residual = Residual(
                equation=equation, difference=name, rate=rate, unit=np.ones(2)
            )
            u = jnp.asarray(np.sin(WAVE * t))[None, :, None]
            x = jnp.asarray(states(t).T)[None]
            found = jax.jit(residual.__call__)(x, u, coefficients)
            sizes.append(np.sqrt(np.mean(np.square(found), axis=(0, 1))))
    slope = np.log2(sizes[0] / sizes[1])
    order = DIFFERENCES[name].accuracy
    # At the ends the constants are larger, and there are fewer of them at a higher rate.
    assert np.all((slope > order - 0.25) & (slope < order + 0.6)), slope


def test_another_equation_leaves_a_residual(solution):
    equation, states = solution
    t = np.arange(201) / 200.0
    rest = np.array([0.3, 2.0])
    sizes = {}
    for stiffness in (equation.values["stiffness"], 30.0):
        residual = Residual(
            equation=equation, difference="diff1_central", rate=200.0, unit=rest
        )
        c = {k: jnp.asarray(v) for k, v in equation.values.items()}
        u = jnp.asarray(np.sin(WAVE * t), jnp.float32)[None, :, None]
        x = jnp.asarray(states(t).T, jnp.float32)[None]
        found = residual(x, u, c | {"stiffness": jnp.asarray(stiffness)})
        # the first state's equation does not know the stiffness; the second's misses 10 y
        missed = (stiffness - equation.values["stiffness"]) * states(t)[0] / rest[1]
        np.testing.assert_allclose(found[0, :, 1], missed, atol=2e-3)
        sizes[stiffness] = np.abs(found[0, :, 0]).max()
    assert max(sizes.values()) < 2e-3


@pytest.mark.slow
def test_a_state_outside_its_range_counts_like_the_nearest_inside():
    tanks = find_equation("cascaded_tanks")
    residual = Residual(
        equation=tanks, difference="diff1_central", rate=1.0, unit=np.ones(2)
    )
    u = jnp.full((1, 5, 1), 3.0)
    c = {k: jnp.asarray(v) for k, v in tanks.values.items()}
    still = jnp.broadcast_to(jnp.array([0.0, 5.0])[None, None], (1, 5, 2))
    below = still - jnp.array([2.0, 0.0])[None, None]
    np.testing.assert_array_equal(residual(below, u, c), residual(still, u, c))


def signals(**changes):
    return Signals(
        **{
            "u_mean": (0.5,),
            "u_std": (2.0,),
            "y_mean": (1.0,),
            "y_std": (0.3,),
            "rate": 50.0,
        }
        | changes
    )


def test_rates_of_a_linear_equation_are_those_of_the_formula():
    """Uniform draws are independent: the mean square of a sum is a sum over deviations."""
    scale = state_scale("mass_spring_damper", signals())
    c = find_equation("mass_spring_damper").values
    assert (scale.mean[0], scale.std[0]) == (1.0, 0.3)
    mean = 0.5 - c["damping"] * scale.mean[1] - c["stiffness"] * 1.0
    spread = 2.0**2 + (c["damping"] * scale.std[1]) ** 2 + (c["stiffness"] * 0.3) ** 2
    velocity = np.sqrt(scale.std[1] ** 2 + scale.mean[1] ** 2)
    np.testing.assert_allclose(
        scale.rates, [velocity, np.sqrt(mean**2 + spread)], rtol=0.05
    )
    # the second derivative of the displacement is the first of the velocity
    second = state_scale("mass_spring_damper", signals(), order=2)
    np.testing.assert_allclose(second.rates[0], scale.rates[1], rtol=1e-5)


@pytest.mark.slow
def test_a_state_without_range_lies_where_a_solution_has_it():
    scale = state_scale("mass_spring_damper", signals())
    c = find_equation("mass_spring_damper").values
    drawn = Excitation(
        kind="multisine", rate=50.0, amplitude=(1.4, 1.4), frequency=(0.0, 5.0)
    ).draw(jax.random.key(0), rows=4, samples=1000, inputs=1)
    system = scipy.signal.StateSpace(
        [[0, 1], [-c["stiffness"], -c["damping"]]],
        [[0], [1]],
        np.eye(2),
        np.zeros((2, 1)),
    )
    t = np.arange(1000) / 50.0
    velocity = [
        scipy.signal.lsim(system, 0.5 + 2.0 * np.asarray(row)[:, 0], t, X0=[1.0, 0.0])[
            1
        ][250:, 1]
        for row in drawn
    ]
    assert scale.std[1] == pytest.approx(np.std(velocity), rel=1e-3)


@pytest.mark.slow
def test_declared_ranges_are_kept():
    scale = state_scale(
        "cascaded_tanks",
        signals(u_mean=(3.2,), u_std=(1.5,), y_mean=(6.0,), y_std=(4.0,), rate=0.25),
    )
    np.testing.assert_allclose(scale.mean, [6.0, 6.0])
    np.testing.assert_allclose(scale.std, [12 / np.sqrt(12), 4.0])
    np.testing.assert_allclose((scale.low, scale.high), ([0.0, 0.0], [12.0, 12.0]))


@pytest.mark.slow
def test_a_right_hand_side_that_is_not_finite_is_told_with_its_place(
    tmp_path, monkeypatch
):
    (tmp_path / "rooted.py").write_text(
        "import jax.numpy as jnp\n"
        "from models.physics.equation import Equation, Quantity\n"
        "TANK = Equation(states=(Quantity(name='level'),),\n"
        "    inputs=(Quantity(name='pump'),), outputs=(Quantity(name='level'),),\n"
        "    coefficients={}, derivative=lambda x, u, c: u - jnp.sqrt(x))\n"
        "HIDDEN = Equation(\n"
        "    states=(Quantity(name='level'), Quantity(name='heat')),\n"
        "    inputs=(Quantity(name='pump'),), outputs=(Quantity(name='level'),),\n"
        "    coefficients={},\n"
        "    derivative=lambda x, u, c: jnp.stack([u[0] - x[0], 9.0 * x[1] + u[0]]))\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"gives \[nan\] at level = -"):
        state_scale("rooted:TANK", signals(y_mean=(0.0,)))
    with pytest.raises(
        ConfigError, match="`heat` is not measured and has no"
    ) as caught:
        state_scale("rooted:HIDDEN", signals())
    assert 'Quantity(name="heat", low=…' in caught.value.hint
