"""The local executor: child processes of the driver, each with one trial at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Literal

from hpo.director.decisions import Continue
from hpo.run.executor import Plan
from hpo.run.loop import TrialLoop
from hpo.worker.assignment import Assignment
from hpo.worker.environment import worker_environment
from hpo.worker.process import Child, ChildDied

_TICK = 0.1  # seconds between two looks at the clock while steps are in progress


class Executor:
    """Children of this process, started when they are needed."""

    def workers(self, places: int) -> int:
        """One, unless a person asks for more."""
        return 1

    def execute(self, loop: TrialLoop, plan: Plan) -> None:
        """Train until nothing is left to do, a budget is used up, or a stop is asked for.

        Args:
            loop: Asked for work and told what came of it.
            plan: How to use the machine.
        """
        workers = [_Worker(loop, plan, place) for place in range(plan.workers)]
        try:
            _train(loop, workers)
        except BaseException:
            for worker in workers:
                worker.kill()
            raise
        finally:
            for worker in workers:
                worker.leave()
            for worker in workers:
                worker.close()


def _train(loop: TrialLoop, workers: Sequence[_Worker]) -> None:
    while True:
        if loop.expire():
            for worker in workers:
                worker.abandon()
            return
        with loop.gathered():
            for worker in workers:
                worker.listen()
            _deal(loop, workers)
        if all(worker.task is None for worker in workers):
            return
        for worker in workers:
            worker.act()  # a child that died meanwhile has lost its task: the next round deals
        busy = [w for w in workers if w.task is not None]
        wait([w.child.fileno() for w in busy if w.child is not None], _TICK)
        loop.tick()


def _deal(loop: TrialLoop, workers: Sequence[_Worker]) -> None:
    """Give every free worker its next task."""
    for worker in workers:
        if worker.task is None and not loop.stop.requested:
            task = loop.next()
            if not isinstance(task, Assignment):
                return  # the others would hear the same
            worker.task, worker.due = task, "begin"


@dataclass
class _Worker:
    """One child process, started when needed and again when it died.

    Attributes:
        loop: Told what it reports.
        plan: How to use the machine.
        place: Its number among the workers, from 0.
        child: None before it is needed and after it died.
        task: What it trains; None when it is free.
        since: When it last reported or was asked to.
        due: What it is to be told once the ledger is on the disk.
    """

    loop: TrialLoop
    plan: Plan
    place: int
    child: Child | None = None
    task: Assignment | None = None
    since: float = 0.0
    due: Literal["begin", "step", ""] = ""

    def listen(self) -> None:
        """Take in a report that is there, and learn from the trial loop how it goes on."""
        child, task = self.child, self.task
        if child is None or task is None:
            return
        try:
            report = child.poll(0.0)
        except ChildDied as error:
            self._lost(error)
            return
        if report is None:
            self._endure(task)
            return
        goes_on = isinstance(self.loop.report(report), Continue)
        if goes_on and not self.loop.stop.requested:
            self.due = "step"
        else:
            self.task = None

    def act(self) -> None:
        """Do what is due: begin another attempt, which ends the one before, or go on."""
        due, self.due = self.due, ""
        task = self.task
        if not due or task is None:
            return
        try:
            if self.child is None:
                self.child = self._fresh()
            if due == "begin":
                self.child.assign(task)
            self._step(self.child)
        except ChildDied as error:
            self._lost(error)

    def abandon(self) -> None:
        """Kill what is in the middle of a step: nobody waits for it any more."""
        if self.task is not None:
            self.kill()

    def kill(self) -> None:
        """End the child at once."""
        if self.child is not None:
            self.child.kill()
        self.child = self.task = None

    def leave(self) -> None:
        """Tell the child to save and leave, so that all do it at the same time."""
        if self.child is not None:
            self.child.leave()

    def close(self) -> None:
        """Wait until the child has left."""
        if self.child is not None:
            self.child.close()
        self.child = self.task = None

    def _step(self, child: Child) -> None:
        child.step()
        self.since = time.monotonic()

    def _endure(self, task: Assignment) -> None:
        silent = time.monotonic() - self.since
        if silent > self.plan.stall:
            self.loop.stalled(task.trial, task.attempt, silent)
            self.kill()

    def _lost(self, error: ChildDied) -> None:
        task, self.child, self.task = self.task, None, None
        assert task is not None, "only a busy child is spoken to"
        self.loop.lost(task.trial, task.attempt, str(error))

    def _fresh(self) -> Child:
        return Child(
            worker_environment(
                gpus_per_trial=self.plan.gpus_per_trial,
                kernels=self.loop.kernels,
                place=self.place,
            )
        )
