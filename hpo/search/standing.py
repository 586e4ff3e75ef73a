"""How a family's earlier trials compare, for samplers that need nothing but an order."""

from __future__ import annotations

from collections.abc import Iterable

from hpo.study import Objective
from hpo.trials import Trial, finite_key


def standing(trial: Trial, objective: Objective) -> tuple[int, int, float]:
    """A key that sorts ended trials best first.

    Completed and converged trials come first, by value; then those that a rule stopped or
    paused, the longest first and among equals by value; then those that diverged, failed or were
    cancelled, and those without a finite value.

    Args:
        trial: A trial that has ended or is paused.
        objective: What trials are ranked by.
    """
    if trial.value is None or not (
        trial.ranked or trial.state in ("stopped", "paused")
    ):
        return 2, 0, 0.0
    key = finite_key(trial.value, objective)
    return (0, 0, key) if trial.ranked else (1, -trial.last, key)


def best_first(trials: Iterable[Trial], objective: Objective) -> list[Trial]:
    """Those that have ended or are paused, best first; the earlier of equals before the later.

    Args:
        trials: Trials of one family, in the order they were proposed.
        objective: What trials are ranked by.
    """
    waiting = ("pending", "running")
    judged = [t for t in trials if t.state not in waiting]
    return sorted(judged, key=lambda t: standing(t, objective))
