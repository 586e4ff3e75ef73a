"""One unknown error of all sites, each of which is seen once.

σ ~ |N(0, 1)|, μᵢ ~ N(0, 1), xᵢ ~ N(μᵢ, σ²).

Source: the hierarchical benchmark of tfmpe (giovannic, 2026). The posterior of σ is a density in
one dimension, ``p(σ) ∏ N(xᵢ; 0, 1 + σ²)``; given σ every μᵢ is normal.
"""

from __future__ import annotations

import numpy as np

from models.data.options import Draws
from models.data.simulators.inference.base import Arrays, Simulator
from models.data.simulators.inference.hierarchy import hidden, sites_of, without

_GRID = np.linspace(0.0, 6.0, 6001)


def simulator(options: Draws) -> Simulator:
    """The simulator of rows with some number of sites."""
    sites = sites_of(options)

    def prior(random: np.random.Generator, rows: int) -> Arrays:
        own = random.normal(size=(rows, sites.sites, 1))
        local = without(hidden(random, rows, sites), own)
        return {"theta": np.abs(random.normal(size=(rows, 1))), "local": local}

    return Simulator(prior=prior, simulate=_simulate, posterior=_posterior)


def _simulate(random: np.random.Generator, parameters: Arrays) -> Arrays:
    own, error = parameters["local"], parameters["theta"][:, None]
    return {"x": own + error * random.normal(size=own.shape)}


def _posterior(random: np.random.Generator, observed: Arrays, draws: int) -> Arrays:
    """Quantiles of σ on a fine grid, then the means."""
    x = observed["x"][:, 0]
    seen = x[np.isfinite(x)]
    variance = 1 + _GRID**2
    log_density = -0.5 * (
        _GRID**2 + len(seen) * np.log(variance) + np.sum(seen**2) / variance
    )
    density = np.exp(log_density - log_density.max())
    below = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    error = np.interp(random.random(draws) * below[-1], below, _GRID)[:, None]
    share = 1 / (
        1 + error**2
    )  # of the observation in the mean; the rest is the prior's
    noise = random.normal(size=(draws, len(x)))
    own = share * x[None] + error * np.sqrt(share) * noise
    return {"theta": error, "local": own[..., None]}
