"""The decisions a Director may take, as plain data that any executor can carry out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from hpo.schedule import Schedule
from hpo.trials.record import Trial
from hpo.trials.states import State


@dataclass(frozen=True, kw_only=True)
class Start:
    """Train this trial now, in a new attempt.

    Attributes:
        trial: The trial's number in the run, from 1.
        attempt: Which go at it, from 1.
        family: Its family.
        params: Searched values by name, before the first change of `schedule`.
        seed: The seed of the trial's training.
        epochs: Its epoch budget.
        known: The last epoch the ledger holds; 0 for a fresh trial.
        rungs: Epochs after which a rule compares this trial with others.
        schedule: How traced values change between epochs.
        donor: The trial whose state at the last change it adopts, and that one's attempt;
            None where it has adopted none.
        since: The first attempt whose checkpoints belong to this training.
        deaths: How often a worker of the trial has died.
    """

    trial: int
    attempt: int
    family: str
    params: Mapping[str, Any]
    seed: int
    epochs: int
    known: int = 0
    rungs: tuple[int, ...] = ()
    schedule: Schedule = ()
    donor: tuple[int, int] | None = None
    since: int = 1
    deaths: int = 0

    @classmethod
    def of(cls, trial: Trial, *, attempt: int, rungs: tuple[int, ...] = ()) -> Self:
        """An attempt at a trial as its record has it.

        Args:
            trial: The trial.
            attempt: Which go at it.
            rungs: Epochs after which a rule compares it with others.
        """
        adopted = trial.exploits[-1] if trial.exploits else None
        return cls(
            trial=trial.number,
            attempt=attempt,
            family=trial.family,
            params=trial.params,
            seed=trial.seed,
            epochs=trial.budget,
            known=trial.last,
            rungs=rungs,
            schedule=tuple(trial.schedule),
            donor=(adopted.donor, adopted.attempt) if adopted else None,
            since=trial.since,
            deaths=trial.deaths,
        )


@dataclass(frozen=True)
class Wait:
    """Not now: every worker is busy, or what comes next needs a running trial's result."""


@dataclass(frozen=True)
class Done:
    """Nothing is left to start, and nothing that runs can lead to a new start.

    Attributes:
        reason: ``budget`` (all trials have ended, or do with the events that come along) or
            ``time`` or ``epochs`` (a limit was reached).
    """

    reason: str = "budget"


@dataclass(frozen=True)
class Continue:
    """The trial goes on with its next epoch."""


@dataclass(frozen=True)
class Pause:
    """The attempt ends and its worker is free; the trial may go on from its checkpoint.

    Attributes:
        rule: The name of the rule that waits for the other trials.
    """

    rule: str


@dataclass(frozen=True)
class Park:
    """The attempt ends and its worker is free: what it reported early waits for its turn."""


@dataclass(frozen=True)
class Stop:
    """The trial ends; the events returned with the decision say how.

    Attributes:
        state: The state of the trial from then on, an ending.
        rule: The rule's name where a rule ended it.
    """

    state: State
    rule: str = ""
