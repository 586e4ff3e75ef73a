"""What a worker gets to know of a trial: its assignment, with the checkpoint it goes on from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpo.chaos import Chaos
from hpo.director.decisions import Start
from hpo.ledger.folder import RunFolder
from hpo.run import signals
from hpo.stopping import registry
from hpo.study import Study
from hpo.trials.record import Trial
from hpo.worker import session
from hpo.worker.assignment import Assignment
from search_spaces.space import Space


class Places:
    """Makes assignments of starts, and knows where checkpoints lie.

    Args:
        study: The resolved study.
        data: The data reference that workers get.
        creates: ``module:function`` or a shipped callable by family.
        folder: The run's folder.
        stop: Says whether the run is to end.
        chaos: Faults on purpose; None for none.

    Attributes:
        data: The same.
    """

    def __init__(
        self,
        study: Study,
        data: Any,
        creates: Mapping[str, str | bytes],
        folder: RunFolder,
        stop: signals.Stop,
        chaos: Chaos | None,
    ) -> None:
        self._study = study
        self.data = data
        self._creates = creates
        self._folder = folder
        self._stopping = stop.file
        # A trial that a study names ends where it says, which no rung tells.
        self._ahead = not study.fixed and not any(
            registry.converges(registry.make(rule)) for rule in study.stopping
        )
        self._chaos = chaos

    def assignment(self, start: Start, space: Space) -> Assignment:
        """What a worker is to train.

        Args:
            start: The Director's decision.
            space: The space that the trial was proposed in.
        """
        objective = self._study.objectives[0]
        return Assignment(
            trial=start.trial,
            attempt=start.attempt,
            family=start.family,
            create=self._creates[start.family],
            config=space.complete(start.params),
            settings=dict(self._study.settings),
            data=self.data,
            task=self._study.described_task or None,
            seed=start.seed,
            epochs=start.epochs,
            known=start.known,
            folder=self._folder.trial(start.trial).absolute(),
            restore=self.newest(start.trial, start.attempt, start.since),
            donor=self._donor(start),
            schedule=start.schedule,
            rungs=start.rungs,
            objective=(objective.metric, objective.direction),
            device="gpu" if "GPU" in self._study.request_of(start.family) else "cpu",
            stopping=self._stopping,
            ahead=self._ahead,
            chaos=self._chaos,
            deaths=start.deaths,
        )

    def newest(self, number: int, attempt: int, since: int) -> int | None:
        """The newest attempt before one that left a checkpoint; None where none did.

        Args:
            number: The trial.
            attempt: The attempt that goes on from it.
            since: The first attempt whose checkpoints belong to this training.
        """
        # The folder knows more than the ledger: a driver may die between save and report.
        for earlier in range(attempt - 1, since - 1, -1):
            if session.has_checkpoint(self._folder.attempt(number, earlier)):
                return earlier
        return None

    def keep_donor(self, trial: Trial) -> None:
        """Copy the checkpoint that a trial is to adopt: the donor goes on, and may end.

        Where that fails the trial is trained from its schedule's beginning: nothing is lost
        but time.
        """
        adopted = trial.exploits[-1]
        source = self._folder.attempt(adopted.donor, adopted.attempt)
        place = self._folder.adopted(trial.number, adopted.since)
        draft = place.with_name(f".{place.name}")
        with suppress(OSError):
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(source, draft)
            draft.replace(place)

    def _donor(self, start: Start) -> Path | None:
        """The checkpoint that a trial adopts, where it is still there."""
        if start.donor is None:
            return None
        copied = self._folder.adopted(start.trial, start.since)
        places = (copied, self._folder.attempt(*start.donor))
        return next((p.absolute() for p in places if session.has_checkpoint(p)), None)
