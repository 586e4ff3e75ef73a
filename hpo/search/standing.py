"""How a family's earlier trials compare, for samplers that need nothing but an order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hpo.fronts import crowding, fronts
from hpo.objectives import attained, excess, keys
from hpo.study import Objective
from hpo.trials.record import Trial, finite_key


def standing(
    trial: Trial, objectives: Sequence[Objective]
) -> tuple[int, float, tuple[float, ...]]:
    """A key that sorts ended trials best first.

    Completed and converged trials come first, by value; then those of them that exceed a
    limit, the least excess first; then those that a rule stopped or paused, the longest
    first and among equals by value; then those that diverged, failed or were cancelled,
    and those without a finite value.

    Args:
        trial: A trial that has ended or is paused.
        objectives: What trials are ranked by; the first one decides first.
    """
    judged = trial.ranked or trial.state in ("stopped", "paused")
    if trial.value is None or not judged:
        return 3, 0.0, ()
    if not trial.ranked:
        return 2, -trial.last, (finite_key(trial.value, objectives[0]),)
    values = attained(trial, objectives)
    over = sum(max(0.0, x) for x in excess(values, objectives).values())
    return int(over > 0), over, keys(values, objectives)


def best_first(trials: Iterable[Trial], objectives: Sequence[Objective]) -> list[Trial]:
    """Those that have ended or are paused, best first; the earlier of equals comes first.

    With several objectives, trials within the limits are ordered by front and then by
    crowding distance (Deb et al., 2002), all others by `standing`.

    Args:
        trials: Trials of one family, in the order they were proposed.
        objectives: What trials are ranked by.
    """
    waiting = ("pending", "running")
    judged = [t for t in trials if t.state not in waiting]
    order = sorted(judged, key=lambda t: standing(t, objectives))
    if len(objectives) == 1:
        return order
    within = [t for t in order if standing(t, objectives)[0] == 0]
    return [*_by_front(within, objectives), *order[len(within) :]]


def _by_front(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Trial]:
    vectors = [keys(attained(t, objectives), objectives) for t in trials]
    # What a learner does not say (an infinite key) is far, not infinitely far.
    bounded = [tuple(min(x, 1e300) for x in vector) for vector in vectors]
    found = fronts(vectors)
    distance = [math.inf] * len(trials)
    for front in set(found):
        members = [i for i, f in enumerate(found) if f == front]
        for i, d in zip(members, crowding([bounded[i] for i in members]), strict=True):
            distance[i] = d
    order = sorted(range(len(trials)), key=lambda i: (found[i], -distance[i]))
    return [trials[i] for i in order]
