"""The events that go with the Director's decisions."""

from __future__ import annotations

from typing import Any

from hpo.ledger.events import Event
from hpo.trials.record import Trial
from models.training.protocol import Epoch


def started(trial: Trial, elapsed: float) -> Event:
    """The next attempt at a trial: why, what is known, and whose checkpoint it goes on from.

    Args:
        trial: The trial, pending or paused.
        elapsed: Active seconds of the run.
    """
    attempt = trial.attempt + 1
    why = "retry" if trial.died else "resume"
    if trial.state == "paused":
        why = "promoted"
    elif attempt == 1:
        why = "first"
    return Event(
        event="started",
        trial=trial.number,
        attempt=attempt,
        elapsed=elapsed,
        data={
            "attempt_of": why,
            "epoch": trial.last,
            "from_attempt": trial.restore_from,
        },
    )


def ended(trial: Trial, kind: str, elapsed: float, **data: Any) -> Event:
    """The end of a trial, or of an attempt (`interrupted`).

    Args:
        trial: The trial.
        kind: One of the ledger's endings, ``interrupted`` or ``paused``.
        elapsed: Active seconds of the run.
        data: What the kind adds; `epoch` is the last one known unless it is given.
    """
    return Event(
        event=kind,
        trial=trial.number,
        attempt=trial.attempt or None,
        elapsed=elapsed,
        data={"epoch": trial.last, **data},
    )


def reported(trial: Trial, epoch: Epoch, elapsed: float) -> Event:
    """An epoch, with every number as a plain float.

    Args:
        trial: The trial, running.
        epoch: What its learner yielded.
        elapsed: Active seconds of the run.
    """
    return Event(
        event="epoch",
        trial=trial.number,
        attempt=trial.attempt,
        elapsed=elapsed,
        data={
            "epoch": epoch.number,
            "train": {k: float(v) for k, v in epoch.train.items()},
            "valid": {k: float(v) for k, v in epoch.valid.items()},
            "seconds": float(epoch.seconds),
            "compile_seconds": float(epoch.compile_seconds),
        },
    )


def repeated(
    trial: Trial, known: Epoch, again: Epoch, elapsed: float
) -> tuple[Event, ...]:
    """A note of the first number that differs, once for each epoch of a trial.

    Args:
        trial: The trial, running.
        known: The epoch as the ledger has it.
        again: The same epoch, trained again.
        elapsed: Active seconds of the run.
    """
    if again.number in trial.unequal:
        return ()
    for part in ("valid", "train"):
        first, second = getattr(known, part), getattr(again, part)
        for metric in sorted({*first, *second}):
            a, b = first.get(metric), second.get(metric)
            if _differ(a, b):
                data = {
                    "epoch": again.number,
                    "metric": f"{part}.{metric}",
                    "first": a,
                    "second": None if b is None else float(b),
                }
                return (
                    Event(
                        event="nondeterminism",
                        trial=trial.number,
                        attempt=trial.attempt,
                        elapsed=elapsed,
                        data=data,
                    ),
                )
    return ()


def _differ(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is not b
    return a != b and not (a != a and b != b)
