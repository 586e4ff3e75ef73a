"""The brain: events in, decisions out. No Ray, no clock, no running random generator.

Every decision is a pure function of the study and the events applied so far. The hands write
the events that come with a decision, apply what the ledger gave back, and only then act, so
that replaying a ledger brings the Director into the very state in which it was written.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from hpo import seeds
from hpo.decisions import Continue, Done, Start, Stop, Wait
from hpo.errors import StudyError
from hpo.ledger.events import Event
from hpo.search import registry as search
from hpo.stopping import registry as stopping
from hpo.stopping.rung import Rung
from hpo.study import Study
from hpo.trials import (
    History,
    Trial,
    advance,
    contradiction,
    finite_key,
    objective_value,
)
from models.errors import near_matches
from models.training.protocol import Epoch

RETRIES = 2
_BYSTANDERS = frozenset(("run", "note", "rerun", "test_read"))


class Director:
    """Decides what to train next and what to end.

    Args:
        study: What is searched.
        workers: How many trials may run at a time.

    Raises:
        StudyError: A sampler, rule or option is unknown or breaks a rule, or the study has
            more objectives than this version can weigh.
    """

    def __init__(self, study: Study, *, workers: int) -> None:
        assert workers >= 1, "a run needs a worker"
        if len(study.objectives) > 1 or study.objectives[0].limit is not None:
            raise StudyError(
                f"study `{study.name}`: exactly one objective without a limit can be "
                f"searched for, got {len(study.objectives)}",
                hint="keep the first of `objectives` and drop its `limit`; every other "
                "metric is recorded all the same",
            )
        self.study = study
        self.workers = workers
        self.elapsed = 0.0
        self.epochs = 0
        self._objective = study.objectives[0]
        self._sampler = search.make(study.sampler)
        self._rules = [(rule.name, stopping.make(rule)) for rule in study.stopping]
        self._quota = study.trials_of()
        self._budget = {f.name: study.epochs_of(f.name) for f in study.families}
        self._rungs = {f.name: self._tables(f.name) for f in study.families}
        self._trials: dict[int, Trial] = {}
        self._members: dict[str, list[int]] = {f.name: [] for f in study.families}
        self._waiting: set[int] = set()
        self._running: set[int] = set()
        self._states: Counter[str] = Counter()
        self._best: dict[str, int] = {}
        self._undecided: int | None = None

    # -- what is known ------------------------------------------------------------------

    @property
    def trials(self) -> Mapping[int, Trial]:
        """Every trial by number; a read-only view."""
        return MappingProxyType(self._trials)

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the trials that run, in order."""
        return tuple(sorted(self._running))

    @property
    def total(self) -> int:
        """How many trials the run will have."""
        return sum(self._quota.values())

    def counts(self) -> dict[str, int]:
        """How many trials are in each state (states without trials are left out)."""
        return {state: n for state, n in self._states.items() if n}

    def best(self, family: str | None = None) -> Trial | None:
        """The ranked trial with the best value, of one family or of all.

        Args:
            family: A family's name, or None for all.
        """
        if family is not None:
            number = self._best.get(family)
            return None if number is None else self._trials[number]
        found = [self._trials[n] for n in self._best.values()]
        return min(found, key=self._standing, default=None)

    def rungs(self, family: str) -> tuple[int, ...]:
        """Epochs after which a rule compares the trials of a family."""
        return tuple(self._rungs[family])

    def limit_reached(self, elapsed: float) -> str | None:
        """``time`` or ``epochs`` when that budget of the run is used up, else None.

        Args:
            elapsed: Active seconds of the run.
        """
        budget = self.study.budget
        return self._limit(elapsed, self.epochs, budget.seconds, budget.total_epochs)

    # -- the only mutation --------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Take note of an event that is in the ledger.

        Args:
            event: The next event, as the ledger returned it.

        Raises:
            RunError: It cannot follow the events before it.
        """
        self.elapsed = max(self.elapsed, event.elapsed)
        if event.event in _BYSTANDERS:
            return
        if event.event == "proposed":
            self._apply_proposed(event)
            return
        before = self._trials.get(event.trial or 0)
        if before is None:
            raise contradiction(event, "that trial was never proposed")
        known = len(before.epochs)
        after = advance(before, event, self._objective)
        self._trials[after.number] = after
        self._move(before.state, after)
        if len(after.epochs) > known:
            self.epochs += 1
            self._note_rung(after, event.data["epoch"])
            self._undecided = after.number
        elif event.event not in ("checkpoint", "nondeterminism") and (
            after.ended or after.number != self._undecided
        ):
            self._undecided = None

    # -- decisions ----------------------------------------------------------------------

    def next(self, elapsed: float) -> tuple[Start | Wait | Done, tuple[Event, ...]]:
        """What a free worker should do.

        Args:
            elapsed: Active seconds of the run.

        Returns:
            The decision, and the events to write and apply before acting on it.
        """
        limit = self.limit_reached(elapsed)
        if limit is not None:
            return (Wait() if self._running else Done(limit)), ()
        if len(self._running) >= self.workers:
            return Wait(), ()
        if self._waiting:
            return self._start(self._trials[min(self._waiting)], elapsed, ())
        family = self._next_family()
        if family is None:
            return (Wait() if self._running else Done("budget")), ()
        proposed = self._propose(family, elapsed)
        return self._start(self._fresh(proposed), elapsed, (proposed,))

    def judge(
        self, trial: int, attempt: int, epoch: Epoch, elapsed: float
    ) -> tuple[Continue | Stop, tuple[Event, ...]]:
        """What becomes of a trial after an epoch.

        Args:
            trial: The trial's number.
            attempt: The attempt that reports.
            epoch: What it reports. An epoch the ledger already holds is not written again:
                where its numbers differ, that is noted, and the first ones stand.
            elapsed: Active seconds of the run.

        Returns:
            The decision, and the events to write and apply before acting on it. A late
            report of a trial that is over, or of an older attempt, gets a `Stop` and none.
        """
        record = self._trials[trial]
        if record.state != "running" or record.attempt != attempt:
            return Stop(state=record.state, rule=record.rule), ()
        known = record.epochs.get(epoch.number)
        if known is None:
            decision, ending = self._decide(record, epoch, elapsed)
            return decision, (_epoch_event(record, epoch, elapsed), *ending)
        events = _repeated(record, known, epoch, elapsed)
        if self._undecided != trial or epoch.number != record.last:
            return Continue(), events
        decision, ending = self._decide(record, known, elapsed)
        return decision, (*events, *ending)

    def exhausted(self, trial: int, attempt: int, elapsed: float) -> tuple[Event, ...]:
        """The learner has nothing more to yield, though its budget is not spent.

        Args:
            trial: The trial's number.
            attempt: The attempt that reports.
            elapsed: Active seconds of the run.
        """
        record = self._active(trial, attempt)
        if record is None:
            return ()
        if record.last == 0:
            reason = "the learner ended without a single epoch"
            return (_ending(record, "failed", elapsed, reason=reason),)
        reason = f"the learner ended after {record.last} of {record.budget} epochs"
        return (_ending(record, "completed", elapsed, reason=reason),)

    def lost(
        self, trial: int, attempt: int, reason: str, elapsed: float, *, retry: bool
    ) -> tuple[Event, ...]:
        """An attempt ended without a result.

        Args:
            trial: The trial's number.
            attempt: The attempt.
            reason: What happened, in words.
            elapsed: Active seconds of the run.
            retry: True when its process died: the trial is tried again, at most twice. False
                for an exception or a stall: it has failed.
        """
        record = self._active(trial, attempt)
        if record is None:
            return ()
        if retry and record.deaths < RETRIES:
            return (_ending(record, "interrupted", elapsed, reason=reason, death=True),)
        return (_ending(record, "failed", elapsed, reason=reason),)

    def interrupt(self, reason: str, elapsed: float) -> tuple[Event, ...]:
        """Every running trial will have to go on in a new attempt; no retry is spent.

        Where the driver died between an epoch and the decision on it, the decision is taken
        now: such a trial may end instead.

        Args:
            reason: What happened, in words.
            elapsed: Active seconds of the run.
        """
        events: list[Event] = []
        for number in self.running:
            record = self._trials[number]
            ending: tuple[Event, ...] = ()
            if number == self._undecided:
                _, ending = self._decide(record, record.epochs[record.last], elapsed)
            events += ending or (
                _ending(record, "interrupted", elapsed, reason=reason, death=False),
            )
        return tuple(events)

    def expire(self, elapsed: float) -> tuple[Event, ...]:
        """Cancel what has not ended when a budget of the run is used up.

        Args:
            elapsed: Active seconds of the run.

        Returns:
            A `cancelled` event for each such trial; empty while there is budget left.
        """
        limit = self.limit_reached(elapsed)
        if limit is None:
            return ()
        left = sorted(self._running | self._waiting)
        reason = f"the run's budget ({limit}) is used up"
        return tuple(
            _ending(self._trials[n], "cancelled", elapsed, reason=reason) for n in left
        )

    # -- inside -------------------------------------------------------------------------

    def _tables(self, family: str) -> dict[int, Rung]:
        budget = self._budget[family]
        epochs = {e for _, rule in self._rules for e in rule.rungs(budget)}
        return {e: Rung() for e in sorted(epochs)}

    def _standing(self, trial: Trial) -> tuple[float, int]:
        return self._objective.rank_key(trial.value), trial.number

    def _active(self, trial: int, attempt: int) -> Trial | None:
        record = self._trials[trial]
        live = record.state == "running" and record.attempt == attempt
        return record if live else None

    def _fresh(self, proposed: Event) -> Trial:
        data = proposed.data
        assert proposed.trial is not None
        return Trial(
            number=proposed.trial,
            family=data["family"],
            index=data["number"],
            params=data["params"],
            seed=data["seed"],
            budget=self._budget[data["family"]],
            origin=data.get("origin", ""),
        )

    def _apply_proposed(self, event: Event) -> None:
        family = event.data["family"]
        if event.trial != len(self._trials) + 1:
            raise contradiction(event, f"trial {len(self._trials) + 1} would be next")
        if family not in self._members:
            raise contradiction(event, f"the study has no family `{family}`")
        if event.data["number"] != len(self._members[family]):
            raise contradiction(event, "trials of a family count up by one")
        trial = self._fresh(event)
        self._trials[trial.number] = trial
        self._members[family].append(trial.number)
        self._states[trial.state] += 1
        self._waiting.add(trial.number)
        self._undecided = None

    def _move(self, before: str, after: Trial) -> None:
        if before == after.state:
            return
        self._states[before] -= 1
        self._states[after.state] += 1
        self._waiting.discard(after.number)
        self._running.discard(after.number)
        if after.state == "pending":
            self._waiting.add(after.number)
        elif after.state == "running":
            self._running.add(after.number)
        elif after.ranked:
            best = self.best(after.family)
            if best is None or self._standing(after) < self._standing(best):
                self._best[after.family] = after.number

    def _note_rung(self, trial: Trial, epoch: int) -> None:
        rung = self._rungs[trial.family].get(epoch)
        if rung is not None:
            rung.add(trial.number, finite_key(trial.values[epoch], self._objective))

    def _next_family(self) -> str | None:
        """The family that is furthest behind its share; ties go to the one named first."""
        open_ = [f for f, quota in self._quota.items() if len(self._members[f]) < quota]
        return min(
            open_,
            key=lambda f: Fraction(len(self._members[f]), self._quota[f]),
            default=None,
        )

    def _propose(self, family: str, elapsed: float) -> Event:
        index = len(self._members[family])
        declared = self.study.family(family)
        if index < len(declared.first):
            origin, params = "first", dict(declared.first[index])
        else:
            origin = self.study.sampler.name
            request = search.Request(
                space=declared.space,
                seed=seeds.derive(self.study.seed, family, "sampler", index),
                family_seed=seeds.derive(self.study.seed, family, "sampler"),
                index=index,
                history=History(numbers=self._members[family], trials=self._trials),
                objective=self._objective,
            )
            params = self._sampler.propose(request)
        return Event(
            event="proposed",
            trial=len(self._trials) + 1,
            elapsed=elapsed,
            data={
                "family": family,
                "number": index,
                "params": params,
                "seed": seeds.derive(self.study.seed, family, "trial", index),
                "origin": origin,
            },
        )

    def _start(
        self, trial: Trial, elapsed: float, before: tuple[Event, ...]
    ) -> tuple[Start, tuple[Event, ...]]:
        attempt, source = trial.attempt + 1, trial.restore_from
        why = "first" if attempt == 1 else "retry" if trial.deaths else "resume"
        started = Event(
            event="started",
            trial=trial.number,
            attempt=attempt,
            elapsed=elapsed,
            data={"attempt_of": why, "epoch": trial.last, "from_attempt": source},
        )
        decision = Start(
            trial=trial.number,
            attempt=attempt,
            family=trial.family,
            params=trial.params,
            seed=trial.seed,
            epochs=trial.budget,
            known=trial.last,
            from_attempt=source,
            rungs=self.rungs(trial.family),
        )
        return decision, (*before, started)

    def _decide(
        self, trial: Trial, epoch: Epoch, elapsed: float
    ) -> tuple[Continue | Stop, tuple[Event, ...]]:
        """The decision on a trial's last epoch, whether that is applied already or not."""
        metric, number = self._objective.metric, epoch.number
        if metric not in epoch.valid:
            reported = ", ".join(sorted(epoch.valid)) or "nothing"
            near = near_matches(metric, epoch.valid)
            reason = f"the learner reports no `{metric}` but {reported}; {near}"
            return _stop(trial, "failed", elapsed, number, reason=reason)
        verdict = self._verdict(trial, epoch)
        if verdict is not None:
            rule, found = verdict
            return _stop(
                trial, found.state, elapsed, number, rule=rule, reason=found.reason
            )
        if number >= trial.budget:
            return _stop(trial, "completed", elapsed, number)
        spent = self.epochs + (number not in trial.epochs)
        budget = self.study.budget
        limit = self._limit(elapsed, spent, budget.seconds, budget.total_epochs)
        if limit is not None:
            reason = f"the run's budget ({limit}) is used up"
            return _stop(trial, "cancelled", elapsed, number, reason=reason)
        return Continue(), ()

    def _verdict(
        self, trial: Trial, epoch: Epoch
    ) -> tuple[str, stopping.Verdict] | None:
        """The first verdict, a divergence before all others; at the budget only that."""
        number = epoch.number
        earlier = {e: v for e, v in trial.values.items() if e < number}
        finite = [v for v in earlier.values() if math.isfinite(v)]
        evidence = stopping.Evidence(
            trial=trial.number,
            budget=trial.budget,
            epoch=epoch,
            values={**earlier, number: objective_value(epoch, self._objective)},
            best=min(finite, key=self._objective.rank_key, default=None),
            rung=self._rungs[trial.family].get(number),
            objective=self._objective,
        )
        found = [(name, rule.judge(evidence)) for name, rule in self._rules]
        verdicts = [(name, v) for name, v in found if v is not None]
        verdicts.sort(key=lambda item: item[1].state != "diverged")
        if not verdicts:
            return None
        final = number >= trial.budget and verdicts[0][1].state != "diverged"
        return None if final else verdicts[0]

    @staticmethod
    def _limit(
        elapsed: float, epochs: int, seconds: float | None, total: int | None
    ) -> str | None:
        if seconds is not None and elapsed >= seconds:
            return "time"
        return "epochs" if total is not None and epochs >= total else None


def replay(study: Study, events: Iterable[Event], *, workers: int) -> Director:
    """A Director in the state in which a ledger left it.

    Args:
        study: The study of the run.
        events: The ledger's events, in order.
        workers: How many trials may run at a time from now on.

    Raises:
        RunError: An event contradicts the ones before it.
        StudyError: The study cannot be directed (see `Director`).
    """
    director = Director(study, workers=workers)
    for event in events:
        director.apply(event)
    return director


def _ending(trial: Trial, kind: str, elapsed: float, **data: Any) -> Event:
    return Event(
        event=kind,
        trial=trial.number,
        attempt=trial.attempt or None,
        elapsed=elapsed,
        data={"epoch": trial.last, **data},
    )


def _stop(
    trial: Trial, state: str, elapsed: float, epoch: int, **data: str
) -> tuple[Stop, tuple[Event, ...]]:
    event = _ending(trial, state, elapsed, **{**data, "epoch": epoch})
    return Stop(state=state, rule=data.get("rule", "")), (event,)


def _epoch_event(trial: Trial, epoch: Epoch, elapsed: float) -> Event:
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


def _repeated(
    trial: Trial, known: Epoch, again: Epoch, elapsed: float
) -> tuple[Event, ...]:
    """A note of the first number that differs, once for each epoch of a trial."""
    if again.number in trial.unequal:
        return ()
    for part in ("valid", "train"):
        first, second = getattr(known, part), getattr(again, part)
        for metric in sorted({*first, *second}):
            a, b = first.get(metric), second.get(metric)
            if a != b and not (a is not None and b is not None and a != a and b != b):
                return (
                    Event(
                        event="nondeterminism",
                        trial=trial.number,
                        attempt=trial.attempt,
                        elapsed=elapsed,
                        data={
                            "epoch": again.number,
                            "metric": f"{part}.{metric}",
                            "first": a,
                            "second": None if b is None else float(b),
                        },
                    ),
                )
    return ()
