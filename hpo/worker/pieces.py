"""The learner of one attempt, trained piece by piece where its traced values change.

Without a schedule there is one piece. Between two the learner is saved, and one with the values
of the next piece adopts what was saved: exactly what a population does, so that a trial that was
trained by several others in turn is repeated bit for bit from the seed of the first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from hpo.errors import ForeignFailure
from hpo.schedule import Change, values_in
from hpo.worker import epochs
from hpo.worker.assignment import Assignment
from hpo.worker.learner import make_learner
from models.training.protocol import Adoptable, Epoch, Learner, Resumable


class Pieces:
    """Makes the learner of an assignment, takes up a checkpoint, and trains.

    Args:
        assignment: What to train.

    Attributes:
        learner: The learner of the current piece.
        stored: The records that came with the checkpoint, by epoch.
        reached: The last epoch of the checkpoint; 0 without one.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self.learner: Learner = self._make(1)
        self.stored: dict[int, Epoch] = {}
        self.reached = 0

    def take_up(self, source: Path) -> None:
        """Go on from a checkpoint of this training, whichever trial left it.

        Args:
            source: The folder it lies in, with its records.

        Raises:
            Exception: It cannot be read; the learner is then a new one.
        """
        try:
            stored = epochs.read(source)
            reached = epochs.reached(source)
            if reached is None and self._assignment.schedule:
                raise ValueError("it was being saved when its process ended")
            reached = max(stored) if reached is None else reached
            if any(change.after <= reached for change in self._assignment.schedule):
                self.learner = self._make(reached + 1)
            change = self._change_after(reached)
            if change is not None:
                _adoptable(self.learner).adopt(source, change.traced)
            else:
                assert isinstance(self.learner, Resumable), "asked before"
                self.learner.restore(source)
        except (Exception, SystemExit):
            self.learner = self._make(1)  # a half-restored learner is worth nothing
            raise
        self.stored, self.reached = stored, reached

    def epochs(self, last: int) -> Generator[Any, None, None]:
        """Everything the learners yield, the records of the checkpoint first.

        Args:
            last: The epoch to train until.
        """
        known = 0  # of what the next learner yields, told by the one before
        for change in self._assignment.schedule:
            if not self.reached < change.after < last:
                continue
            told = yield from _counted(self.learner.fit_iter(change.after), known)
            if told < change.after:
                return  # it had no more to yield
            self._adopt_itself(change)
            known = told
        yield from _counted(self.learner.fit_iter(last), known)

    def _adopt_itself(self, change: Change) -> None:
        """Go on from where the learner is, with the values of a change."""
        before = _adoptable(self.learner)
        after = _adoptable(self._make(change.after + 1))
        place = self._assignment.directory
        with tempfile.TemporaryDirectory(prefix=".piece-", dir=place) as folder:
            before.save(Path(folder))
            after.adopt(Path(folder), change.traced)
        self.learner = after

    def _make(self, epoch: int) -> Learner:
        """A new learner with the values of an epoch."""
        a = self._assignment
        return make_learner(replace(a, config=values_in(a.config, a.schedule, epoch)))

    def _change_after(self, epoch: int) -> Change | None:
        found = (c for c in self._assignment.schedule if c.after == epoch)
        return next(found, None)


def _counted(things: Iterable[Any], known: int) -> Generator[Any, None, int]:
    """All but the first `known` of what is yielded; how many there were with them."""
    steps, count = iter(things), known
    try:
        for thing in islice(steps, known, None):
            yield thing
            count += 1
    finally:
        if isinstance(steps, Generator):
            steps.close()
    return count


def _adoptable(learner: Learner) -> Adoptable:
    if not isinstance(learner, Adoptable):
        raise ForeignFailure(
            f"a {type(learner).__name__} has no `adopt(directory, traced)`, so that its values "
            "cannot change while it is trained",
            hint="see `models.training.protocol.Adoptable`",
        )
    return learner
