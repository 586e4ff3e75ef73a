"""Means of sites around a shared mean, each seen five times with errors that are known.

μ ~ N(0, 1), θᵢ ~ N(μ, 0.5²), xᵢⱼ ~ N(θᵢ, σᵢⱼ²) with σᵢⱼ = 0.25 + E(0.25), an exponential
number that is told with every observation.

Source: an example of tfmpe (mrc-ide, 2025), with wider priors. The posterior is normal.
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

SPREAD, LEAST, MORE = 0.5, 0.25, 0.25


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
    error = LEAST + random.exponential(MORE, size=shape)
    x = own[:, :, None] + error * random.normal(size=shape)
    return {"x": x, "f": without(np.isnan(own[..., 0]), error)}


def _posterior(random: np.random.Generator, observed: Arrays, draws: int) -> Arrays:
    weight = observed["f"][..., 0] ** -2
    pull = (weight * observed["x"][..., 0]).sum(axis=1)
    theta, local = normal_hierarchy(
        random, weight.sum(axis=1), pull, spread=SPREAD, draws=draws
    )
    return {"theta": theta, "local": local}
