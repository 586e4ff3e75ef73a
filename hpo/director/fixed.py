"""Proposals of a study that names its trials itself."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import UNSET

from hpo.director.state import RunState
from hpo.errors import StudyError
from hpo.ledger.events import Proposed
from hpo.schedule import written
from hpo.study import Study
from hpo.trials.record import Trial


class FixedProposer:
    """Proposes a study's fixed trials one after the other: trial 1 is the first of them.

    Args:
        study: It has fixed trials.

    Attributes:
        remarks: None: there is no sampler of which anything could be said.

    Raises:
        StudyError: The study begins with earlier runs, whose trials would come first.
    """

    remarks: tuple[str, ...] = ()

    def __init__(self, study: Study) -> None:
        if study.warm_start:
            raise StudyError(
                "a study that names its trials begins with no earlier run",
                hint="leave `warm_start` or `fixed` out",
            )
        self._trials = study.fixed
        self._quota = study.trials_of()

    def total(self, state: RunState) -> int:
        """How many trials the run will have."""
        return len(self._trials)

    def quota(self, state: RunState) -> dict[str, int]:
        """How many trials each family will have."""
        return self._quota

    def last_epoch(self, trial: Trial) -> int:
        """The epoch after which a trial is complete."""
        return self._trials[trial.number - 1].epochs or trial.budget

    def next(
        self, state: RunState, elapsed: float, among: Collection[str] | None = None
    ) -> Proposed | None:
        """The next trial, or None when all were proposed.

        Args:
            state: What the run amounts to so far.
            elapsed: Active seconds of the run.
            among: Only of these families: None where the next one is of another, since trials
                that are named keep their order.
        """
        count = len(state.trials)
        if count >= len(self._trials):
            return None
        wanted = self._trials[count]
        if among is not None and wanted.family not in among:
            return None
        return Proposed(
            trial=count + 1,
            elapsed=elapsed,
            family=wanted.family,
            number=len(state.members(wanted.family)),
            params=dict(wanted.params),
            seed=wanted.seed,
            origin="fixed",
            schedule=written(wanted.schedule) or UNSET,
        )
