"""Calendar against pandas; cycles; reversible normalization; patches and trends; gaps carried."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pandas
import pytest

from models.dlinear import moving_average
from models.errors import ConfigError
from models.forecasting import carried
from models.layers.calendar import FINE_MARKS, marks, moment, place
from models.layers.cycle import Cycle
from models.layers.reversible import EPSILON, ReversibleNorm, level
from models.patch import Patches, patch_places


def times(dates):
    days = (dates.normalize() - pandas.Timestamp(0)).days
    seconds = (dates - dates.normalize()).total_seconds()
    return jnp.asarray(np.stack([days, seconds], axis=-1)[None], jnp.float32)


def test_the_calendar_is_that_of_pandas():
    dates = pandas.date_range("1899-12-30", "2101-03-02", freq="16h15min")
    found = moment(times(dates)[0])
    np.testing.assert_array_equal(found.weekday, dates.day_of_week)
    np.testing.assert_array_equal(found.month_day, dates.day - 1)
    np.testing.assert_array_equal(found.year_day, dates.day_of_year - 1)
    got = np.asarray(marks(times(dates), FINE_MARKS))[0]
    wanted = [
        dates.minute / 59,
        dates.hour / 23,
        dates.day_of_week / 6,
        (dates.day - 1) / 30,
        (dates.day_of_year - 1) / 365,
    ]
    np.testing.assert_allclose(got, np.stack(wanted, -1) - 0.5, atol=1e-6)


def test_a_cycle_goes_on_over_midnights_and_weeks():
    dates = pandas.date_range("2024-01-01", periods=3 * 672, freq="15min")  # a Monday
    for length in (96, 672, 24):
        found = np.asarray(place(times(dates), step=900, length=length))[0]
        np.testing.assert_array_equal(found, np.arange(len(dates)) % length)
    layer = Cycle(length=96, step=900, channels=2)
    layer.values.set_value(jnp.arange(192.0).reshape(96, 2))
    np.testing.assert_array_equal(layer(times(dates[97:99]))[0], [[2, 3], [4, 5]])
    for bad in ({"length": 100, "step": 900}, {"length": 7, "step": 86401}):
        with pytest.raises(ConfigError, match="whole number of cycles"):
            Cycle(channels=1, **bad)
    with pytest.raises(ConfigError) as caught:
        Cycle(length=100, step=900, channels=1)
    assert caught.value.hint == "set it to 96 for a day, 672 for a week, or 0"
    with pytest.raises(ConfigError) as caught:  # 205.7 rows of seven minutes
        Cycle(length=206, step=420, channels=1)
    assert caught.value.hint == "set it to 0: a day is no whole number of rows"


@pytest.mark.parametrize("kind", ["off", "plain", "affine"])
def test_reversible_normalization(kind):
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(3, 20, 2)) * [5, 0.1] + [3, -7], jnp.float32)
    seen = jnp.asarray(random.random(x.shape) < 0.8)
    at = level(jnp.where(seen, x, 1e6), seen)
    layer = ReversibleNorm(kind=kind, channels=2)
    if kind == "affine":
        layer.scale.set_value(jnp.asarray([2.0, -0.5]))
        layer.shift.set_value(jnp.asarray([1.0, 4.0]))
    found = np.asarray(layer(x, seen, at))
    assert not found[~np.asarray(seen)].any()
    held = np.where(seen, x, np.nan)
    mean, variance = (
        np.nanmean(held, 1, keepdims=True),
        np.nanvar(held, 1, keepdims=True),
    )
    wanted = held if kind == "off" else (held - mean) / np.sqrt(variance + EPSILON)
    if kind == "affine":
        wanted = wanted * [2.0, -0.5] + [1.0, 4.0]
    mask = np.asarray(seen)
    np.testing.assert_allclose(found[mask], wanted[mask], rtol=1e-4, atol=1e-4)
    back = np.asarray(layer.inverse(layer(x, jnp.ones_like(seen), at), at))
    np.testing.assert_allclose(back, x, rtol=1e-4, atol=1e-4)
    nothing = level(x, jnp.zeros_like(seen))
    assert not np.asarray(nothing.mean).any() and (np.asarray(nothing.std) > 0).all()


def test_a_moving_average_is_that_of_pandas_with_held_ends():
    x = np.random.default_rng(0).normal(size=(2, 3, 30))
    padded = np.concatenate(
        [x[..., :1].repeat(3, -1), x, x[..., -1:].repeat(3, -1)], -1
    )
    wanted = [
        pandas.Series(c).rolling(7, center=True).mean()[3:-3]
        for c in padded.reshape(-1, 36)
    ]
    got = moving_average(jnp.asarray(x, jnp.float32), 7)
    np.testing.assert_allclose(np.reshape(got, (-1, 30)), wanted, atol=1e-5)


def test_patches_cover_a_look_back():
    places = patch_places(96, Patches(length=16, stride=8))
    assert len(places) == (96 - 16) // 8 + 2 == 12
    assert places[0] == tuple(range(16)) and places[1][0] == 8
    assert places[-1] == (*range(88, 96), *[95] * 8)
    with pytest.raises(ConfigError, match="at most the look-back, got 16 and 12"):
        patch_places(12, Patches(length=16))
    with pytest.raises(ConfigError, match="at most `model.length`, got 9 and 8"):
        Patches(length=8, stride=9)


def test_gaps_are_carried_as_pandas_fills_them():
    random = np.random.default_rng(0)
    values = random.normal(size=(4, 12, 3))
    seen = random.random(values.shape) < 0.4
    seen[0, :, 0] = False
    found = carried(values, seen)
    for row in range(4):
        frame = pandas.DataFrame(np.where(seen[row], values[row], np.nan))
        wanted = frame.ffill().bfill()
        if row == 0:
            wanted[0] = values[0, :, 0]  # nothing to carry
        np.testing.assert_array_equal(found[row], wanted)
