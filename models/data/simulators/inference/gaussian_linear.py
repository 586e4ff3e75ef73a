"""Ten normal means, each seen once with as much noise as its prior is wide.

θ ~ N(0, 0.1 I), x ~ N(θ, 0.1 I), where 0.1 is the variance.

Source: Lueckmann et al. 2021, "Benchmarking simulation-based inference", T.1.
"""

from __future__ import annotations

import numpy as np

from models.data.options import Draws
from models.data.simulators.inference.base import Arrays, Simulator

SIZE, VARIANCE = 10, 0.1


def simulator(options: Draws) -> Simulator:
    """The simulator; it has nothing to set."""
    del options
    return Simulator(prior=_prior, simulate=_simulate, posterior=_posterior)


def _prior(random: np.random.Generator, rows: int) -> Arrays:
    return {"theta": np.sqrt(VARIANCE) * random.normal(size=(rows, SIZE))}


def _simulate(random: np.random.Generator, parameters: Arrays) -> Arrays:
    theta = parameters["theta"]
    return {"x": theta + np.sqrt(VARIANCE) * random.normal(size=theta.shape)}


def _posterior(random: np.random.Generator, observed: Arrays, draws: int) -> Arrays:
    noise = np.sqrt(VARIANCE / 2) * random.normal(size=(draws, SIZE))
    return {"theta": observed["x"] / 2 + noise}
