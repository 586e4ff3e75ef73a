"""How each event of the ledger changes the record of its trial: the one place that says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Self

from hpo.errors import RunError
from hpo.ledger.events import (
    Cancelled,
    Capacity,
    CheckpointEvent,
    Ending,
    EpochEvent,
    Evaluated,
    Event,
    Exploited,
    Extended,
    Interrupted,
    Nondeterminism,
    Note,
    Paused,
    Proposed,
    ReadTest,
    Reopened,
    RerunEvent,
    RunEvent,
    Started,
    TrialEvent,
)
from hpo.schedule import Change, schedule_of
from hpo.study import Objective, Study
from hpo.trials.best import comes_before
from hpo.trials.curve import Curve
from hpo.trials.record import Adopted, Attempt, RunRecord, Trial
from hpo.trials.states import State


class Reducer:
    """Turns the events of a run into what is known of it.

    Args:
        objectives: What trials are ranked by; the first one chooses their best epochs.
        budgets: Epoch budget by family.
        whole: Whether records keep every number of every epoch, not their curves alone.
        record: Where an earlier reducer of the same ledger was left.

    Attributes:
        record: What is known.
        members: The numbers of each family's trials, in order.
    """

    def __init__(
        self,
        *,
        objectives: Sequence[Objective],
        budgets: Mapping[str, int],
        whole: bool = False,
        record: RunRecord | None = None,
    ) -> None:
        self.record = RunRecord() if record is None else record
        self.members: dict[str, list[int]] = {family: [] for family in budgets}
        self._objective = objectives[0]
        self._further = tuple(o.metric for o in objectives[1:])
        self._budgets = dict(budgets)
        self._whole = whole
        for trial in self.record.trials.values():
            self.members[trial.family].append(trial.number)

    @classmethod
    def of(
        cls, study: Study, *, whole: bool = False, record: RunRecord | None = None
    ) -> Self:
        """The reducer for the ledger of a study.

        Args:
            study: The resolved study of the run.
            whole: See `Reducer`.
            record: See `Reducer`.
        """
        budgets = {f.name: study.epochs_of(f.name) for f in study.families}
        return cls(
            objectives=study.objectives, budgets=budgets, whole=whole, record=record
        )

    def apply(self, event: Event) -> Trial | None:
        """Take note of the next event of the ledger.

        Returns:
            The trial it is about, as it is now; None for an event of the run.

        Raises:
            RunError: The event cannot follow what the ledger said before.
        """
        record = self.record
        if event.elapsed > record.elapsed:
            record.elapsed = float(event.elapsed)
        if isinstance(event, Proposed):
            trial = self._proposed(event)
            record.trials[trial.number] = trial
            self.members[trial.family].append(trial.number)
        elif isinstance(event, TrialEvent):
            found = record.trials.get(event.trial)
            if found is None:
                raise contradiction(event, "that trial was never proposed")
            trial = found
            if isinstance(event, EpochEvent):
                self._epoch(trial, event)
            elif isinstance(event, Exploited):
                _exploit(trial, record.trials.get(event.donor), event)
            else:
                _change(trial, event)
        else:
            return self._of_run(event)
        return trial

    def fresh(self, event: Proposed) -> Trial:
        """The record that a proposal brings into being; it is not taken in yet."""
        return Trial(
            number=event.trial,
            family=event.family,
            index=event.number,
            params=event.params,
            seed=event.seed,
            budget=self._budgets[event.family],
            origin=event.origin or "",
            schedule=list(schedule_of(event.schedule or ())),
            extension=event.extension or 0,
        )

    def _proposed(self, event: Proposed) -> Trial:
        if event.trial != len(self.record.trials) + 1:
            why = f"trial {len(self.record.trials) + 1} would be next"
            raise contradiction(event, why)
        if event.family not in self.members:
            raise contradiction(event, f"the study has no family `{event.family}`")
        if event.number != len(self.members[event.family]):
            raise contradiction(event, "trials of a family count up by one")
        return self.fresh(event)

    def _of_run(self, event: Event) -> Trial | None:
        if isinstance(event, RunEvent):
            finish = event.action == "finish"
            self.record.ending = (event.reason or "") if finish else None
        elif isinstance(event, Note):
            trial = self.record.trials.get(event.trial or 0)
            notes = self.record.notes if trial is None else trial.notes
            notes.append(event.text)
            return trial
        elif isinstance(event, Extended):
            self.record.ending = None
            self.record.before.append(event.before)
            count, said = len(self.record.trials), "; ".join(event.said)
            self.record.notes.append(f"extended after {count} trials: {said}")
        elif not isinstance(event, (RerunEvent, ReadTest, Capacity)):
            raise contradiction(event, _UNKNOWN)
        return None

    def _epoch(self, trial: Trial, event: EpochEvent) -> None:
        """An epoch within budget; of two reports the first stands."""
        if trial.state is not State.RUNNING:
            raise contradiction(event, f"trial is {trial.state}, not running")
        if (event.attempt or 0) > len(trial.attempts):
            raise contradiction(event, f"attempt {event.attempt} was never started")
        trial.parameters = event.parameters or trial.parameters
        trial.kernels = event.kernels or trial.kernels
        number, valid = event.epoch, event.valid
        if number > trial.budget:
            return
        value = valid.get(self._objective.metric, math.nan)
        if not trial.curve.add(number, value, event.train.get("loss", math.nan)):
            return
        trial.seconds += event.seconds
        trial.compile_seconds += event.compile_seconds
        if self._whole:
            trial.epochs[number] = event.record()
        best = None
        if trial.best_epoch is not None:
            best = self._objective.rank_key(trial.value), trial.best_epoch
        if comes_before(number, value, best, self._objective):
            trial.value, trial.best_epoch = value, number
            if self._further:
                trial.further = {m: valid[m] for m in self._further if m in valid}


_UNKNOWN = "this version cannot replay such an event"


def _change(trial: Trial, event: TrialEvent) -> None:
    """Apply an event of a trial that is no epoch."""
    if isinstance(event, Started):
        waits = trial.state in (State.PENDING, State.PAUSED)
        _expect(waits, event, f"trial is {trial.state}, not pending")
        number = trial.attempt + 1
        _expect(event.attempt == number, event, "attempts count up by one")
        trial.attempts.append(
            Attempt(number=number, why=event.attempt_of, epoch=event.epoch)
        )
        trial.state, trial.rule, trial.reason = State.RUNNING, "", ""
        return
    started = event.attempt is None or event.attempt <= trial.attempt
    _expect(started, event, f"attempt {event.attempt} was never started")
    if isinstance(event, CheckpointEvent):
        _expect(trial.attempt > 0, event, "no attempt was started")
        trial.attempts[(event.attempt or 0) - 1].checkpoint = event.epoch
    elif isinstance(event, Nondeterminism):
        trial.unequal.append(event.epoch)
    elif isinstance(event, Evaluated):
        _expect(trial.ended, event, f"trial is {trial.state}, and has not ended")
    elif isinstance(event, Reopened):
        _expect(trial.ended, event, f"trial is {trial.state}, and has not ended")
        trial.state, trial.reason = State(event.state), ""
        trial.rule = event.rule or ""
    elif isinstance(event, (Interrupted, Paused)):
        running = trial.state is State.RUNNING
        _expect(running, event, f"trial is {trial.state}, not running")
        _end(trial, event)
        if isinstance(event, Interrupted):
            trial.attempts[-1].died = bool(event.death)
    elif isinstance(event, Ending):
        _expect(not trial.ended, event, f"trial has ended before ({trial.state})")
        _end(trial, event)
    else:
        raise contradiction(event, _UNKNOWN)


def _exploit(trial: Trial, donor: Trial | None, event: Exploited) -> None:
    """Make the donor's training that of the trial, up to the epoch both have reached."""
    paused = donor is not None and donor.state is trial.state is State.PAUSED
    _expect(paused, event, "only a paused trial adopts, and only another paused one")
    assert donor is not None, "said just now"
    related = donor.family == trial.family and donor is not trial
    _expect(related, event, f"trial {donor.number} is no other one of its family")
    level = trial.last == donor.last == event.epoch
    _expect(level, event, f"they are at epochs {trial.last} and {donor.last}")
    value = trial.curve.value_at(event.epoch)
    trial.exploits.append(
        Adopted(
            epoch=event.epoch,
            donor=donor.number,
            attempt=donor.attempt,
            since=trial.attempt + 1,
            value=math.nan if value is None else value,
        )
    )
    trial.seed, trial.params = donor.seed, dict(donor.params)
    change = Change(after=event.epoch, traced=event.traced)
    trial.schedule = [*donor.schedule, change]
    trial.curve = Curve(donor.curve.points[:])
    trial.epochs = dict(donor.epochs)
    trial.value, trial.best_epoch = donor.value, donor.best_epoch
    trial.further = dict(donor.further)


def _end(trial: Trial, event: Interrupted | Paused | Ending) -> None:
    """The end of an attempt, of the trial too where the event is an `Ending`."""
    interrupted = isinstance(event, Interrupted)
    trial.rule = "" if isinstance(event, Interrupted) else event.rule or ""
    trial.reason = event.reason or ""
    trial.state = State.PENDING if interrupted else State(event.event)
    if trial.attempts:
        attempt = trial.attempts[(event.attempt or 0) - 1]
        if attempt.end.startswith(State.PAUSED) and isinstance(event, Cancelled):
            return  # it waits again where the run is extended
        by = trial.ended_by
        attempt.end = f"{event.event} ({by})" if by else event.event


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
