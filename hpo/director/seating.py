"""What comes next: a trial that paused goes on, a new one is drawn, or paused ones end."""

from __future__ import annotations

from collections.abc import Collection

from hpo.director import events as made
from hpo.director.decisions import Done, Start, Wait
from hpo.director.fixed import FixedProposer
from hpo.director.judge import Judge
from hpo.director.proposer import Proposer
from hpo.director.state import RunState
from hpo.ledger.events import Event, Stopped
from hpo.stopping.planning import Outlook
from hpo.study import Study
from hpo.trials.record import Trial
from hpo.trials.states import State


class Seating:
    """Finds the trial for a place that is free; a pure function of the run's state.

    Args:
        study: What is searched.
        proposer: Says what to try next.
        judge: Says what becomes of paused trials.
        state: What the run amounts to so far.
        places: How many trials may have begun at a time.

    Attributes:
        places: The same; it changes with the capacity of a cluster.
    """

    def __init__(
        self,
        study: Study,
        *,
        proposer: Proposer | FixedProposer,
        judge: Judge,
        state: RunState,
        places: int,
    ) -> None:
        self._virtual = study.resources.virtual
        self._proposer = proposer
        self._judge = judge
        self._state = state
        self.places = places

    @property
    def full(self) -> bool:
        """Whether no place is free. In virtual order an interrupted trial keeps its own."""
        kept = len(self._state.waiting) if self._virtual else 0
        return len(self._state.running) + kept >= self.places

    def next(
        self, elapsed: float, serves: Collection[str] | None = None
    ) -> tuple[Start | Wait | Done, tuple[Event, ...]]:
        """The trial for a free place, where none is to be started again.

        Args:
            elapsed: Active seconds of the run.
            serves: The families whose trials have room there; None for all.

        Returns:
            The decision, and the events to write and apply before acting on it.
        """
        if self._judge.plans:
            return self._planned(elapsed, serves)
        proposed = self._proposer.next(self._state, elapsed, serves)
        if proposed is not None:
            return self.start(self._state.fresh(proposed), elapsed, (proposed,))
        if serves is not None and self._proposer.next(self._state, elapsed):
            return Wait(), ()  # for another place
        return self._settle(elapsed, serves)

    def start(
        self, trial: Trial, elapsed: float, before: tuple[Event, ...]
    ) -> tuple[Start, tuple[Event, ...]]:
        """Another attempt at a trial; in virtual order a new trial waits for a worker.

        Args:
            trial: The trial, pending or paused.
            elapsed: Active seconds of the run.
            before: Events that come before its start.
        """
        decision = self._decision(trial, trial.attempt + 1)
        if self._virtual and trial.state is State.PENDING:
            return decision, before
        return decision, (*before, made.started(trial, elapsed))

    def place(self, trial: Trial, elapsed: float) -> tuple[Start, tuple[Event, ...]]:
        """A free worker takes a trial that has a seat, in virtual order.

        Args:
            trial: The trial; it is pending, or was promoted and got no worker yet.
            elapsed: Active seconds of the run.
        """
        if trial.state is State.RUNNING:
            return self._decision(trial, trial.attempt), ()
        return self._decision(trial, trial.attempt + 1), (made.started(trial, elapsed),)

    def _decision(self, trial: Trial, attempt: int) -> Start:
        rungs = self._state.rung_table(trial.family).rungs(trial.index)
        return Start.of(trial, attempt=attempt, rungs=rungs)

    def outlook(self, elapsed: float) -> Outlook:
        """Everything that the rule that plans may look at.

        Args:
            elapsed: Active seconds of the run.
        """
        quota = self._proposer.quota(self._state)
        return self._judge.outlook(
            self._state, quota, workers=self.places, elapsed=elapsed
        )

    def stopped(self, number: int, reason: str, elapsed: float) -> Event:
        """The end of a trial that the rule that plans has paused.

        Args:
            number: The trial.
            reason: Why, in words.
            elapsed: Active seconds of the run.
        """
        rule = self._judge.planner
        trial = self._state.trials[number]
        return made.ended(Stopped, trial, elapsed, rule=rule, reason=reason)

    def _planned(
        self, elapsed: float, serves: Collection[str] | None
    ) -> tuple[Start | Wait | Done, tuple[Event, ...]]:
        """A paused trial goes on, or a new one is drawn: as the rule that plans says."""
        while True:
            choice = self._judge.choose(self.outlook(elapsed))
            stops = tuple(
                self.stopped(n, why, elapsed) for n, why in choice.stopped.items()
            )
            if choice.promoted is not None:
                trial = self._state.trials[choice.promoted]
                if serves is not None and trial.family not in serves:
                    return Wait(), stops  # it goes on elsewhere
                return self.start(trial, elapsed, stops)
            if not choice.draw:
                return self._idle(), stops
            proposed = self._proposer.next(self._state, elapsed, serves)
            if proposed is not None:
                trial = self._state.fresh(proposed)
                return self.start(trial, elapsed, (*stops, proposed))
            if serves is not None and self._proposer.next(self._state, elapsed):
                return Wait(), stops
            # The sampler had no point left, which the quota says from now on.

    def _settle(
        self, elapsed: float, serves: Collection[str] | None
    ) -> tuple[Start | Wait | Done, tuple[Event, ...]]:
        """Nothing is left to propose: paused trials go on or end, family by family."""
        fates: list[Event] = []
        trials, elsewhere = self._state.trials, False
        for rule, found in self._judge.settle(self._state):
            goes_on = {trials[n].family for n in found.promoted}
            if serves is not None and not goes_on <= {*serves}:
                elsewhere = True
                continue
            fates += (
                made.ended(Stopped, trials[n], elapsed, rule=rule, reason=why)
                for n, why in found.stopped.items()
            )
            fates += (
                made.exploited(trials[n], exploit, elapsed, rule=rule)
                for n, exploit in found.exploited.items()
            )
            if found.promoted:
                first = found.promoted[0]
                assert first not in found.exploited, "its record is about to change"
                return self.start(trials[first], elapsed, tuple(fates))
        return Wait() if elsewhere else self._idle(), tuple(fates)

    def _idle(self) -> Wait | Done:
        """Nothing for now, or for good."""
        return Wait() if self._state.running or self._state.waiting else Done("budget")
