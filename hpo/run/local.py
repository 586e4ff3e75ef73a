"""The local executor: one trial at a time in one child process."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hpo.director.decisions import Continue
from hpo.run.assignment import Assignment, Report
from hpo.run.child import Child, ChildDied
from hpo.run.environment import worker_environment
from hpo.run.hands import Hands
from hpo.run.plan import Plan

_TICK = 0.1  # seconds between two looks at the clock while a step is in progress


def execute(hands: Hands, plan: Plan) -> None:
    """Train until nothing is left to do, a budget is used up, or a stop is asked for.

    Args:
        hands: Asked for work and told what came of it.
        plan: How to use the machine; `workers` is 1.
    """
    worker = _Worker(hands=hands, plan=plan)
    try:
        while not hands.stop.requested and not hands.expire():
            task = hands.next()
            if not isinstance(task, Assignment):
                return  # one worker never waits: nothing runs, so nothing is left
            worker.train(task)
    except BaseException:
        worker.kill()
        raise
    finally:
        worker.close()


@dataclass(kw_only=True)
class _Worker:
    """The child process, started when needed and again when it died."""

    hands: Hands
    plan: Plan
    child: Child | None = None

    def train(self, task: Assignment) -> None:
        try:
            child = self._alive()
            child.assign(task)
            while self._goes_on(task, child) and not self.hands.stop.requested:
                pass
        except ChildDied as error:
            self.child = None
            self.hands.lost(task.trial, task.attempt, str(error))

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()

    def close(self) -> None:
        if self.child is not None:
            self.child.close()
            self.child = None

    def _alive(self) -> Child:
        if self.child is None:
            share = self.plan.gpus_per_trial
            kernels = self.hands.kernels
            self.child = Child(
                worker_environment(gpus_per_trial=share, kernels=kernels)
            )
        return self.child

    def _goes_on(self, task: Assignment, child: Child) -> bool:
        child.step()
        report = self._wait(task, child)
        return report is not None and isinstance(self.hands.report(report), Continue)

    def _wait(self, task: Assignment, child: Child) -> Report | None:
        """The next report; None when it did not come in time and the child was killed."""
        begin = time.monotonic()
        while True:
            report = child.poll(_TICK)
            self.hands.tick()
            if report is not None:
                return report
            if self.hands.expire():
                break
            silent = time.monotonic() - begin
            if silent > self.plan.stall:
                self.hands.stalled(task.trial, task.attempt, silent)
                break
        child.kill()
        self.child = None
        return None
