"""The statistics of a run at work: running sums over its ledger.

Everything follows from the ledger's events and the records of the trials they are about, so that
a view attached later, or from another terminal, shows the same; and every event costs the same,
however long the run is.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from hpo.ledger.events import Capacity, EpochEvent, Event, Proposed, Reopened, Started
from hpo.stopping import registry
from hpo.study import Study
from hpo.trials.record import Trial
from hpo.trials.states import State

_SPAN = 120.0  # active seconds over which the pace of epochs is averaged


@dataclass(frozen=True, kw_only=True)
class Left:
    """How long a run will take from now on.

    Attributes:
        seconds: Active seconds; None when nothing can be said yet.
        kind: ``about`` from trials that ended, ``at most`` from the pace of epochs when no
            trial is cut any more, ``limit`` when a budget of the run ends it by then.
    """

    seconds: float | None = None
    kind: Literal["about", "at most", "limit"] = "about"


@dataclass(frozen=True, kw_only=True)
class Shares:
    """The workers' time so far in shares; together 1.

    Attributes:
        training: Training and validation, epochs in progress included.
        compiling: Tracing and compiling.
        idle: Neither: starting, loading, saving, waiting for work.
    """

    training: float
    compiling: float
    idle: float


@dataclass
class FamilyStatistics:
    """One family.

    Attributes:
        planned: Trials that the study asks for.
        budget: Epochs of each.
        proposed: Trials so far.
        ended: Trials that ended.
        reached: How many trials reached each rung, by epoch.
        trained: Trials that ended after an epoch or more, in this run (not carried over).
        cost: Worker seconds of those.
        open_cost: Worker seconds of trials that have not ended.
        epochs: Epochs trained in this run.
        open_epochs: Epochs of the trials that have not ended.
        paused: Trials that wait for a comparison.
    """

    planned: int
    budget: int
    proposed: int = 0
    ended: int = 0
    reached: Counter[int] = field(default_factory=Counter)
    trained: int = 0
    cost: float = 0.0
    open_cost: float = 0.0
    epochs: int = 0
    open_epochs: int = 0
    paused: int = 0

    @property
    def outstanding(self) -> int:
        """Trials that are still to be ended, proposed or not."""
        return max(self.planned, self.proposed) - self.ended

    @property
    def done(self) -> float:
        """Ended trials whole, the others by their epochs."""
        return self.ended + self.open_epochs / self.budget


@dataclass
class _Open:
    """A trial that has not ended, and how much of its record is in the sums."""

    record: Trial
    rungs: frozenset[int]
    reported: int = 0
    last: int = 0
    cost: float = 0.0
    paused: bool = False

    @property
    def carried(self) -> bool:
        return self.record.origin == "carried"  # another run's time


class LiveStatistics:
    """Running sums; `apply` alone changes them.

    Args:
        study: The resolved study of the run.

    Attributes:
        elapsed: Active seconds of the run at its latest event.
        time: Unix time of that event; 0 before the first.
        families: What is known of each family.
        training: Seconds of training and validation.
        compiling: Seconds of compiling.
    """

    def __init__(self, study: Study) -> None:
        self.elapsed = 0.0
        self.time = 0.0
        self.training = 0.0
        self.compiling = 0.0
        self._study = study
        self._workers = study.resources.workers or 1
        self.families = {
            name: FamilyStatistics(planned=planned, budget=study.epochs_of(name))
            for name, planned in study.trials_of().items()
        }
        self._rules = [registry.make(rule) for rule in study.stopping]
        self._plans: dict[frozenset[int], frozenset[int]] = {}  # equal ones are one
        self._open: dict[int, _Open] = {}
        self._heard: dict[int, float] = {}  # running trials: when they last reported
        self._pace, self._paced = 0.0, 0.0

    @property
    def workers(self) -> int:
        """How many trials may run at a time."""
        return self._workers

    @property
    def ended(self) -> int:
        """Trials that ended."""
        return sum(f.ended for f in self.families.values())

    def apply(self, event: Event, record: Trial | None) -> None:
        """Take in the next event of the ledger.

        Args:
            event: The event.
            record: The record of its trial, the event applied; None for one of the run.
        """
        self.elapsed = max(self.elapsed, event.elapsed)
        self.time = max(self.time, event.time)
        if isinstance(event, Capacity):
            self._workers = max(1, event.workers)
        if isinstance(event, Proposed) and record is not None:
            self._open[record.number] = self._begin(record)
        if isinstance(event, Reopened) and record is not None:
            self._open[record.number] = self._begin_again(record)
        trial = self._open.get(event.trial or 0)
        if trial is None:
            return
        record, family = trial.record, self.families[trial.record.family]
        if isinstance(event, EpochEvent):
            self._epoch(trial, event)
        if record.state is not State.RUNNING:
            self._heard.pop(record.number, None)
        elif isinstance(event, (EpochEvent, Started)):
            self._heard[record.number] = event.elapsed
        paused = record.state is State.PAUSED
        family.paused += paused - trial.paused
        trial.paused = paused
        if record.ended:
            self._end(trial)

    def _begin(self, record: Trial) -> _Open:
        family = self.families[record.family]
        family.proposed += 1
        plan = frozenset(
            e for rule in self._rules for e in rule.rungs(family.budget, record.index)
        )
        return _Open(record=record, rungs=self._plans.setdefault(plan, plan))

    def _begin_again(self, record: Trial) -> _Open:
        """A trial that had ended has not any more; its sums are taken back."""
        again, family = self._begin(record), self.families[record.family]
        again.reported, again.last = len(record.curve), record.last
        family.proposed -= 1
        family.ended -= 1
        family.open_epochs += record.last
        if record.last:
            again.cost = record.seconds + record.compile_seconds
            family.trained -= 1
            family.cost -= again.cost
            family.open_cost += again.cost
        return again

    def _epoch(self, trial: _Open, event: EpochEvent) -> None:
        record, family = trial.record, self.families[trial.record.family]
        if len(record.curve) == trial.reported:
            return  # it was known, or is no part of the record
        trial.reported += 1
        family.open_epochs += record.last - trial.last
        trial.last = record.last
        family.reached[event.epoch] += event.epoch in trial.rungs
        if trial.carried:
            return
        cost = event.seconds + event.compile_seconds
        self.training += event.seconds
        self.compiling += event.compile_seconds
        trial.cost += cost
        family.epochs += 1
        family.open_cost += cost
        self._pace = self._pace * self._faded(event.elapsed) + 1.0
        self._paced = event.elapsed

    def _end(self, trial: _Open) -> None:
        family = self.families[trial.record.family]
        family.ended += 1
        family.open_epochs -= trial.last
        if not trial.carried and trial.last:
            family.trained += 1
            family.cost += trial.cost
            family.open_cost -= trial.cost
        del self._open[trial.record.number]

    # -- what the view says -------------------------------------------------------------

    @property
    def fraction(self) -> float:
        """How much of the run is done, from 0 to 1."""
        total = sum(max(f.planned, f.proposed) for f in self.families.values())
        return min(sum(f.done for f in self.families.values()) / max(total, 1), 1.0)

    @property
    def epochs_per_minute(self) -> float | None:
        """The pace of the last minutes (older epochs count exponentially less)."""
        window = _SPAN * (1.0 - math.exp(-self.elapsed / _SPAN))
        if not self._pace or window <= 0:
            return None
        return 60.0 * self._pace * self._faded(self.elapsed) / window

    @property
    def trials_per_hour(self) -> float | None:
        """Trials that ended per active hour of the whole run."""
        trained = sum(f.trained for f in self.families.values())
        return 3600.0 * trained / self.elapsed if trained and self.elapsed else None

    def shares(self) -> Shares | None:
        """The shares of the workers' time so far; None before the first second or epoch."""
        whole = self.workers * self.elapsed
        if whole < 1.0 or not self.training:
            return None
        # In virtual order trials run whose reports wait for their turn: not all have a worker.
        heard = sorted(self._heard.values(), reverse=True)[: self.workers]
        begun = sum(self.elapsed - moment for moment in heard)
        compiling = min(self.compiling / whole, 1.0)
        training = min((self.training + begun) / whole, 1.0 - compiling)
        return Shares(
            training=training,
            compiling=compiling,
            idle=max(1.0 - training - compiling, 0.0),
        )

    def left(self) -> Left:
        """How long the run will take from now on, as far as its ledger tells."""
        guess, budget = self._by_trials(), self._study.budget
        limits = []
        if budget.seconds is not None:
            limits.append(max(budget.seconds - self.elapsed, 0.0))
        if budget.total_epochs is not None:
            each, known = self._per_epoch()
            left = max(budget.total_epochs - known, 0)
            if each is not None:
                limits.append(self._spread(left * each))
        if limits and (guess.seconds is None or min(limits) < guess.seconds):
            return Left(seconds=min(limits), kind="limit")
        return guess

    def _by_trials(self) -> Left:
        """From what ended trials took; else from the pace of epochs, as if none were cut."""
        open_ = [f for f in self.families.values() if f.outstanding > 0]
        if all(f.trained and not f.paused for f in open_):
            running = [self._remaining(self._open[n]) for n in self._heard]
            alive = Counter(self._open[n].record.family for n in self._heard)
            work = sum(running) + sum(
                (f.outstanding - alive[name]) * f.cost / f.trained
                for name, f in self.families.items()
                if f.trained
            )
            return Left(seconds=self._spread(work, longest=max(running, default=0.0)))
        if not all(f.epochs for f in open_):
            return Left()
        work = sum(
            (f.outstanding * f.budget - f.open_epochs)
            * (f.cost + f.open_cost)
            / f.epochs
            for f in open_
        )
        return Left(seconds=self._spread(work), kind="at most")

    def _remaining(self, trial: _Open) -> float:
        """Worker seconds a running trial takes from now on.

        As long as it took less than the ended ones on average, it becomes one of those; one
        that took longer has survived what ended them, and goes on to its last epoch.
        """
        family = self.families[trial.record.family]
        average = family.cost / family.trained
        if trial.cost < average:
            return average - trial.cost
        epoch = (family.cost + family.open_cost) / family.epochs
        return (family.budget - trial.last) * epoch

    def _per_epoch(self) -> tuple[float | None, int]:
        """Worker seconds of an epoch, and how many there were."""
        known = sum(f.epochs for f in self.families.values())
        cost = self.training + self.compiling
        return (cost / known if known else None), known

    def _spread(self, work: float, *, longest: float = 0.0) -> float:
        """Seconds that the workers take for so many worker seconds, idling as they did.

        Args:
            work: Worker seconds.
            longest: Of these, in one trial: those no other worker can take over.
        """
        shares = self.shares()
        busy = 1.0 if shares is None else max(1.0 - shares.idle, 0.05)
        return max(work / self.workers, longest) / busy

    def _faded(self, now: float) -> float:
        return math.exp(-max(now - self._paced, 0.0) / _SPAN)
