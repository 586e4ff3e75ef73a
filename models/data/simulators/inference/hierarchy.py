"""What simulators of rows that are made of sites share."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from models.data.options import Draws, Sites

SEEN = 5
"""Observations of each site."""


def sites_of(options: Draws) -> Sites:
    """The options of a simulator that has sites."""
    assert isinstance(options, Sites), "see `models.data.options.SIMULATED`"
    return options


def hidden(random: np.random.Generator, rows: int, options: Sites) -> np.ndarray:
    """Which sites ``[rows, sites]`` each row does not have: the last ones."""
    fewest = options.fewest or options.sites
    counts = random.integers(fewest, options.sites + 1, size=rows)
    return np.arange(options.sites)[None] >= counts[:, None]


def without(hidden: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values ``[rows, sites, …]`` with NaN at the sites that a row does not have."""
    mask = hidden.reshape(*hidden.shape, *(1,) * (values.ndim - 2))
    return np.where(mask, np.nan, values)


def normal_draws(
    random: np.random.Generator, precision: np.ndarray, pull: np.ndarray, draws: int
) -> np.ndarray:
    """Draws ``[draws, size]`` of a normal vector, known by its precision.

    Args:
        random: Randomness.
        precision: Inverse of the covariance ``[size, size]``.
        pull: Precision times mean ``[size]``.
        draws: How many.
    """
    factor = np.linalg.cholesky(precision)
    mean = scipy.linalg.cho_solve((factor, True), pull)
    noise = random.normal(size=(len(pull), draws))
    return mean + scipy.linalg.solve_triangular(factor.T, noise).T


def normal_hierarchy(
    random: np.random.Generator,
    information: np.ndarray,
    pull: np.ndarray,
    *,
    spread: float,
    draws: int,
) -> tuple[np.ndarray, np.ndarray]:
    """A shared mean μ ~ N(0, 1) and those of sites θᵢ ~ N(μ, spread²), given observations.

    Args:
        random: Randomness.
        information: What each site's observations tell of its θᵢ ``[sites]``: the curvature
            of their log likelihood; NaN at a site that is missing.
        pull: Information times the best θᵢ.
        spread: Deviation of the sites' means.
        draws: How many.

    Returns:
        Draws of μ ``[draws, 1]`` and of θ ``[draws, sites, 1]``, NaN at missing sites.
    """
    there = np.isfinite(information)
    count, prior = int(there.sum()), spread**-2
    precision = np.diag([1 + count * prior, *(information[there] + prior)])
    precision[0, 1:] = precision[1:, 0] = -prior
    found = normal_draws(random, precision, np.array([0.0, *pull[there]]), draws)
    sites = np.full((draws, len(there), 1), np.nan)
    sites[:, there, 0] = found[:, 1:]
    return found[:, :1], sites
