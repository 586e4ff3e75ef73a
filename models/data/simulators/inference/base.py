"""A simulator as data and pure functions of a generator of random numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from models.errors import DataError

_MOST = 1_000_000

Arrays = Mapping[str, np.ndarray]
"""Arrays by role; ``[rows, …]``, or of a single row ``[…]``."""


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """What data is simulated from, and what is inferred from it.

    Attributes:
        prior: ``(random, rows) -> parameters [rows, …]`` by role.
        simulate: ``(random, parameters) -> observations [rows, …]`` by role, and whatever
            else belongs to an observation (times, known errors).
        posterior: ``(random, observations of one row, draws) -> parameters [draws, …]`` by
            role, exactly; None where nobody knows it.
    """

    prior: Callable[[np.random.Generator, int], Arrays]
    simulate: Callable[[np.random.Generator, Arrays], Arrays]
    posterior: Callable[[np.random.Generator, Arrays, int], Arrays] | None = None


def accepted(
    propose: Callable[[int], tuple[np.ndarray, np.ndarray]], rows: int
) -> np.ndarray:
    """Rows of proposals that are accepted, as many as asked for.

    Args:
        propose: Count → proposals ``[count, …]`` and which of them are accepted ``[count]``.
        rows: How many to return.

    Raises:
        DataError: Of many million proposals hardly one was.
    """
    found: list[np.ndarray] = []
    have, tried = 0, 0
    while have < rows:
        if tried > _MOST * (have + 1):
            raise DataError(
                f"of {tried} proposals for a posterior {have} were accepted: no parameter "
                "of the prior explains the observation",
                hint="look at the observation: it is not one of this simulator",
            )
        left = rows - have
        count = left * tried // have + 64 if have else max(64, rows, tried)
        values, good = propose(min(count, 1 << 20))
        found.append(values[good])
        have, tried = have + int(good.sum()), tried + len(good)
    return np.concatenate(found)[:rows]


def inside(values: np.ndarray, limit: float) -> np.ndarray:
    """Which rows lie in the box ``(-limit, limit)``."""
    return (np.abs(values) < limit).all(axis=-1)
