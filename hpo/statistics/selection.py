"""The luck that a search's best value holds, and the best value that so many trials would find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache


@lru_cache(maxsize=64)
def expected_maximum(count: int) -> float:
    """The expected largest of so many standard normal values: 1.766 for 16.

    Args:
        count: At least 1.
    """
    import numpy as np
    from scipy import special

    x = np.linspace(-9.0, 9.0, 8001)
    below = 0.5 * special.erfc(-x / math.sqrt(2))
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return float(np.trapezoid(x * count * density * below ** (count - 1), x))


def expected_optimism(*, seeds: float, values: float, trials: int) -> float:
    """How much better a search's best value is expected to be than its configuration is.

    With normal configurations (deviation τ) and seeds (σ), the best of T values is
    E[max of T] √(σ² + τ²) ahead, of which the share σ² / (σ² + τ²) is the seeds' luck.

    Args:
        seeds: σ, the deviation of one configuration over seeds.
        values: √(σ² + τ²), the deviation of the search's values; below σ, which chance may
            bring about, it counts as σ.
        trials: T, how many values the search chose from.
    """
    whole = max(values, seeds)
    return seeds * seeds / whole * expected_maximum(trials) if whole else 0.0


def expected_best(values: Sequence[float], count: int) -> float:
    """The expected smallest of so many values drawn from these, each as likely (random search).

    Source: Dodge et al. 2019, "Show Your Work", equations 5 to 7.

    Args:
        values: The values found, smaller ones better.
        count: How many trials, at least 1.
    """
    ordered = sorted(values, reverse=True)
    size = len(ordered)
    return math.fsum(
        v * ((i / size) ** count - ((i - 1) / size) ** count)
        for i, v in enumerate(ordered, 1)
    )
