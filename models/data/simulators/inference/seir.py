"""Epidemics of one disease at several places, with a season, counted five times in a year.

Shared: rates at which the exposed fall ill, a ~ U(1/30, 1/7), and the ill recover,
s ~ U(1/21, 1/7), a day. Of every place: contact rate b ~ U(0.1, 2), amplitude A ~ U(0, 1),
period T ~ Γ(365/50, 1/50) days and phase φ ~ U(0, 2π) of its season,
``b(t) = b (1 + A sin(2πt/T - φ))``. Of 10,000 people 10 are ill at first; births and deaths
balance at 1/50 a year. At times U(0, 365) the onsets a·E of a day are counted,
``Poisson(max(aE, 0.1))``; x is ``log(count + U(0, 1))``: it has a density and loses nothing.

Source: an example of tfmpe (mrc-ide, 2025), with shared rates. No posterior is known.
"""

from __future__ import annotations

import numpy as np

from models.data.options import Draws
from models.data.simulators.inference.base import Arrays, Simulator
from models.data.simulators.inference.hierarchy import SEEN, hidden, sites_of, without

PEOPLE, ILL, DAYS = 10_000.0, 10.0, 365
MORTALITY = 1 / (50 * 365)
SHARED = np.array([[1 / 30, 1 / 7], [1 / 21, 1 / 7]])
_STEPS = 2
"""Of the Runge–Kutta method, a day."""


def simulator(options: Draws) -> Simulator:
    """The simulator of rows with some number of sites."""
    sites = sites_of(options)

    def prior(random: np.random.Generator, rows: int) -> Arrays:
        shape = (rows, sites.sites)
        local = np.stack(
            [
                random.uniform(0.1, 2.0, size=shape),
                random.uniform(0.0, 1.0, size=shape),
                random.gamma(DAYS / 50, 50, size=shape),
                random.uniform(0.0, 2 * np.pi, size=shape),
            ],
            axis=-1,
        )
        theta = random.uniform(*SHARED.T, size=(rows, 2))
        return {"theta": theta, "local": without(hidden(random, rows, sites), local)}

    return Simulator(prior=prior, simulate=_simulate)


def _simulate(random: np.random.Generator, parameters: Arrays) -> Arrays:
    local = parameters["local"]
    missing = np.isnan(local[..., 0])
    times = np.sort(random.uniform(0, DAYS, size=(*missing.shape, SEEN)), axis=-1)
    onsets = _onsets(parameters["theta"], local)  # [day, rows, sites]
    day, part = np.floor(times).astype(int), times % 1
    row, site = np.ix_(*map(np.arange, missing.shape))
    row, site = row[..., None], site[..., None]
    mean = (1 - part) * onsets[day, row, site] + part * onsets[day + 1, row, site]
    mean = np.where(missing[..., None], 0.1, np.maximum(mean, 0.1))
    x = np.log(random.poisson(mean) + random.uniform(1e-6, 1.0, size=mean.shape))
    return {
        "x": without(missing, x[..., None]),
        "f": without(missing, times[..., None]),
    }


def _onsets(theta: np.ndarray, local: np.ndarray) -> np.ndarray:
    """New cases a day at the beginning of each ``[DAYS + 1, rows, sites]``."""
    rates = theta[:, None, 0], theta[:, None, 1]
    ones = np.ones(local.shape[:2])
    state = np.stack([(PEOPLE - ILL) * ones, 0 * ones, ILL * ones])
    step, found = 1 / _STEPS, [rates[0] * state[1]]
    for number in range(DAYS * _STEPS):
        t = number * step
        k1 = _slope(t, state, rates, local)
        k2 = _slope(t + step / 2, state + step / 2 * k1, rates, local)
        k3 = _slope(t + step / 2, state + step / 2 * k2, rates, local)
        k4 = _slope(t + step, state + step * k3, rates, local)
        state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        if (number + 1) % _STEPS == 0:
            found.append(rates[0] * state[1])
    return np.stack(found)


def _slope(
    t: float, state: np.ndarray, rates: tuple[np.ndarray, np.ndarray], local: np.ndarray
) -> np.ndarray:
    """Of those that may fall ill, that are exposed and that are ill; the rest has recovered."""
    (fall, recover), (contact, size, period, phase) = rates, np.moveaxis(local, -1, 0)
    susceptible, exposed, ill = state
    season = 1 + size * np.sin(2 * np.pi * t / period - phase)
    infected = contact * season * ill / PEOPLE * susceptible
    return np.stack(
        [
            MORTALITY * (PEOPLE - susceptible) - infected,
            infected - (fall + MORTALITY) * exposed,
            fall * exposed - (recover + MORTALITY) * ill,
        ]
    )
