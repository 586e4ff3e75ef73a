"""Brownian paths of several sites that drift, each seen at five times that are known.

μ ~ N(0, 1), drift θᵢ ~ N(μ, 0.5²), xᵢ(t) = θᵢ t + 0.5 Wᵢ(t), seen at times whose distances are
0.1 + E(0.4), an exponential number.

Source: named after an example of tfmpe (mrc-ide, 2025), of which only the times are known; a
Wiener process with drift is Markov, so that its last value alone tells of the drift.
"""

from __future__ import annotations

import numpy as np

from models.data.options import Draws
from models.data.simulators.inference.base import Arrays, Simulator
from models.data.simulators.inference.hierarchy import (
    SEEN,
    hidden,
    normal_hierarchy,
    sites_of,
    without,
)

SPREAD, NOISE, LEAST, MORE = 0.5, 0.5, 0.1, 0.4


def simulator(options: Draws) -> Simulator:
    """The simulator of rows with some number of sites."""
    sites = sites_of(options)

    def prior(random: np.random.Generator, rows: int) -> Arrays:
        shared = random.normal(size=(rows, 1))
        own = shared[:, None] + SPREAD * random.normal(size=(rows, sites.sites, 1))
        return {"theta": shared, "local": without(hidden(random, rows, sites), own)}

    return Simulator(prior=prior, simulate=_simulate, posterior=_posterior)


def _simulate(random: np.random.Generator, parameters: Arrays) -> Arrays:
    own = parameters["local"]
    shape = (*own.shape[:2], SEEN, 1)
    apart = LEAST + random.exponential(MORE, size=shape)
    steps = own[:, :, None] * apart + NOISE * np.sqrt(apart) * random.normal(size=shape)
    times = np.cumsum(apart, axis=2)
    return {"x": np.cumsum(steps, axis=2), "f": without(np.isnan(own[..., 0]), times)}


def _posterior(random: np.random.Generator, observed: Arrays, draws: int) -> Arrays:
    """Of a site: the steps are independent, ``N(θ Δt, 0.25 Δt)``, and sum to the last value."""
    time, last = observed["f"][:, -1, 0], observed["x"][:, -1, 0]
    theta, local = normal_hierarchy(
        random, time / NOISE**2, last / NOISE**2, spread=SPREAD, draws=draws
    )
    return {"theta": theta, "local": local}
