"""The evaluation of a trial that has ended: its best epoch over a part of the data.

An executor gives it out like an attempt and gets one report back. The learner goes on from the
trial's newest checkpoint to the last epoch of the ledger, which costs nothing where that is
the epoch saved; one that cannot be restored is trained again from epoch 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

from hpo.ledger.excerpts import Excerpts, write
from hpo.ledger.folder import excerpts_file
from hpo.worker import epochs
from hpo.worker.assignment import Assignment, Report, Scores
from hpo.worker.pieces import Pieces
from hpo.worker.session import Session, failure
from models.training.protocol import (
    Evaluable,
    EvaluableByRecord,
    Illustrated,
    Learner,
    Resumable,
)


class Evaluation:
    """Evaluates one trial in its only step. Nothing is loaded before.

    Args:
        assignment: What to evaluate, and on which part.
    """

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment

    def step(self) -> Report:
        """Evaluate; whatever the learner raises comes back as data."""
        a = self.assignment
        try:
            learner = _trained(a)
            scores = _scores(learner, a.evaluate)
        except (Exception, SystemExit) as error:
            return Report(trial=a.trial, attempt=a.attempt, **failure(error))
        part = a.evaluate if scores.metrics else "valid"  # of what is told of the trial
        notes = _illustrate(learner, part, a.folder)
        return Report(trial=a.trial, attempt=a.attempt, scores=scores, notes=notes)

    def close(self) -> None:
        """Nothing is open and nothing is to be saved."""


def begin(assignment: Assignment) -> Session | Evaluation:
    """An assignment at work in a worker process: it is stepped, and closed in the end.

    Args:
        assignment: What to train or to evaluate.
    """
    return Evaluation(assignment) if assignment.evaluate else Session(assignment)


def _trained(a: Assignment) -> Learner:
    """The learner as it was after the trial's last epoch."""
    a.directory.mkdir(parents=True, exist_ok=True)  # where pieces are handed on
    pieces = Pieces(a)
    if a.source is not None and isinstance(pieces.learner, Resumable):
        with suppress(Exception, SystemExit):
            if epochs.reached(a.source) is not None:
                pieces.take_up(a.source)
    if pieces.reached < a.known:
        with closing(pieces.epochs(a.known)) as steps:
            for number, _ in enumerate(steps, 1):
                if number >= a.known:
                    break
    return pieces.learner


def _scores(learner: Learner, part: str) -> Scores:
    """The metrics of the whole part and of its records, as far as the learner knows them."""
    if not isinstance(learner, Evaluable):
        return Scores()
    whole = _plain(learner.evaluate(part))
    records: dict[str, Mapping[str, float]] = {}
    if isinstance(learner, EvaluableByRecord):
        found = learner.evaluate_records(part)
        records = {str(name): _plain(metrics) for name, metrics in found.items()}
    return Scores(metrics=whole, records=records)


def _illustrate(learner: Learner, part: str, trial: Path) -> tuple[str, ...]:
    """Keep what the predictions look like; a remark where that goes wrong.

    A trial has its scores whether there is a picture of it or not.
    """
    if not isinstance(learner, Illustrated):
        return ()
    try:
        pieces = tuple(learner.excerpts(part))
        if pieces:
            write(excerpts_file(trial), Excerpts(part=part, pieces=pieces))
    except (Exception, SystemExit) as error:
        return (f"no excerpts of the part {part}: {failure(error)['reason']}",)
    return ()


def _plain(metrics: Mapping[str, float]) -> dict[str, float]:
    return {str(name): float(value) for name, value in metrics.items()}
