"""Successive halving, as `asha` and `hyperband` share it."""

from __future__ import annotations

import math

from hpo.stopping.registry import Evidence, Verdict
from hpo.trials.record import finite_key
from hpo.trials.states import State


def geometric(first: int, *, eta: int, budget: int) -> tuple[int, ...]:
    """``first * eta**k`` for all k while below the budget.

    Args:
        first: The first rung in epochs.
        eta: The ratio of two rungs.
        budget: The epoch budget.
    """
    found = []
    while first < budget:
        found.append(first)
        first *= eta
    return tuple(found)


def halve(evidence: Evidence, *, eta: int) -> Verdict | None:
    """End a trial that is not among the best 1/eta at its rung; at least one goes on.

    A value that is not finite never goes on, counts as the worst, and so never keeps
    another trial from going on.

    Args:
        evidence: At a rung or between two.
        eta: One in how many goes on.
    """
    number, value = evidence.epoch.number, evidence.value
    if evidence.rung is None:
        return None
    if not math.isfinite(value):
        return Verdict(State.STOPPED, f"{evidence.objective.metric} is {value}")
    key = finite_key(evidence.attained, evidence.objective)
    reached, better = evidence.rung.standing(evidence.trial, key)
    if better < max(1, reached // eta):
        return None
    return Verdict(State.STOPPED, f"rank {better + 1} of {reached} at epoch {number}")
