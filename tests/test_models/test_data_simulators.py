"""Simulators against scipy: closed forms, analog filters and another integrator."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.integrate
import scipy.signal

from models.data.simulators import circuit
from models.data.simulators.excitation import multisine, steps
from models.data.simulators.odes import Oscillator, Tanks
from models.data.simulators.systems import SYSTEMS

RATE = 20.0


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def test_mass_spring_damper_equals_the_exact_solution():
    """Linear system and straight lines between samples: `lsim` is exact."""
    force = 4 * steps(np.random.default_rng(0), 400, shortest=5, longest=30)
    system = Oscillator(mass=2.0, damping=0.7, stiffness=30.0)
    found = system.simulate(force, rate=RATE)
    exact = scipy.signal.lsim(([1], [2.0, 0.7, 30.0]), force, np.arange(400) / RATE)[1]
    np.testing.assert_allclose(found, exact, atol=1e-8 * np.abs(exact).max())


def test_a_constant_force_gives_the_textbook_answer():
    system = Oscillator(mass=1.0, damping=0.8, stiffness=40.0)
    t = np.arange(200) / RATE
    decay, frequency = 0.4, np.sqrt(40 - 0.4**2)
    wave = np.cos(frequency * t) + decay / frequency * np.sin(frequency * t)
    expected = (1 - np.exp(-decay * t) * wave) / 40
    np.testing.assert_allclose(
        system.simulate(np.ones(200), rate=RATE), expected, atol=1e-10
    )


def test_duffing_is_linear_for_small_and_hardening_for_large_forces():
    force = multisine(np.random.default_rng(1), 400, low=0, high=0.1)
    linear, cubic = Oscillator(), Oscillator(cubic=400.0)
    small = cubic.simulate(1e-4 * force, rate=RATE) * 1e4
    reference = linear.simulate(force, rate=RATE)
    np.testing.assert_allclose(small, reference, atol=1e-6 * reference.std())
    large = cubic.simulate(8 * force, rate=RATE) / 8
    assert large.std() < 0.8 * reference.std()


def test_duffing_equals_another_integrator():
    force = 8 * multisine(np.random.default_rng(2), 200, low=0, high=0.1)
    t = np.arange(200) / RATE
    system = Oscillator(cubic=400.0)

    def field(time, state):
        level = np.interp(time, t, force)
        return [state[1], level - 0.8 * state[1] - 40 * state[0] - 400 * state[0] ** 3]

    other = scipy.integrate.solve_ivp(
        field, (0, t[-1]), [0, 0], "LSODA", t, rtol=1e-10, atol=1e-12, max_step=0.01
    )
    np.testing.assert_allclose(system.simulate(force, rate=RATE), other.y[0], atol=1e-6)


def test_tanks_below_the_brim_equal_another_integrator():
    voltage = 2.5 + 0.5 * multisine(np.random.default_rng(3), 200, low=0, high=0.05)
    tanks, t = Tanks(), 4.0 * np.arange(200)

    def field(time, state):
        upper, lower = np.sqrt(np.maximum(state, 0)) * 0.05
        return [0.04 * np.interp(time, t, voltage) - upper, upper - lower]

    found = tanks.simulate(voltage, rate=0.25)
    other = scipy.integrate.solve_ivp(
        field, (0, t[-1]), found[0], "LSODA", t, rtol=1e-10, atol=1e-10, max_step=2.0
    )
    assert found.max() < 10
    np.testing.assert_allclose(found, other.y.T, atol=1e-6)


def test_tanks_start_in_equilibrium_and_stay_there():
    for volts in (1.0, 3.0, 4.5):
        levels = Tanks().simulate(np.full(50, volts), rate=0.25)
        np.testing.assert_allclose(levels, np.tile(levels[:1], (50, 1)), atol=1e-3)


def test_an_overflow_is_caught_in_part():
    """At the brim the upper level stands still; the lower tank gets a share of the spill."""
    volts = np.concatenate([np.full(10, 2.0), np.full(300, 4.5)])
    dry, wet = (Tanks(caught=c).simulate(volts, rate=0.25) for c in (0.0, 0.4))
    np.testing.assert_allclose(wet[-1, 0], 10.0, atol=1e-2)
    # In the end inflow equals outflow: (0.05 √10 + caught · spill) / 0.05, squared.
    flow = 0.05 * np.sqrt(10)
    np.testing.assert_allclose(dry[-1, 1], 10.0, rtol=1e-2)
    spill = 0.04 * 4.5 - flow
    assert spill > 0 and wet[-1, 1] == pytest.approx(10.0, abs=1e-2)
    rising = slice(20, 100)
    assert (wet[rising, 1] >= dry[rising, 1] - 1e-9).all() and wet.max() <= 10
    assert wet[rising, 1].mean() > dry[rising, 1].mean()


@pytest.mark.parametrize(
    ("coefficients", "ripple"),
    [(circuit.first_filter(), "pass"), (circuit.second_filter(), "stop")],
)
def test_filters_answer_as_the_analog_ones(coefficients, ripple):
    """Steady sines against the analog frequency response, at every frequency of interest."""
    rate = circuit.SAMPLING_RATE * circuit.OVERSAMPLING
    for frequency in (400.0, 2000.0, 4400.0, 6400.0, 10_000.0):
        samples = int(rate / 100)  # whole periods of every frequency
        wave = np.sin(2 * np.pi * frequency * np.arange(4 * samples) / rate)
        answer = circuit.filtered(coefficients, wave, rate)[-samples:]
        basis = np.exp(-2j * np.pi * frequency * np.arange(samples) / rate)
        found = abs(2 * np.mean(answer * basis))
        expected = abs(scipy.signal.freqs(*coefficients, 2 * np.pi * frequency)[1])
        assert found == pytest.approx(expected, rel=0.02, abs=2e-4)
    gain = abs(
        scipy.signal.freqs(*coefficients, 2 * np.pi * np.linspace(1, 3e4, 30_000))[1]
    )
    if ripple == "pass":
        assert gain[:4400].min() == pytest.approx(10 ** (-0.5 / 20), rel=1e-3)
    else:  # the transmission zero lies in the excited band
        assert gain[5000:10_000].min() < 1e-4 and gain[5000:].max() <= 0.0101


def test_filters_equal_lsim():
    signal = np.random.default_rng(0).normal(size=300)
    signal[0] = 0  # `lsim` would begin with a jump
    for coefficients in (circuit.first_filter(), circuit.second_filter()):
        times = np.arange(300) / 51.2e3
        exact = scipy.signal.lsim(coefficients, signal, times)[1]
        found = circuit.filtered(coefficients, signal, 51.2e3)
        np.testing.assert_allclose(found, exact, atol=1e-9)


def test_the_diode_obeys_kirchhoff():
    x = np.linspace(-50, 50, 1001)
    v = circuit.diode(x)
    through_series = (x - v) / circuit.SERIES
    exponential = circuit.SATURATION * np.expm1(v / circuit.THERMAL)
    np.testing.assert_allclose(
        through_series, v / circuit.LOAD + exponential, atol=1e-12, rtol=1e-9
    )
    assert (np.diff(v) > 0).all() and v.max() < 1.0
    np.testing.assert_allclose(v[0], -50 / 1.1, rtol=1e-3)


def test_excitations():
    rng = np.random.default_rng(0)
    signal = multisine(rng, 1000, low=0.05, high=0.2)
    power = np.abs(np.fft.rfft(signal)) ** 2
    inside = slice(50, 201)
    np.testing.assert_allclose(power[inside], power[50], rtol=1e-9)
    assert power.sum() == pytest.approx(power[inside].sum())
    assert np.mean(signal**2) == pytest.approx(1) and abs(signal.mean()) < 1e-12
    held = steps(rng, 100_000, shortest=5, longest=20)
    edges = np.flatnonzero(np.diff(held))
    assert len(held) == 100_000 and set(np.diff(edges)) == set(range(5, 21))
    assert held.std() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("kind", ["multisine", "steps"])
def test_every_system_is_causal_and_lively(name, kind):
    system = SYSTEMS[name]
    u = system.excite(np.random.default_rng(0), 600, kind)
    y = system.respond(u)[:, 0]
    changed = u.copy()
    changed[301:] += 0.5
    other = system.respond(changed)[:, 0]
    assert y.shape == (600,) and np.isfinite(y).all() and y.std() > 1e-4
    np.testing.assert_array_equal(y[:301], other[:301])
    assert np.abs(y[302:] - other[302:]).max() > 1e-3 * y.std()
