"""Who dominates whom among several objectives, for ranking and for evolution."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

Vector = Sequence[float]


def dominates(a: Vector, b: Vector) -> bool:
    """Whether `a` is nowhere worse than `b` and somewhere better; smaller is better."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)


def fronts(vectors: Sequence[Vector]) -> list[int]:
    """The front of each vector: 1 for those that none dominates, 2 for those that none
    outside front 1 dominates, and so on (Deb et al., 2002).

    Args:
        vectors: One per candidate, smaller is better in every place; no NaN.

    Returns:
        The front of each, counted from 1.
    """
    assert not any(math.isnan(x) for v in vectors for x in v), "NaN cannot be compared"
    # In lexicographic order nobody is dominated by a later one; each goes to the first
    # front in which nobody dominates it. Who is dominated in a front is so in all before
    # it, so that front is found by bisection (Zhang et al., 2015, ENS-BS); with two
    # objectives a front's latest member is the one to ask.
    order = sorted(range(len(vectors)), key=lambda i: tuple(vectors[i]))
    if (
        vectors and len(vectors[0]) == 1
    ):  # each value is a front: no need to compare all
        values = sorted({v[0] for v in vectors})
        place_of = {value: place for place, value in enumerate(values, 1)}
        return [place_of[v[0]] for v in vectors]
    asked = slice(-1, None) if vectors and len(vectors[0]) == 2 else slice(None)
    members: list[list[int]] = []
    found = [0] * len(vectors)
    for i in order:

        def free(front: list[int], i: int = i) -> bool:
            return not any(dominates(vectors[j], vectors[i]) for j in front[asked])

        place = bisect_left(members, True, key=free)
        if place == len(members):
            members.append([])
        members[place].append(i)
        found[i] = place + 1
    return found


def crowding(vectors: Sequence[Vector]) -> list[float]:
    """How far each member of a front is from its neighbours; the ends are infinitely far.

    Args:
        vectors: The members of one front.

    Returns:
        The crowding distance of each (Deb et al., 2002, section III-B).
    """
    distances = [0.0] * len(vectors)
    for axis in range(len(vectors[0]) if vectors else 0):
        order = sorted(range(len(vectors)), key=lambda i: vectors[i][axis])
        low, high = vectors[order[0]][axis], vectors[order[-1]][axis]
        distances[order[0]] = distances[order[-1]] = math.inf
        if not 0 < high - low < math.inf:
            continue
        for before, i, after in zip(order, order[1:-1], order[2:], strict=False):
            gap = vectors[after][axis] - vectors[before][axis]
            distances[i] += gap / (high - low)
    return distances
