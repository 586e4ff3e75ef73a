"""Two Gaussians around one mean, a hundred times apart in variance.

θ ~ U(-10, 10)², x ~ ½ N(θ, I) + ½ N(θ, 0.01 I).

Source: Lueckmann et al. 2021, "Benchmarking simulation-based inference", T.7.
"""

from __future__ import annotations

import numpy as np

from models.data.options import Draws
from models.data.simulators.inference.base import (
    Arrays,
    Simulator,
    accepted,
    inside,
)

LIMIT, DEVIATIONS = 10.0, np.array([1.0, 0.1])


def simulator(options: Draws) -> Simulator:
    """The simulator; it has nothing to set."""
    del options
    return Simulator(prior=_prior, simulate=_simulate, posterior=_posterior)


def _prior(random: np.random.Generator, rows: int) -> Arrays:
    return {"theta": random.uniform(-LIMIT, LIMIT, size=(rows, 2))}


def _simulate(random: np.random.Generator, parameters: Arrays) -> Arrays:
    return {"x": parameters["theta"] + _noise(random, len(parameters["theta"]))}


def _posterior(random: np.random.Generator, observed: Arrays, draws: int) -> Arrays:
    """The noise is symmetric: θ lies around x as x does around θ, cut at the box."""

    def propose(count: int) -> tuple[np.ndarray, np.ndarray]:
        theta = observed["x"] + _noise(random, count)
        return theta, inside(theta, LIMIT)

    return {"theta": accepted(propose, draws)}


def _noise(random: np.random.Generator, rows: int) -> np.ndarray:
    size = random.choice(DEVIATIONS, size=(rows, 1))
    return size * random.normal(size=(rows, 2))
