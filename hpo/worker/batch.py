"""Several reports at once, where nothing can be decided between them."""

from __future__ import annotations

import time
from typing import Protocol

from hpo.worker.assignment import Assignment, Report

SECONDS = 0.1
"""For how long reports are gathered: what an epoch that takes longer never waits for."""
FIRST = 10
"""Epochs of an attempt that are told one by one: most that goes wrong does so early, and what was
gathered is lost with a process that dies."""


class Steps(Protocol):
    """An attempt at work; see `hpo.worker.evaluation.begin`."""

    @property
    def assignment(self) -> Assignment:
        """What it trains."""
        ...

    def step(self) -> Report:
        """Its next report."""
        ...


def reports(steps: Steps) -> list[Report]:
    """The next report of an attempt, or the next ones.

    The last of them is one behind which something can be decided: of an epoch at a rung or
    the last one, of an end, an error or an obstacle. Fewer come where time is up, and one
    alone where the assignment is not to be trained ahead.

    Args:
        steps: The attempt.
    """
    task, begin = steps.assignment, time.monotonic()
    found = [steps.step()]
    while (
        task.ahead and _goes_on(found[-1], task) and time.monotonic() - begin < SECONDS
    ):
        found.append(steps.step())
    return found


def _goes_on(report: Report, task: Assignment) -> bool:
    epoch = report.epoch
    if epoch is None or report.obstacle:
        return False
    early = epoch.number < task.known + FIRST
    return not early and epoch.number < task.epochs and epoch.number not in task.rungs
