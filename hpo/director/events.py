"""The events that go with the Director's decisions."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from hpo.ledger.events import (
    Ending,
    EpochEvent,
    Exploited,
    Interrupted,
    Nondeterminism,
    Paused,
    Started,
)
from hpo.stopping.registry import Exploit
from hpo.trials.record import Trial
from hpo.trials.states import State
from models.training.protocol import Epoch


def started(trial: Trial, elapsed: float) -> Started:
    """The next attempt at a trial: why, what is known, and whose checkpoint it goes on from.

    Args:
        trial: The trial, pending or paused.
        elapsed: Active seconds of the run.
    """
    attempt = trial.attempt + 1
    why = "retry" if trial.died else "resume"
    if trial.state is State.PAUSED:
        why = "promoted"
    elif attempt == 1:
        why = "first"
    return Started(
        trial=trial.number,
        attempt=attempt,
        elapsed=elapsed,
        attempt_of=why,
        epoch=trial.last,
        from_attempt=trial.restore_from,
    )


def interrupted(
    trial: Trial, elapsed: float, *, reason: str, death: bool
) -> Interrupted:
    """The end of an attempt at a trial that will go on in another one.

    Args:
        trial: The trial, running.
        elapsed: Active seconds of the run.
        reason: What happened, in words.
        death: Whether the process died.
    """
    return Interrupted(
        trial=trial.number,
        attempt=trial.attempt or None,
        elapsed=elapsed,
        epoch=trial.last,
        reason=reason,
        death=death,
    )


def ended(
    kind: type[Ending] | type[Paused],
    trial: Trial,
    elapsed: float,
    *,
    epoch: int | None = None,
    rule: str | UnsetType = UNSET,
    reason: str | UnsetType = UNSET,
) -> Ending | Paused:
    """The end of a trial, or its pause.

    Args:
        kind: Which.
        trial: The trial.
        elapsed: Active seconds of the run.
        epoch: The last one; None for the last one known.
        rule: The rule, where one says so.
        reason: Why, in words.
    """
    return kind(
        trial=trial.number,
        attempt=trial.attempt or None,
        elapsed=elapsed,
        epoch=trial.last if epoch is None else epoch,
        rule=rule,
        reason=reason,
    )


def exploited(
    trial: Trial, exploit: Exploit, elapsed: float, *, rule: str
) -> Exploited:
    """A trial that gives up its state for another one's.

    Args:
        trial: The trial, paused.
        exploit: Whose state it adopts, and with which values.
        elapsed: Active seconds of the run.
        rule: The rule that says so.
    """
    return Exploited(
        trial=trial.number,
        elapsed=elapsed,
        donor=exploit.donor,
        epoch=trial.last,
        traced=dict(exploit.traced),
        rule=rule,
    )


def reported(trial: Trial, epoch: Epoch, elapsed: float) -> EpochEvent:
    """An epoch, with every number as a plain float.

    Args:
        trial: The trial, running.
        epoch: What its learner yielded.
        elapsed: Active seconds of the run.
    """
    return EpochEvent(
        trial=trial.number,
        attempt=trial.attempt,
        elapsed=elapsed,
        epoch=epoch.number,
        train={k: float(v) for k, v in epoch.train.items()},
        valid={k: float(v) for k, v in epoch.valid.items()},
        seconds=float(epoch.seconds),
        compile_seconds=float(epoch.compile_seconds),
    )


def repeated(
    trial: Trial, known: Epoch, again: Epoch, elapsed: float
) -> tuple[Nondeterminism, ...]:
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
                return (
                    Nondeterminism(
                        trial=trial.number,
                        attempt=trial.attempt,
                        elapsed=elapsed,
                        epoch=again.number,
                        metric=f"{part}.{metric}",
                        first=a,
                        second=None if b is None else float(b),
                    ),
                )
    return ()


def _differ(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is not b
    return a != b and not (a != a and b != b)
