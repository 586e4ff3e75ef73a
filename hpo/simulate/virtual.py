"""A trial loop without workers: a Director driven over finished curves, in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Any

from hpo.director.decisions import Continue, Done, Start
from hpo.errors import StudyError
from hpo.ledger.events import (
    Ending,
    Event,
    Interrupted,
    Paused,
    Proposed,
    Started,
)
from hpo.simulate.hands import Hands, Story
from hpo.simulate.seated import Seated
from hpo.simulate.task import Task
from hpo.stopping.registry import ExploitingRule, make
from hpo.study import Rule, Study


def simulate(study: Study, task: Task, *, workers: int = 1) -> Story:
    """Run a study over a task's curves.

    A worker is busy for an epoch's own seconds and its compilation; between two epochs no
    time passes. Of two reports at the same moment that of the trial started first comes
    first. A trial that pauses or parks goes on after its last epoch. In virtual order the
    decisions are those of any number of workers; when they are taken is not.

    Args:
        study: Its families are those of the task; its order of decisions counts.
        task: The curves.
        workers: How many trials are trained at a time.

    Raises:
        RunError: A rule wants a longer curve than there is.
        StudyError: The study cannot be directed, or not over finished curves.
    """
    refuse_exploiting(study.stopping)
    if study.resources.virtual:
        return Seated(study, task, workers=workers).run()
    return _Arriving(study, task, places=workers).run()


def refuse_exploiting(stopping: Iterable[Rule]) -> None:
    """Refuse rules by which values change in training: finished curves know nothing of that.

    Args:
        stopping: A study's rules.

    Raises:
        StudyError: There is such a rule.
    """
    for rule in stopping:
        if isinstance(make(rule), ExploitingRule):
            raise StudyError(
                f"`{rule.name}` cannot be simulated: it changes values while a model is "
                "trained, and finished curves are of values that stay",
                hint="launch a study with it, and one without, at equal epochs",
            )


class _Arriving(Hands):
    """Takes each report as it comes."""

    def run(self) -> Story:
        while self._fill():
            self._now, order, number = heapq.heappop(self._queue)
            if self._order.get(number) != order:
                continue  # cancelled meanwhile
            self._spend(number)
            self._report(number)
            for event in self._director.expire(self._now):
                if self._order.pop(event.trial or 0, None) is not None:
                    self._spend(event.trial or 0)
                self._write([event])
        return self._story

    def _fill(self) -> bool:
        """Give every free worker something to do; whether anything is left to wait for."""
        while True:
            decision, events = self._director.next(self._now)
            self._write(events)
            if isinstance(decision, Done):
                return False
            if not isinstance(decision, Start):
                return True
            number = decision.trial
            self._order[number] = len(self._story.events)
            self._await(number, decision.known)

    def _report(self, number: int) -> None:
        trial = self._director.trials[number]
        curve = self._curve(number)
        if trial.last >= len(curve.epochs):
            del self._order[number]
            self._write(self._ended(trial, curve))
            return
        decision, events = self._director.judge(
            number, trial.attempt, curve.epochs[trial.last], self._now
        )
        self._write(events)
        if isinstance(decision, Continue):
            self._await(number, trial.last)
        else:
            del self._order[number]


def decisions(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """The decisions of a ledger, trial by trial, for comparing one with another.

    Args:
        events: A ledger's events.

    Returns:
        In order: what was proposed, each start, and each end or pause with its rule and
        epoch. Times, checkpoints and notes are left out.
    """
    told: list[tuple[Any, ...]] = []
    for event in events:
        about: tuple[Any, ...]
        if isinstance(event, Proposed):
            params = repr(sorted(event.params.items()))
            about = (event.family, event.number, params, event.seed)
        elif isinstance(event, Started):
            about = (event.attempt_of, event.epoch)
        elif isinstance(event, (Ending, Paused)):
            about = (event.rule or None, event.epoch)
        elif isinstance(event, Interrupted):
            about = (None, event.epoch)
        else:
            continue
        told.append((event.event, event.trial, *about))
    return told
