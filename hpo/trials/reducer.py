"""How each event of the ledger changes what is known of its trial."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

from hpo.errors import RunError
from hpo.ledger.events import ENDINGS, Event
from hpo.study import Objective
from hpo.trials.record import Trial, objective_value
from models.training.protocol import Epoch

# How each slot of a frozen trial is read and filled.
_SLOTS = tuple(
    (f.name, vars(Trial)[f.name].__get__, vars(Trial)[f.name].__set__)
    for f in fields(Trial)
)


def _changed(trial: Trial, **changes: Any) -> Trial:
    """The result of `dataclasses.replace`, for the one event there are very many of."""
    made = object.__new__(Trial)
    for name, read, fill in _SLOTS:
        fill(made, changes[name] if name in changes else read(trial))
    return made


def advance(trial: Trial, event: Event, objective: Objective) -> Trial:
    """The trial after one of its events.

    Args:
        trial: As it was; the mappings in it are extended in place.
        event: Any event of that trial but `proposed`.
        objective: What trials are ranked by.

    Raises:
        RunError: The event cannot follow what the ledger said before.
    """
    kind = event.event
    if kind == "started":
        waits = trial.state in ("pending", "paused")
        _expect(waits, event, f"trial is {trial.state}, not pending")
        _expect(event.attempt == trial.attempt + 1, event, "attempts count up by one")
        number = trial.attempt + 1
        return replace(trial, state="running", attempt=number, rule="", reason="")
    _expect(
        event.attempt is None or event.attempt <= trial.attempt,
        event,
        f"attempt {event.attempt} was never started",
    )
    if kind == "epoch":
        _expect(trial.state == "running", event, f"trial is {trial.state}, not running")
        return _with_epoch(trial, event, objective)
    if kind == "checkpoint":
        assert isinstance(trial.checkpoints, dict)
        trial.checkpoints[event.attempt or trial.attempt] = event.data["epoch"]
        return trial
    if kind == "nondeterminism":
        return replace(trial, unequal=(*trial.unequal, event.data["epoch"]))
    if kind in ("paused", "interrupted"):
        _expect(trial.state == "running", event, f"trial is {trial.state}, not running")
        return _without_worker(trial, event)
    _expect(kind in ENDINGS, event, "this version cannot replay such an event")
    _expect(not trial.ended, event, f"trial has ended before ({trial.state})")
    rule, reason = event.data.get("rule", ""), event.data.get("reason", "")
    return replace(trial, state=kind, rule=rule, reason=reason)


def _without_worker(trial: Trial, event: Event) -> Trial:
    """The attempt is over, the trial may go on in another one."""
    data = event.data
    if event.event == "paused":
        rule, reason = data.get("rule", ""), data.get("reason", "")
        return replace(trial, state="paused", rule=rule, reason=reason)
    died = bool(data.get("death", False))
    deaths, reason = trial.deaths + died, data["reason"]
    return replace(trial, state="pending", died=died, deaths=deaths, reason=reason)


def contradiction(event: Event, why: str) -> RunError:
    """The error for an event that cannot follow the ones before it."""
    return RunError(
        f"line {event.n} of the ledger contradicts the lines before it: "
        f"{event.event} of trial {event.trial}: {why}",
        hint="a ledger is never edited by hand; restore `events.jsonl` from a copy",
    )


def _expect(holds: bool, event: Event, why: str) -> None:
    if not holds:
        raise contradiction(event, why)


def _with_epoch(trial: Trial, event: Event, objective: Objective) -> Trial:
    data = event.data
    number = data["epoch"]
    if number in trial.epochs:
        return trial
    epoch = Epoch(
        number=number,
        train=data["train"],
        valid=data["valid"],
        seconds=data["seconds"],
        compile_seconds=data["compile_seconds"],
    )
    assert isinstance(trial.epochs, dict) and isinstance(trial.values, dict)
    value = objective_value(epoch, objective)
    trial.epochs[number] = epoch
    trial.values[number] = value
    best, best_epoch = trial.value, trial.best_epoch
    if math.isfinite(value) and (best is None or objective.better(value, best)):
        best, best_epoch = value, number
    return _changed(
        trial,
        last=max(trial.last, number),
        value=best,
        best_epoch=best_epoch,
        parameters=data.get("parameters") or trial.parameters,
        kernels=data.get("kernels") or trial.kernels,
        seconds=trial.seconds + epoch.seconds,
        compile_seconds=trial.compile_seconds + epoch.compile_seconds,
    )
