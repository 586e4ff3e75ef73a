"""A crescent that two places of the parameters explain alike.

θ ~ U(-1, 1)²; x = (r cos a + ¼, r sin a) + (-|θ₁ + θ₂|, θ₂ - θ₁) / √2 with a ~ U(-π/2, π/2)
and r ~ N(0.1, 0.01²).

Source: Lueckmann et al. 2021, "Benchmarking simulation-based inference", T.8.
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

LIMIT = 1.0


def simulator(options: Draws) -> Simulator:
    """The simulator; it has nothing to set."""
    del options
    return Simulator(prior=_prior, simulate=_simulate, posterior=_posterior)


def _prior(random: np.random.Generator, rows: int) -> Arrays:
    return {"theta": random.uniform(-LIMIT, LIMIT, size=(rows, 2))}


def _simulate(random: np.random.Generator, parameters: Arrays) -> Arrays:
    first, second = parameters["theta"].T
    shift = np.stack([-np.abs(first + second), second - first], axis=1) / np.sqrt(2)
    return {"x": _crescent(random, len(shift)) + shift}


def _posterior(random: np.random.Generator, observed: Arrays, draws: int) -> Arrays:
    """Where the crescent is drawn, the shift follows, and θ up to a sign."""

    def propose(count: int) -> tuple[np.ndarray, np.ndarray]:
        shift = np.sqrt(2) * (observed["x"] - _crescent(random, count))
        total = -shift[:, 0] * random.choice([-1.0, 1.0], size=count)
        theta = np.stack([total - shift[:, 1], total + shift[:, 1]], axis=1) / 2
        return theta, (shift[:, 0] <= 0) & inside(theta, LIMIT)

    return {"theta": accepted(propose, draws)}


def _crescent(random: np.random.Generator, rows: int) -> np.ndarray:
    angle = random.uniform(-np.pi / 2, np.pi / 2, size=rows)
    radius = 0.1 + 0.01 * random.normal(size=rows)
    return np.stack([radius * np.cos(angle) + 0.25, radius * np.sin(angle)], axis=1)
