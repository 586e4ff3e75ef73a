"""The nine excitations: each has the property it is named after, within its ranges."""

from __future__ import annotations

from functools import lru_cache

import jax
import numpy as np
import pytest

from models.errors import ConfigError
from models.physics.excitation import EXCITATIONS, Excitation

RATE, SAMPLES, ROWS = 100.0, 400, 200
BOUNDED = sorted(set(EXCITATIONS) - {"noise", "multisine"})


@jax.jit
def _drawn(key, amplitude, frequency, bias, noise):
    """Every kind from the same numbers, for one compilation of the generator."""
    return {
        (kind, synchronized): Excitation(
            kind=kind,
            rate=RATE,
            amplitude=amplitude,
            frequency=frequency,
            bias=bias,
            noise=noise,
            synchronized=synchronized,
        ).draw(key, rows=ROWS, samples=SAMPLES, inputs=2)
        for kind in EXCITATIONS
        for synchronized in (False, True)
    }


@lru_cache
def _all(seed, *arguments):
    return _drawn(jax.random.key(seed), *arguments)


def drawn(
    kind,
    *,
    seed=0,
    amplitude=(0.5, 2.0),
    frequency=(0.1, 3.0),
    bias=0.0,
    noise=0.0,
    synchronized=False,
):
    """Rows of a kind ``[200, 400, 2]``."""
    return np.asarray(_all(seed, amplitude, frequency, bias, noise)[kind, synchronized])


@pytest.fixture(scope="module")
def plain():
    """Every kind with an amplitude of 1."""
    return {kind: drawn(kind, amplitude=(1.0, 1.0))[..., 0] for kind in EXCITATIONS}


def test_there_are_nine():
    assert set(EXCITATIONS) == {
        *("sine", "multisine", "step", "ramp", "chirp"),
        *("noise", "prbs", "square", "doublet"),
    }


@pytest.mark.parametrize("kind", EXCITATIONS)
def test_a_key_decides_and_rows_differ(kind):
    first = drawn(kind)
    assert first.shape == (ROWS, SAMPLES, 2) and np.isfinite(first).all()
    _all.cache_clear()
    np.testing.assert_array_equal(drawn(kind), first)
    assert not np.array_equal(drawn(kind, seed=1), first)
    flat = first.swapaxes(1, 2).reshape(2 * ROWS, SAMPLES)
    assert len(np.unique(flat, axis=0)) == 2 * ROWS


@pytest.mark.parametrize("kind", BOUNDED)
def test_amplitudes_fill_their_range(kind):
    peaks = np.abs(drawn(kind, amplitude=(0.5, 2.0))).max(axis=1)[:, 0]
    assert peaks.max() <= 2.0 + 1e-5 and peaks.min() >= 0.5 * 0.95
    # uniform: mean 1.25, and all of the range is used
    assert peaks.mean() == pytest.approx(1.25, abs=0.12)
    assert peaks.min() < 0.6 and peaks.max() > 1.9


def spectrum_peaks(rows):
    """Frequency in Hz of the strongest line of every row."""
    lines = np.abs(np.fft.rfft(rows * np.hanning(SAMPLES), 4 * SAMPLES, axis=1))
    return lines.argmax(axis=1) * RATE / (4 * SAMPLES)


def test_a_sine_is_one_line_within_the_frequencies(plain):
    rows = drawn("sine", amplitude=(1.0, 1.0), frequency=(2.0, 10.0))[..., 0]
    peaks = spectrum_peaks(rows)
    assert peaks.min() > 1.5 and peaks.max() < 10.5
    assert peaks.mean() == pytest.approx(6.0, abs=0.6)
    np.testing.assert_allclose(np.mean(rows**2, axis=1), 0.5, atol=0.08)


def test_a_multisine_has_three_lines_and_the_power_of_one_sine(plain):
    rows = drawn("multisine", amplitude=(1.0, 1.0), frequency=(5.0, 40.0))[..., 0]
    assert np.mean(rows**2) == pytest.approx(0.5, abs=0.03)
    power = np.abs(np.fft.rfft(rows * np.hanning(SAMPLES), axis=1)) ** 2
    strongest = -np.sort(-power, axis=1)
    # a Hann window spreads a line over at most four bins
    assert np.all(strongest[:, :12].sum(axis=1) > 0.99 * power.sum(axis=1))
    assert np.median(strongest[:, :2].sum(axis=1) / power.sum(axis=1)) < 0.6


def test_a_step_happens_once_and_goes_either_way(plain):
    rows = plain["step"]
    changes = np.abs(np.diff(rows, axis=1))
    assert np.all(np.count_nonzero(changes, axis=1) <= 1)
    assert np.all(np.abs(rows[:, -1]) == 1)
    assert np.all((rows == 0) | (np.abs(rows) == 1))
    assert 0.35 < np.mean(rows[:, -1] > 0) < 0.65
    when = (rows == 0).sum(axis=1)
    assert when.max() <= SAMPLES / 2 + 1 and when.mean() == pytest.approx(100, abs=12)


def test_a_ramp_rises_steadily_and_holds(plain):
    rows = plain["ramp"] * np.sign(plain["ramp"][:, -1:])
    assert np.all(np.diff(rows, axis=1) >= -1e-6)
    np.testing.assert_allclose(rows[:, -1], 1.0)
    rising = np.diff(rows, axis=1)
    inside = (rows[:, 1:] < 1) & (rows[:, :-1] > 0)
    for row, chosen in zip(rising, inside, strict=True):
        if chosen.any():
            np.testing.assert_allclose(row[chosen], row[chosen][0], atol=1e-5)


def test_a_chirp_sweeps_between_two_frequencies():
    rows = drawn("chirp", amplitude=(1.0, 1.0), frequency=(2.0, 20.0))[..., 0]
    # turns by the sign changes of each half: their frequencies differ, within the range
    halves = np.split(rows, 2, axis=1)
    found = [
        np.count_nonzero(np.diff(np.signbit(h), axis=1), axis=1) / 2 / 2.0
        for h in halves
    ]
    for half in found:
        assert half.min() > 1.4 and half.max() < 20.6
    assert np.corrcoef(*found)[0, 1] < 0.9
    assert np.abs(found[0] - found[1]).mean() > 1.5


def test_noise_is_white_and_gaussian(plain):
    rows = plain["noise"]
    assert rows.mean() == pytest.approx(0.0, abs=0.02)
    assert rows.std() == pytest.approx(1.0, abs=0.01)
    assert np.mean(rows**4) == pytest.approx(3.0, abs=0.1)
    assert np.mean(rows[:, 1:] * rows[:, :-1]) == pytest.approx(0.0, abs=0.02)


def test_a_prbs_has_two_levels_and_switches_at_its_frequency():
    rows = drawn("prbs", amplitude=(1.0, 1.0), frequency=(5.0, 5.0))[..., 0]
    assert set(np.unique(rows)) == {-1.0, 1.0}
    switches = np.count_nonzero(np.diff(rows, axis=1), axis=1)
    assert switches.mean() / 4.0 == pytest.approx(10.0, rel=0.05)  # 4 s, 2 a period
    assert rows.mean() == pytest.approx(0.0, abs=0.03)


def test_a_square_is_up_for_its_duty():
    rows = drawn("square", amplitude=(1.0, 1.0), frequency=(5.0, 10.0))[..., 0]
    assert set(np.unique(rows)) == {-1.0, 1.0}
    up = np.mean(rows > 0, axis=1)
    assert up.min() > 0.27 and up.max() < 0.73 and up.std() > 0.08
    rises = np.count_nonzero(np.diff(rows, axis=1) > 0, axis=1) / 4.0
    assert rises.min() >= 4.4 and rises.max() <= 10.4


def test_a_doublet_is_a_pulse_and_its_opposite():
    rows = drawn("doublet", amplitude=(1.0, 1.0), frequency=(2.0, 3.0))[..., 0]
    up, down = np.count_nonzero(rows > 0, axis=1), np.count_nonzero(rows < 0, axis=1)
    assert np.all(np.abs(up - down) <= 1)
    assert up.min() >= 16 and up.max() <= 26  # half of 1/3 … 1/2 s at 100 Hz
    assert np.all(rows[:, -1] == 0)
    first = np.array([row[np.flatnonzero(row)[0]] for row in rows])
    assert 0.35 < np.mean(first > 0) < 0.65


def test_bias_and_noise_are_added():
    bias = drawn("step", bias=0.7)[..., 0] - drawn("step")[..., 0]
    np.testing.assert_allclose(
        bias, np.broadcast_to(bias[:, :1], bias.shape), atol=1e-5
    )
    assert bias[:, 0].std() == pytest.approx(0.7, rel=0.15)
    noise = drawn("step", noise=0.3)[..., 0] - drawn("step")[..., 0]
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    assert np.abs(np.mean(noise[:, 1:] * noise[:, :-1])) < 0.003


@pytest.mark.parametrize("kind", ["chirp", "noise", "prbs"])
def test_synchronized_inputs_differ_by_their_amplitude_alone(kind):
    together = drawn(kind, synchronized=True)[:20]
    for first, second in np.moveaxis(together, -1, 1):
        ratio = (first @ second) / (first @ first)
        np.testing.assert_allclose(second, ratio * first, atol=1e-4)
        assert abs(ratio - 1) > 1e-4


@pytest.mark.parametrize(
    "changes,words",
    [({"kind": "sinus"}, "unknown excitation"), ({"rate": 0.0}, "rate")],
)
def test_bad_values_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        Excitation(**{"kind": "sine", "rate": 1.0, **changes})
