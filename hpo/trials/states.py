"""The states of a trial."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a trial stands; text in ledgers and exports.

    The last six are endings and bear the names of the events that lead to them.
    """

    PENDING = "pending"  # proposed, or interrupted and waiting for its next attempt
    RUNNING = "running"
    PAUSED = "paused"  # waits for other trials of its family
    COMPLETED = "completed"  # its whole budget, or all that its learner had
    CONVERGED = "converged"  # no further improvement; its value stands
    STOPPED = "stopped"  # cut by a rule that compares it with others
    DIVERGED = "diverged"
    FAILED = "failed"
    CANCELLED = "cancelled"  # a budget of the run was used up


RANKED = (
    State.COMPLETED,
    State.CONVERGED,
)  # those with a value are in the ranked table
ENDINGS = (*RANKED, State.STOPPED, State.DIVERGED, State.FAILED, State.CANCELLED)
# The order in which people are told of them.
TOLD = (*RANKED, State.RUNNING, State.PAUSED, State.PENDING, *ENDINGS[2:])
