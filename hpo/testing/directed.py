"""A Director driven over curves that are known beforehand, for the suites of its parts.

There are no workers and no clock: a running trial reports its next epoch whenever it is its
turn. Every event goes through its line of JSON, so that a resume reads what a run would have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import structs

from hpo.director import Director, replay
from hpo.director.decisions import Continue, Start
from hpo.ledger.events import Event
from hpo.ledger.lines import from_line
from hpo.study import Study
from hpo.trials.record import Trial
from hpo.trials.states import ENDINGS
from models.training.protocol import Epoch

Curve = Callable[[Trial, int], Epoch]
_TOLD = ("proposed", "epoch", "paused", "exploited", *ENDINGS)


def run(
    study: Study,
    curve: Curve,
    *,
    workers: int = 1,
    begun: Sequence[Event] = (),
) -> list[Event]:
    """The ledger of a whole run.

    Args:
        study: What runs.
        curve: The epoch of a trial by number, whenever it is asked for.
        workers: How many trials take turns.
        begun: The beginning of its ledger, left by a driver that was killed.
    """
    director, events = replay(study, begun, workers=workers), list(begun)

    def write(new: Iterable[Event]) -> None:
        for event in new:
            line = structs.replace(event, n=len(events) + 1).to_line()
            events.append(from_line(line.encode()))
            director.apply(events[-1])

    write(director.interrupt("the driver was killed", 0.0))
    running: list[int] = []
    while True:
        decision, new = director.next(0.0)
        write(new)
        if isinstance(decision, Start):
            running.append(decision.trial)
            continue
        if not running:
            _check_over(director)
            return events
        number = running.pop(0)
        trial = director.trials[number]
        answer, new = director.judge(
            number, trial.attempt, curve(trial, trial.last + 1), 0.0
        )
        write(new)
        if isinstance(answer, Continue):
            running.append(number)


def story(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """Decisions and reports without attempts and words, comparable with ``==``."""
    return [
        (
            e.event,
            e.trial,
            repr(sorted((k, v) for k, v in e.details().items() if k != "reason")),
        )
        for e in events
        if e.event in _TOLD
    ]


def check_resumed(study: Study, curve: Curve, *, every: int = 7) -> list[Event]:
    """Killed at many moments and resumed, a run of one worker tells the same story.

    Args:
        study: What runs.
        curve: As for `run`.
        every: Events between two moments.

    Returns:
        The ledger of the undisturbed run.
    """
    whole = run(study, curve)
    for moment in range(1, len(whole), every):
        again = run(study, curve, begun=whole[:moment])
        assert story(again) == story(whole), f"killed after event {moment}"
    return whole


def _check_over(director: Director) -> None:
    open_ = [t.number for t in director.trials.values() if not t.ended]
    assert not open_, f"the run is over, but trials {open_} have not ended"
    assert len(director.trials) == director.total
