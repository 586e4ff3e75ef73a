"""A study in virtual order over finished curves: workers train ahead, and park."""

from __future__ import annotations

import heapq

from hpo.director.decisions import Continue, Done, Start
from hpo.director.virtual import VirtualOrder
from hpo.simulate.hands import Hands, Story
from hpo.simulate.task import Task
from hpo.study import Study
from hpo.trials.states import State


class Seated(Hands):
    """Workers that train seated trials, an epoch in its own seconds; to park costs nothing.

    Args:
        study: In virtual order.
        task: The curves.
        workers: How many trials are trained at a time.
    """

    def __init__(self, study: Study, task: Task, *, workers: int) -> None:
        super().__init__(study, task, places=study.resources.seats)
        self._workers = workers
        self._trained: dict[int, int] = {}  # epochs of the trials that have a worker
        self._turns: VirtualOrder[int] = VirtualOrder(
            self._director,
            take=self._take,
            write=self._write,
            elapsed=lambda: self._now,
        )

    def run(self) -> Story:
        """The whole study."""
        while self._occupy():
            self._now, order, number = heapq.heappop(self._queue)
            assert self._order[number] == order, "a worker is never taken away"
            self._spend(number)
            self._report(number)
        return self._story

    def _occupy(self) -> bool:
        """Give every free worker a trial; whether the study goes on."""
        while len(self._trained) < self._workers:
            decision = self._turns.next()
            if isinstance(decision, Done):
                return False
            if not isinstance(decision, Start):
                break
            number = decision.trial
            self._order[number] = len(self._story.events)
            self._trained[number] = decision.known
            self._await(number, decision.known)
        assert self._queue, "nobody is at work, and nobody can be"
        return True

    def _report(self, number: int) -> None:
        """A worker has done an epoch, or found none."""
        trained = self._trained.pop(number)
        curve, trial = self._curve(number), self._director.trials[number]
        if trial.state is not State.RUNNING:
            return  # trained in vain: it has ended meanwhile
        if trained >= len(curve.epochs):
            self._turns.report(number, None, trained)
            return
        epoch = curve.epochs[trained]
        if isinstance(self._turns.report(number, epoch, trained), Continue):
            self._trained[number] = trained + 1
            self._await(number, trained + 1)

    def _take(self, number: int, trained: int) -> None:
        """Judge an epoch, or the end behind the last one, whose turn has come."""
        curve, trial = self._curve(number), self._director.trials[number]
        if trained >= len(curve.epochs):
            self._write(self._ended(trial, curve))
            return
        epoch = curve.epochs[trained]
        _, events = self._director.judge(number, trial.attempt, epoch, self._now)
        self._write(events)
