"""What is left for a run that is extended: trials that go on, wait again, or are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from hpo.director import Director, replay
from hpo.director.decisions import Done
from hpo.errors import StudyError
from hpo.ledger.events import Event
from hpo.ledger.folder import RunFolder
from hpo.stopping import registry
from hpo.stopping.planning import PlanningRule
from hpo.stopping.population import exploiting
from hpo.stopping.registry import PausingRule
from hpo.study import Study
from hpo.trials.record import Trial
from hpo.trials.states import State
from hpo.worker import session


def taken_up(
    study: Study, director: Director, folder: RunFolder
) -> Iterator[tuple[Trial, Literal["paused", "pending"], str]]:
    """Trials that have ended and go on or wait again: cut by a budget, or stopped at a pause.

    One that was stopped needs its checkpoint: to train it once more from the beginning is
    what a draw is for. So does its value, which must be a number.

    Args:
        study: The study from now on.
        director: What became of the run.
        folder: Its folder, in which checkpoints are looked for.

    Returns:
        Each with the state that it has again, and the rule that it waits for, if one.
    """
    made = {rule.name: registry.make(rule) for rule in study.stopping}
    pausing = [n for n, r in made.items() if isinstance(r, (PausingRule, PlanningRule))]
    for trial in director.trials.values():
        if trial.origin == "carried":
            continue
        waited = bool(trial.attempts) and trial.attempts[-1].end.startswith("paused")
        if trial.state is State.CANCELLED and not (waited and pausing):
            yield trial, "pending", ""
        elif trial.state is State.CANCELLED:
            yield trial, "paused", pausing[0]
        elif trial.state is State.STOPPED and trial.rule in pausing:
            value = trial.curve.value_at(trial.last)
            finite = value is not None and math.isfinite(value)
            if finite and _saved(trial, folder):
                yield trial, "paused", trial.rule


def _saved(trial: Trial, folder: RunFolder) -> bool:
    attempts = range(1, trial.attempt + 1)
    return any(
        session.has_checkpoint(folder.attempt(trial.number, a)) for a in attempts
    )


def refuse_spent(study: Study, director: Director) -> None:
    """Refuse an extension in which a limit that is used up already would end the run.

    Args:
        study: The study from now on.
        director: What became of the run.

    Raises:
        StudyError: It is such a one.
    """
    budget = study.budget
    if budget.total_epochs is not None and director.epochs >= budget.total_epochs:
        raise StudyError(
            f"the run's {budget.total_epochs} epochs of all trials are spent",
            hint="give `--epochs-total` as well, counted from the launch on",
        )
    if budget.seconds is not None and director.elapsed >= budget.seconds:
        raise StudyError(
            f"the run's {budget.seconds:g} s are used up",
            hint="give `--time-budget` as well, counted from now on",
        )


def refuse_idle(study: Study, more_trials: bool, events: Sequence[Event]) -> None:
    """Refuse an extension that would train nothing, and leave a limit behind.

    Args:
        study: The study from now on.
        more_trials: Whether more of them were asked for.
        events: The ledger, as it would be.

    Raises:
        StudyError: No trial is left to draw, to go on or to be taken up again; or the
            Director refuses the study.
    """
    director = replay(study, events, workers=study.resources.seats)
    going_on = (State.PENDING, State.RUNNING)
    if any(trial.state in going_on for trial in director.trials.values()):
        return
    decision, _ = director.next(director.elapsed)
    if not isinstance(decision, Done):
        return
    hint = "add `--trials +20`"
    if exploiting(study):
        hint = "launch the study anew with more epochs of a trial: `--epochs N`"
    elif more_trials:
        hint = "the sampler has no other point; `--new-spaces` searches a wider space"
    raise StudyError(
        f"all {len(director.trials)} trials have ended, and none would go on or be drawn",
        hint=hint,
    )
