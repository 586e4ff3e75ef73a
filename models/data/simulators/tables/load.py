"""The electric load of districts under one weather: a table for first steps with forecasts.

Every district has a base load, a daily course (two harmonics, flatter on weekends) and an
autoregressive rest of its own. A front of weather (an autoregression of days) reaches one
district after the other, some hours apart, and raises base and daily course; customers come and
go (a slow random walk). What helps a forecast: the clock, the weekday, and the districts that
the weather reaches first.
"""

from __future__ import annotations

import csv
import io

import numpy as np
import scipy.signal

from models.data.options import Steps

DISTRICTS = ("harbor", "mills", "center", "heights", "suburbs", "farms")
_DELAYS = (0, 4, 8, 12, 18, 24)  # hours until the weather of the first district arrives
_BASE = np.array([120.0, 80.0, 150.0, 60.0, 90.0, 30.0])  # MW
_DAILY = np.array([0.10, 0.25, 0.30, 0.22, 0.28, 0.15])  # of the base
_PEAK = np.array([10.0, 11.0, 14.0, 18.0, 19.0, 7.0])  # hour of the day
_WEEKEND = np.array([0.9, 0.3, 0.6, 0.9, 1.1, 1.0])  # of the daily course
_WEATHER = np.array([0.06, 0.08, 0.15, 0.14, 0.18, 0.10])  # of the base, one deviation
_OWN, _DRIFT = 0.03, 0.002  # of the base
_START = np.datetime64("2024-01-01T00:00", "h")  # a Monday


def load(options: Steps) -> str:
    """The table of all parts, as CSV.

    Args:
        options: ``samples`` are hours of train; ``noise`` is of the meters, relative to the
            standard deviation of each district's load over train.
    """
    values = districts(options.borders[-1], np.random.default_rng([options.seed, 0]))
    meters = np.random.default_rng([options.seed, 1]).standard_normal(values.shape)
    scale = values[: options.samples].std(axis=0)
    values = values + options.noise * scale * meters
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("date", *DISTRICTS))
    for hour, row in enumerate(values):
        when = str(_START + np.timedelta64(hour, "h")).replace("T", " ") + ":00:00"
        writer.writerow((when, *(f"{value:.4f}" for value in row)))
    return text.getvalue()


def districts(hours: int, random: np.random.Generator) -> np.ndarray:
    """The load ``[hours, 6]`` in MW, without noise of meters."""
    first = max(_DELAYS)
    weather = _autoregression(random, hours + first, 0.985)
    delayed = np.stack(
        [weather[first - d : first - d + hours] for d in _DELAYS], axis=1
    )
    time = np.arange(hours)[:, None]
    angle = 2 * np.pi * (time - _PEAK) / 24
    course = np.cos(angle) + 0.35 * np.cos(2 * angle)
    weekend = (time // 24 % 7) >= 5
    course = course * np.where(weekend, _WEEKEND, 1.0) * (1 + 0.35 * delayed)
    own = np.stack([_autoregression(random, hours, 0.8) for _ in DISTRICTS], axis=1)
    drift = np.cumsum(random.standard_normal((hours, len(DISTRICTS))), axis=0)
    return _BASE * (
        1 + _DAILY * course + _WEATHER * delayed + _OWN * own + _DRIFT * drift
    )


def _autoregression(
    random: np.random.Generator, length: int, decay: float
) -> np.ndarray:
    """``x[t] = decay · x[t-1] + e[t]`` with variance 1, from the middle of its course."""
    noise = random.standard_normal(length) * np.sqrt(1 - decay**2)
    start = np.array([decay * random.standard_normal()])
    found, _ = scipy.signal.lfilter([1.0], [1.0, -decay], noise, zi=start)
    return np.asarray(found)
