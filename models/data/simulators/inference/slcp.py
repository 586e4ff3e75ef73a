"""Simple likelihood, complex posterior: four points of a Gaussian in the plane.

θ ~ U(-3, 3)⁵; four points ~ N((θ₁, θ₂), S) with deviations s₁ = θ₃², s₂ = θ₄² and
correlation tanh θ₅.

Source: Lueckmann et al. 2021, "Benchmarking simulation-based inference", T.3 (after
Papamakarios et al. 2019); 10⁻⁶ on the diagonal of S as in its code.
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

LIMIT, POINTS, JITTER = 3.0, 4, 1e-6
CELLS = (120, 120, 60)
"""Of the quadrature over |θ₃|, |θ₄| (finer toward zero) and θ₅."""


def simulator(options: Draws) -> Simulator:
    """The simulator; it has nothing to set."""
    del options
    return Simulator(prior=_prior, simulate=_simulate, posterior=_posterior)


def _prior(random: np.random.Generator, rows: int) -> Arrays:
    return {"theta": random.uniform(-LIMIT, LIMIT, size=(rows, 5))}


def _simulate(random: np.random.Generator, parameters: Arrays) -> Arrays:
    theta = parameters["theta"]
    noise = random.normal(size=(len(theta), POINTS, 2))
    points = theta[:, None, :2] + _colored(theta[:, 2:], noise)
    return {"x": points.reshape(len(theta), -1)}


def _posterior(random: np.random.Generator, observed: Arrays, draws: int) -> Arrays:
    """θ₃, θ₄ and θ₅ by quadrature with the mean integrated out, then the mean.

    A cell is drawn by its weight, a place in it evenly, and what the weight at that place
    differs from that of the middle is made up for by rejection. The mean is Gaussian; what
    leaves the box is rejected.
    """
    points = observed["x"].reshape(POINTS, 2)
    center = points.mean(axis=0)
    scatter = (points - center).T @ (points - center)
    edges = [_edges(cells) for cells in CELLS[:2]]
    edges.append(np.linspace(-LIMIT, LIMIT, CELLS[2] + 1))
    middle = [(e[1:] + e[:-1]) / 2 for e in edges]
    width = [np.diff(e) for e in edges]
    shape = [a[(slice(None), *(None,) * (2 - i))] for i, a in enumerate(middle)]
    weight = _log_weight(*shape, scatter)
    volume = width[0][:, None, None] * width[1][:, None] * width[2]
    total = np.cumsum(np.exp(weight - weight.max()) * volume)

    def propose(count: int) -> tuple[np.ndarray, np.ndarray]:
        cell = np.searchsorted(total, random.random(count) * total[-1], side="right")
        cell = np.minimum(cell, total.size - 1)
        places = np.unravel_index(cell, CELLS)
        rest = [
            e[i] + random.random(count) * w[i]
            for e, w, i in zip(edges, width, places, strict=True)
        ]
        ratio = np.exp(_log_weight(*rest, scatter) - weight.reshape(-1)[cell])
        shape = np.stack(rest, axis=1)
        shape[:, :2] *= random.choice([-1.0, 1.0], size=(count, 2))
        noise = random.normal(size=(count, 1, 2)) / np.sqrt(POINTS)
        theta = np.concatenate([center + _colored(shape, noise)[:, 0], shape], axis=1)
        kept = random.random(count) < ratio / ratio.max()
        return theta, kept & inside(theta, LIMIT)

    return {"theta": accepted(propose, draws)}


def _edges(cells: int) -> np.ndarray:
    """Of cells over (0, 3) that grow in proportion to the root of their place."""
    return LIMIT * np.linspace(0, 1, cells + 1) ** 2


def _covariance(
    first: np.ndarray, second: np.ndarray, third: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The entries S₁₁, S₂₂ and S₁₂ for θ₃, θ₄ and θ₅."""
    cross = np.tanh(third) * first**2 * second**2
    return first**4 + JITTER, second**4 + JITTER, cross


def _colored(shape: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """White noise ``[rows, points, 2]`` with the covariance of θ₃, θ₄ and θ₅."""
    one, two, cross = (entry[:, None] for entry in _covariance(*shape.T))
    scale = np.sqrt(one)
    left = np.sqrt(np.maximum(two - cross**2 / one, 0))
    second = cross / scale * noise[..., 0] + left * noise[..., 1]
    return np.stack([scale * noise[..., 0], second], axis=-1)


def _log_weight(
    first: np.ndarray, second: np.ndarray, third: np.ndarray, scatter: np.ndarray
) -> np.ndarray:
    """Log likelihood of θ₃, θ₄ and θ₅ with a mean that may lie anywhere."""
    one, two, cross = _covariance(first, second, third)
    determinant = one * two - cross**2
    trace = two * scatter[0, 0] + one * scatter[1, 1] - 2 * cross * scatter[0, 1]
    found: np.ndarray = (
        -0.5 * (POINTS - 1) * np.log(determinant) - 0.5 * trace / determinant
    )
    return found
