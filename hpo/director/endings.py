"""Decisions that end a running trial, with the events that say so."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from hpo.director import events as made
from hpo.director.decisions import Stop
from hpo.ledger.events import Completed, Ending, Event, Failed
from hpo.trials.record import Trial
from hpo.trials.states import State


def stop(
    kind: type[Ending],
    trial: Trial,
    elapsed: float,
    *,
    epoch: int,
    rule: str | UnsetType = UNSET,
    reason: str | UnsetType = UNSET,
) -> tuple[Stop, tuple[Event, ...]]:
    """The end of a running trial.

    Args:
        kind: Which.
        trial: The trial.
        elapsed: Active seconds of the run.
        epoch: Its last one.
        rule: The rule, where one says so.
        reason: Why, in words.
    """
    event = made.ended(kind, trial, elapsed, epoch=epoch, rule=rule, reason=reason)
    return Stop(state=State(event.event), rule=rule or ""), (event,)


def past_budget(
    trial: Trial, epoch: int, elapsed: float
) -> tuple[Stop, tuple[Event, ...]]:
    """The learner went past its budget without an epoch at it: what is within it stands."""
    reason = f"the learner reported epoch {epoch} of {trial.budget}, which is left out"
    kind: type[Ending] = Completed
    if trial.last == 0:
        reason += "; it reported none before"
        kind = Failed
    return stop(kind, trial, elapsed, epoch=trial.last, reason=reason)
