"""The brain: events in, decisions out. No Ray, no clock, no running random generator.

Every decision is a pure function of the study and the events applied so far. The trial loop writes
the events that come with a decision, apply what the ledger gave back, and only then act, so
that replaying a ledger brings the Director into the very state in which it was written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from hpo.director import events as made
from hpo.director.clock import Clock
from hpo.director.decisions import Continue, Done, Pause, Start, Stop, Wait
from hpo.director.endings import past_budget, stop
from hpo.director.fixed import FixedProposer
from hpo.director.judge import Judge
from hpo.director.proposer import Proposer
from hpo.director.seating import Seating
from hpo.director.state import RunState
from hpo.ledger.events import (
    KINDS,
    Cancelled,
    Capacity,
    Completed,
    Ending,
    Event,
    Failed,
    Paused,
)
from hpo.objectives import PARAMETERS
from hpo.objectives import check as check_objectives
from hpo.stopping.planning import place
from hpo.study import Study
from hpo.trials.record import Trial
from hpo.trials.states import State
from models.training.protocol import Epoch
from search_spaces.space import Space

RETRIES = 2
PARKED = "waits for a worker: its own took another trial before its turn came"


class Director:
    """Decides what to train next and what to end.

    Args:
        study: What is searched.
        workers: How many trials may run at a time; in virtual order, how many seats there are.

    Attributes:
        clock: Who has a seat, and whose report comes next; kept in virtual order only.

    Raises:
        StudyError: A sampler, rule or option is unknown or breaks a rule, or the objectives
            cannot be weighed.
    """

    def __init__(self, study: Study, *, workers: int) -> None:
        assert workers >= 1, "a run needs a worker"
        check_objectives(study.objectives)
        self.study = study
        self.workers = workers
        self._judge = Judge(study)
        self._proposer = (
            FixedProposer(study)
            if study.fixed
            else Proposer(study, draws_first=self._judge.draws_first)
        )
        self._state = RunState(study, rung_tables=self._judge.rung_tables())
        self._seating = Seating(
            study,
            proposer=self._proposer,
            judge=self._judge,
            state=self._state,
            places=workers,
        )
        self._virtual = study.resources.virtual
        self.clock = Clock()

    # -- what is known ------------------------------------------------------------------

    @property
    def trials(self) -> Mapping[int, Trial]:
        """Every trial by number; a read-only view."""
        return self._state.trials

    @property
    def elapsed(self) -> float:
        """Active seconds of the run at its latest event; a resumed clock starts here."""
        return self._state.elapsed

    @property
    def epochs(self) -> int:
        """Epochs of all trials together."""
        return self._state.epochs

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the trials that run, in order."""
        return tuple(sorted(self._state.running))

    @property
    def total(self) -> int:
        """How many trials the run will have, as far as is known."""
        return self._proposer.total(self._state)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks for a person on the budget, and on the sampler in the study's spaces."""
        return self._proposer.remarks

    def space_of(self, trial: Trial) -> Space:
        """The space that a trial was proposed in, which need not be its family's today."""
        return self._state.spaces.of(trial.number, trial.family, trial.extension)

    def counts(self) -> dict[str, int]:
        """How many trials are in each state (states without trials are left out)."""
        return self._state.counts()

    def best(self, family: str | None = None) -> Trial | None:
        """The ranked trial with the best values, of one family or of all.

        Args:
            family: A family's name, or None for all.
        """
        return self._state.best(family)

    def rungs(self, family: str) -> tuple[int, ...]:
        """Epochs after which some trial of a family is compared with others.

        Args:
            family: A family's name.
        """
        rung_table = self._state.rung_table(family)
        planned = range(self.study.trials_of()[family])
        return tuple(sorted({e for index in planned for e in rung_table.rungs(index)}))

    def limit_reached(self, elapsed: float, *, ahead: int = 0) -> str | None:
        """``time`` or ``epochs`` when that budget of the run is used up, else None.

        Args:
            elapsed: Active seconds of the run.
            ahead: Epochs to count beside those already applied.
        """
        budget = self.study.budget
        if budget.seconds is not None and elapsed >= budget.seconds:
            return "time"
        total = budget.total_epochs
        return "epochs" if total is not None and self.epochs + ahead >= total else None

    def apply(self, event: Event) -> None:
        """Take note of an event that is in the ledger; nothing else changes the Director.

        Args:
            event: The next event, as the ledger returned it.

        Raises:
            RunError: It cannot follow the events before it.
        """
        self._state.apply(event)
        if self._virtual:
            self.clock.apply(event)
        elif isinstance(event, Capacity):
            self.offer(event.workers)

    def offer(self, workers: int) -> None:
        """So many workers are there from now on; in virtual order nothing is decided by it.

        Args:
            workers: How many; none count as one, so that something may begin.
        """
        if not self._virtual:
            self.workers = self._seating.places = max(1, workers)

    # -- decisions ----------------------------------------------------------------------

    def next(
        self, elapsed: float, *, serves: Collection[str] | None = None
    ) -> tuple[Start | Wait | Done, tuple[Event, ...]]:
        """The decision for a free worker; in virtual order, for a free seat of the clock.

        Args:
            elapsed: Active seconds of the run.
            serves: The families that the worker can train; None for all, as in virtual order.

        Returns:
            The decision, and the events to write and apply before acting on it.
        """
        limit = self.limit_reached(elapsed)
        if limit is not None:
            if self._state.running:
                return Wait(), ()
            return Done(limit), self.expire(elapsed)
        if self._seating.full:
            return Wait(), ()
        waiting = set() if self._virtual else self._state.waiting
        if serves is not None:
            waiting = {n for n in waiting if self.trials[n].family in serves}
        if waiting:
            return self._seating.start(self.trials[min(waiting)], elapsed, ())
        return self._seating.next(elapsed, serves)

    def place(self, trial: int, elapsed: float) -> tuple[Start, tuple[Event, ...]]:
        """A free worker takes a trial that has a seat, in virtual order.

        Args:
            trial: The trial's number; it is pending, or was promoted and got no worker yet.
            elapsed: Active seconds of the run.

        Returns:
            What to train, and the events to write and apply before that.
        """
        return self._seating.place(self.trials[trial], elapsed)

    def left(self, trial: int, elapsed: float) -> tuple[Event, ...]:
        """Its worker took another trial while this one waited for its turn; it may go on now.

        Args:
            trial: The trial's number.
            elapsed: Active seconds of the run.
        """
        record = self.trials[trial]
        return (made.interrupted(record, elapsed, reason=PARKED, death=False),)

    def parks(self, trial: int, ahead: Sequence[Epoch]) -> bool:
        """Whether to train a trial no further before its early epochs have had their turn.

        Args:
            trial: The trial's number, which runs.
            ahead: Its epochs that the ledger does not hold yet, in order.

        Returns:
            True where it is about to be compared with others, or where its own curve ends it.
        """
        record, last = self.trials[trial], ahead[-1]
        if last.number >= self._proposer.last_epoch(record) or self._lacks(last):
            return True
        rungs = self._state.rung_table(record.family).rungs(record.index)
        return last.number in rungs or self._judge.foresees(record, ahead, self._state)

    def judge(
        self, trial: int, attempt: int, epoch: Epoch, elapsed: float
    ) -> tuple[Continue | Pause | Stop, tuple[Event, ...]]:
        """The decision on a trial after an epoch.

        Args:
            trial: The trial's number.
            attempt: The attempt that reports.
            epoch: What it reports. An epoch the ledger already holds is not written again:
                where its numbers differ, that is noted, and the first ones stand. One past
                the budget is no part of the record: the trial has completed its budget.
            elapsed: Active seconds of the run.

        Returns:
            The decision, and the events to write and apply before acting on it. A late
            report of a trial that is over, or of an older attempt, gets a `Stop` and none.
        """
        record = self.trials[trial]
        if record.state is not State.RUNNING or record.attempt != attempt:
            return Stop(state=record.state, rule=record.rule), ()
        if epoch.number > record.budget:
            return past_budget(record, epoch.number, elapsed)
        known = record.epochs.get(epoch.number)
        if known is None:
            decision, ending = self._decide(record, epoch, elapsed)
            return decision, (made.reported(record, epoch, elapsed), *ending)
        events = made.repeated(record, known, epoch, elapsed)
        if self._state.undecided != trial or epoch.number != record.last:
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
            return (made.ended(Failed, record, elapsed, reason=reason),)
        reason = f"the learner ended after {record.last} of {record.budget} epochs"
        return (made.ended(Completed, record, elapsed, reason=reason),)

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
            return (made.interrupted(record, elapsed, reason=reason, death=True),)
        return (made.ended(Failed, record, elapsed, reason=reason),)

    def interrupt(self, reason: str, elapsed: float) -> tuple[Event, ...]:
        """Every running trial will have to go on in a new attempt; no retry is spent.

        Where the driver died between an epoch and the decision on it, the decision is taken
        now: such a trial may end instead.

        Args:
            reason: What happened, in words.
            elapsed: Active seconds of the run.
        """
        return tuple(
            event
            for number in self.running
            for event in self._interrupted(number, reason, elapsed)
        )

    def displaced(
        self, trial: int, attempt: int, reason: str, elapsed: float
    ) -> tuple[Event, ...]:
        """The place at which a trial was trained is gone; no retry is spent.

        Args:
            trial: The trial's number.
            attempt: The attempt.
            reason: What happened, in words.
            elapsed: Active seconds of the run.
        """
        if self._active(trial, attempt) is None:
            return ()
        return self._interrupted(trial, reason, elapsed)

    def expire(self, elapsed: float) -> tuple[Event, ...]:
        """End what has not ended when a budget of the run is used up.

        Trials that a rule which plans has paused are stopped by it, all others cancelled.

        Args:
            elapsed: Active seconds of the run.

        Returns:
            An event for each such trial; empty while there is budget left.
        """
        limit = self.limit_reached(elapsed)
        if limit is None:
            return ()
        reason = f"the run's budget ({limit}) is used up"
        left = self._state.running | self._state.waiting | self._state.paused
        planned = self._state.paused if self._judge.plans else set()
        outlook = self._seating.outlook(elapsed) if planned else None
        return tuple(
            made.ended(Cancelled, self.trials[n], elapsed, reason=reason)
            if outlook is None or n not in planned
            else self._seating.stopped(
                n, f"{place(outlook, self.trials[n])}: {reason}", elapsed
            )
            for n in sorted(left)
        )

    # -- inside -------------------------------------------------------------------------

    def _interrupted(
        self, number: int, reason: str, elapsed: float
    ) -> tuple[Event, ...]:
        """The end of a running trial's attempt, or of the trial where that was undecided."""
        record = self.trials[number]
        ending: tuple[Event, ...] = ()
        if number == self._state.undecided:
            _, ending = self._decide(record, record.epochs[record.last], elapsed)
        return ending or (
            made.interrupted(record, elapsed, reason=reason, death=False),
        )

    def _active(self, trial: int, attempt: int) -> Trial | None:
        record = self.trials[trial]
        live = record.state is State.RUNNING and record.attempt == attempt
        return record if live else None

    def _decide(
        self, trial: Trial, epoch: Epoch, elapsed: float
    ) -> tuple[Continue | Pause | Stop, tuple[Event, ...]]:
        """The decision on a trial's last epoch, whether that is applied already or not."""
        number = epoch.number
        if missing := self._lacks(epoch):
            reported = ", ".join(sorted(epoch.valid)) or "nothing"
            reason = f"the learner reports no `{min(missing)}` but {reported}"
            return stop(Failed, trial, elapsed, epoch=number, reason=reason)
        verdict = self._judge.verdict(trial, epoch, self._state)
        if verdict is not None and verdict[1].state != State.PAUSED:
            rule, found = verdict
            kind = KINDS[found.state]
            assert issubclass(kind, Ending), "a rule ends or pauses"
            return stop(
                kind, trial, elapsed, epoch=number, rule=rule, reason=found.reason
            )
        if number >= self._proposer.last_epoch(trial):
            return stop(Completed, trial, elapsed, epoch=number)
        limit = self.limit_reached(elapsed, ahead=int(number not in trial.epochs))
        waits = verdict is not None and self._judge.plans
        if limit is not None and not waits:
            reason = f"the run's budget ({limit}) is used up"
            return stop(Cancelled, trial, elapsed, epoch=number, reason=reason)
        if verdict is not None:
            rule, reason = verdict[0], verdict[1].reason
            event = made.ended(
                Paused, trial, elapsed, epoch=number, rule=rule, reason=reason
            )
            return Pause(rule), (event,)
        return Continue(), ()

    def _lacks(self, epoch: Epoch) -> set[str]:
        """The objectives that an epoch says nothing of."""
        metrics = {o.metric for o in self.study.objectives}
        return metrics - {*epoch.valid, PARAMETERS}


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
