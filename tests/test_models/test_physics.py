"""Equations against diffrax, scipy and their own bounds; one's own from a file."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import sys
from functools import lru_cache

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from models.errors import ConfigError
from models.physics.coefficients import Coefficients
from models.physics.equation import Coefficient, Equation, Quantity, root
from models.physics.found import content_of, find_equation, names
from models.physics.solve import rk4

SHIPPED = names()
# Samples per second, and an input of the size that each is made for.
SETTINGS = {
    "bouc_wen": (750.0, lambda t: 120 * np.sin(2 * np.pi * 20 * t)),
    "cascaded_tanks": (0.25, lambda t: 3.2 + 2 * np.sin(2 * np.pi * t / 300)),
    "duffing": (20.0, lambda t: 8 * np.sin(2 * np.pi * t / 1.1)),
    "low_pass": (100.0, lambda t: 1 + np.sin(2 * np.pi * 5 * t)),
    "mass_spring_damper": (20.0, lambda t: 4 * np.sin(2 * np.pi * t)),
    "real_tanks": (0.25, lambda t: 3.2 + 2 * np.sin(2 * np.pi * t / 300)),
}
# Compiling takes longer than all else: the ones with kinks every day, the others at night.
QUICK = [
    pytest.param(n, marks=() if n == "cascaded_tanks" else pytest.mark.slow)
    for n in SHIPPED
]


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


FINE = 64  # steps of the oracle from sample to sample


@lru_cache
def case(name, samples=30):
    """An equation, its input, its rate, and diffrax's states ``[FINE (T - 1) + 1, S]``.

    The input is a straight line between samples; time runs in samples, so that every step
    ends where one of them lies.
    """
    rate, wave = SETTINGS[name]
    equation, u = find_equation(name), wave(np.arange(samples) / rate)
    values, levels = equation.values, jnp.asarray(u)

    def derivative(t, x, _):
        left = jnp.clip(jnp.floor(t).astype(jnp.int32), 0, samples - 2)
        level = levels[left] + (t - left.astype(t.dtype)) * (
            levels[left + 1] - levels[left]
        )
        return equation.derivative(x, level[None], values) / rate

    start = [4.0, 9.0] if "tanks" in name else [0.0] * len(equation.states)
    states = diffrax.diffeqsolve(
        diffrax.ODETerm(derivative),
        diffrax.Dopri5(),
        t0=0.0,
        t1=samples - 1.0,
        dt0=1.0 / FINE,
        y0=jnp.asarray(start),
        saveat=diffrax.SaveAt(
            ts=jnp.asarray(np.linspace(0.0, samples - 1.0, (samples - 1) * FINE + 1))
        ),
        max_steps=None,
        adjoint=diffrax.DirectAdjoint(),
    ).ys
    return equation, u[:, None], rate, np.asarray(states)


def test_every_shipped_equation_has_a_case():
    assert set(SHIPPED) == set(SETTINGS)


@pytest.mark.parametrize("name", QUICK)
def test_rk4_equals_diffrax(name, double_precision):
    equation, u, rate, exact = case(name)
    values, exact = equation.values, exact[::FINE]

    def states(steps):
        return np.asarray(
            rk4(
                lambda x, v: equation.derivative(x, v, values),
                jnp.asarray(exact[:1]),
                jnp.asarray(u)[None],
                rate=rate,
                steps=steps,
            )[0]
        )

    size = np.abs(exact).max(axis=0)
    errors = [np.abs((states(n) - exact) / size).max() for n in (1, 4)]
    # Levels have kinks at the brim, hysteresis where the motion turns: there the order
    # is lost, elsewhere four times the steps are 4⁴ times as exact.
    smooth = name not in ("cascaded_tanks", "real_tanks", "bouc_wen")
    assert errors[1] < (1e-4 if smooth else 1e-3)
    assert errors[1] < errors[0] / (100 if smooth else 4)


@pytest.mark.parametrize("name", QUICK)
def test_right_hand_side_equals_differences_of_the_solution(name, double_precision):
    equation, u, rate, states = case(name)
    slope = (states[2:] - states[:-2]) * (rate * FINE / 2)
    # The middle of every interval, away from the kinks of the input.
    inner = slice(FINE // 2 - 1, None, FINE)
    middle = jnp.asarray(states[1:-1][inner])
    values = equation.values
    right = jax.vmap(lambda x, v: equation.derivative(x, v, values))(
        middle, jnp.asarray((u[1:] + u[:-1]) / 2)
    )
    np.testing.assert_allclose(
        slope[inner], right, rtol=0, atol=2e-3 * np.abs(right).max(0).max()
    )


def test_an_input_that_is_held_equals_scipy(double_precision):
    rate, random = 2.0, np.random.default_rng(0)
    u = random.normal(size=(1, 20, 1))
    field = lambda x, v: jnp.stack([x[1], v[0] - 0.5 * x[1] - 3 * x[0]])  # noqa: E731
    found = rk4(
        field, jnp.zeros((1, 2)), jnp.asarray(u), rate=rate, steps=8, between="held"
    )[0]
    state, wanted = np.zeros(2), [np.zeros(2)]
    for level in u[0, :-1, 0]:
        state = scipy.integrate.solve_ivp(
            lambda t, x, level=level: [x[1], level - 0.5 * x[1] - 3 * x[0]],
            (0, 1 / rate),
            state,
            rtol=1e-10,
            atol=1e-12,
        ).y[:, -1]
        wanted.append(state)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_root_has_a_slope_everywhere():
    values, slope = jax.vmap(jax.value_and_grad(root))(jnp.array([0.0, 4.0]))
    np.testing.assert_allclose(values, [0, 2])
    np.testing.assert_allclose(slope, [0, 0.25])


TANK = Equation(
    states=(Quantity(name="level", unit="cm", low=0.0, high=10.0),),
    inputs=(Quantity(name="pump", unit="V"),),
    outputs=(Quantity(name="level", unit="cm"),),
    coefficients={
        "inflow": Coefficient(value=0.04, low=0.01, high=0.2, trained=True),
        "outflow": Coefficient(value=0.3, low=-1.0, high=1.0, trained=True),
        "area": Coefficient(value=2.0),
    },
    derivative=lambda x, u, c: (c["inflow"] * u - c["outflow"] * root(x)) / c["area"],
)


def test_coefficients_begin_as_stated_and_stay_in_their_bounds():
    model = Coefficients(TANK)
    assert {k: float(v) for k, v in model().items()} == pytest.approx(
        {"inflow": 0.04, "outflow": 0.3, "area": 2.0}
    )
    for far in (-50.0, 50.0):
        model.shift.set_value(jnp.full((2,), far))
        for name, value in model.trained().items():
            bounds = TANK.coefficients[name]
            assert bounds.low - 1e-6 <= value <= bounds.high + 1e-6
    model.scatter(jax.random.key(0), jnp.asarray(0.5))
    first = {k: float(v) for k, v in model.trained().items()}
    model.scatter(jax.random.key(1), jnp.asarray(0.5))
    assert all(first[k] != float(v) for k, v in model.trained().items())


def test_positive_coefficients_are_searched_by_factors():
    """A step of the parameter multiplies: the middle of 0.01 and 1 is 0.1."""
    wide = {"k": Coefficient(value=0.1, low=0.01, high=1.0, trained=True)}
    model = Coefficients(dataclasses.replace(TANK, coefficients=wide))
    assert float(model.stated[...][0]) == pytest.approx(0, abs=1e-6)


def test_an_equation_without_trained_coefficients_has_no_parameter():
    plain = {
        k: dataclasses.replace(c, trained=False) for k, c in TANK.coefficients.items()
    }
    model = Coefficients(dataclasses.replace(TANK, coefficients=plain))
    assert model.trained() == {} and set(model()) == set(plain)


def changed(**fields):
    return dataclasses.replace(TANK, **fields)


def with_outflow(**fields):
    new = dataclasses.replace(TANK.coefficients["outflow"], **fields)
    return changed(coefficients={**TANK.coefficients, "outflow": new})


WRONG = [
    (changed(derivative=lambda x, u, c: jnp.zeros(2)), r"must give \[1\], got \[2\]"),
    (changed(derivative=lambda x, u, c: 1.0 * u[0]), r"must give \[1\], got \[\]"),
    (changed(derivative=lambda x, u, c: x[3] + math.sqrt(x[0])), "cannot be evaluated"),
    (changed(derivative=lambda x, u, c: c["inflw"] * u), "coefficient 'inflw'.*inflow"),
    (changed(measured=lambda x, u, c: jnp.zeros(3)), r"`measured`.*\[1\], got \[3\]"),
    (changed(states=()), "at least one of its `states`"),
    (changed(inputs=TANK.inputs * 2), "`inputs` .* differ by name"),
    (with_outflow(value=1.0), "`outflow` is trained from 1, .* bounds -1 and 1"),
    (with_outflow(high=math.inf), "both bounds must be finite"),
    (with_outflow(value=7.0, trained=False), "`outflow` must lie between .* got 7"),
    (with_outflow(value=math.nan), "`outflow` must be finite"),
]


@pytest.mark.parametrize("equation, message", WRONG)
def test_a_wrong_equation_is_refused(equation, message):
    with pytest.raises(ConfigError) as caught:
        equation.check(where="mine:TANK")
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_channels_and_ranges_are_checked():
    TANK.check(inputs=1, outputs=1)
    with pytest.raises(ConfigError, match="has 1 inputs, but the data has 2"):
        TANK.check(inputs=2)
    with pytest.raises(ConfigError, match="`low` below `high`"):
        Quantity(name="x", low=1.0, high=1.0)
    bad = changed(derivative=lambda x, u, c: jnp.log(x - 5))
    bad.check()
    with pytest.raises(ConfigError, match=r"gives \[nan\] at level = 1 cm, pump = 2 V"):
        bad.check_finite([1.0], [2.0])
    with pytest.raises(ConfigError, match="no coefficient `outflw`"):
        TANK.given(outflw=1.0)
    with pytest.raises(ConfigError, match="`outflow` is trained from 2"):
        TANK.given(outflow=2.0)
    assert TANK.given(outflow=0.5).values["outflow"] == 0.5


OWN = """
import jax.numpy as jnp
from models.physics.equation import Coefficient, Equation, Quantity

LAG = Equation(
    states=(Quantity(name="y"),), inputs=(Quantity(name="u"),), outputs=(Quantity(name="y"),),
    coefficients={"rate": Coefficient(value=RATE, low=0.1, high=10.0, trained=True)},
    derivative=lambda x, u, c: c["rate"] * (u - x),
)
"""


def test_ones_own_equation_comes_from_a_file_and_its_changes_are_noticed(
    tmp_path, monkeypatch
):
    """In the very second too, by as many letters, where Python keeps bytecode."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my_lag.py"
    file.write_text(OWN.replace("RATE", "2.0"))
    moment = file.stat()
    assert find_equation("my_lag:LAG").values == {"rate": 2.0}
    before = content_of("my_lag:LAG")
    file.write_text(OWN.replace("RATE", "3.0"))
    os.utime(file, ns=(moment.st_atime_ns, moment.st_mtime_ns))
    assert find_equation("my_lag:LAG").values == {"rate": 3.0}
    assert content_of("my_lag:LAG") != before


def test_ones_own_equation_beside_a_study_is_on_the_search_path(tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text(OWN.replace("RATE", "2.0"))
    monkeypatch.syspath_prepend(tmp_path)
    assert find_equation("beside:LAG").values == {"rate": 2.0}


@pytest.mark.parametrize(
    "reference, message",
    [
        ("cascaded_tank", "did you mean `cascaded_tanks`"),
        ("nowhere:TANKS", "no file `nowhere.py`"),
        ("broken:LAG", "broken.py, line 2: ZeroDivisionError"),
        ("other:LAG", "must name an `Equation`, got nothing"),
        ("other:X", "must name an `Equation`, got a int"),
        ("other:", "`my_file:NAME`"),
    ],
)
def test_a_name_that_leads_nowhere(reference, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("x = 1\nx / 0\n")
    (tmp_path / "other.py").write_text("X = 1\n")
    with pytest.raises(ConfigError) as caught:
        find_equation(reference)
    assert message in str(caught.value)
