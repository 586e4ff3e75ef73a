"""A trial's model, loaded from its checkpoint to be used."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo import packages
from hpo.errors import RunError
from hpo.ledger.folder import RunFolder
from hpo.pasted import pasted
from hpo.report.summary import Row, Summary, load_summary
from hpo.run import reproducibility
from hpo.run.sources import Sources, creates_of
from hpo.schedule import Schedule, values_in
from hpo.study import Study
from hpo.worker import epochs
from hpo.worker.assignment import Assignment
from hpo.worker.learner import make_learner
from hpo.worker.pickling import Create
from hpo.worker.session import has_checkpoint
from models.errors import UserError
from models.training.protocol import Predictive


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """The parameters of a trial's best epoch, ready to predict.

    Attributes:
        trial: The trial's number in its run.
        family: Its family.
        objective: The value that it was ranked by, in the objective's unit.
        config: Its configuration by dotted key: constants and searched values, those of its
            first epoch.
        schedule: How values of it changed between later epochs; empty where none did.
        data: The reference to the data it was trained on.
        study: The study it was tuned in.
        learner: The learner itself, as the family's `create` made it.
    """

    trial: int
    family: str
    objective: float | None
    config: Mapping[str, Any]
    data: Any
    study: Study
    learner: Predictive
    schedule: Schedule = ()

    def predict(self, given: Any, *, chunk: int | None = None) -> Any:
        """Predict as the study's task does, in the units of the training data.

        Args:
            given: Arrays by role, each with or without a leading batch axis; one array
                stands for the only role. A simulation takes inputs ``[T, n_u]``, a
                prediction ``{"u": [T, n_u], "y": [K, n_y]}`` with the first K outputs;
                channels are in the order of the data's signals, and single signals may be
                ``[T]``.
            chunk: Samples that are predicted at a time, for sequences that do not fit into
                memory; None predicts all of them at once.

        Returns:
            Arrays by role, such as ``y`` ``[T, n_y]``; one array where one was given.

        Raises:
            UserError: An array does not fit the task, or with `chunk` the family holds no
                state that a prediction could go on from.
        """
        if chunk is None:
            return self.learner.predict(given)
        return packages.stateful(self.learner).predict_chunked(given, size=chunk)


def load_model(
    run: Path | str = "latest",
    trial: int | None = None,
    *,
    results: Path | str = "results",
    data_root: Path | str | None = None,
    create: Create | None = None,
) -> TrainedModel:
    """Load the model that a trial has trained, with the parameters of its best epoch.

    The data of the run must still be there: the model takes its units from the train part.

    Args:
        run: A run's folder, a study's name (its newest run), or ``latest``.
        trial: The trial's number; None takes the one of rank 1.
        results: Where runs lie.
        data_root: Where real datasets lie; None means as at the launch.
        create: Replaces the families' `create`, for a study made in a script.

    Raises:
        RunError: There is no such run or trial, its checkpoint is gone, or its data changed.
        UserError: The data is missing, or the checkpoint is damaged.
    """
    folder = RunFolder.find(results, str(run))
    record = folder.read_study()
    summary = load_summary(folder.path)
    row = summary.ranked(1) if trial is None else summary.row(trial)
    place = checkpoint(folder, row)
    sources = Sources.from_json(record)
    root = None if data_root is None else Path(data_root)
    data = reproducibility.reload_data(sources, summary.study, root)
    creates = creates_of(summary.study, create, sources.study_today())
    assignment = _assignment(summary, row, creates[row.family], data, folder)
    reached = _reached(place, row, folder)
    values = values_in(assignment.config, row.schedule, reached)
    learner = make_learner(dataclasses.replace(assignment, config=values))
    if not isinstance(learner, Predictive):
        raise RunError(
            f"family `{row.family}` has no model to predict with",
            hint="its learner needs `predict(given)`, `save(directory)` and `restore(directory)`",
        )
    learner.restore(place)
    return TrainedModel(
        trial=row.trial,
        family=row.family,
        objective=row.objective,
        config=assignment.config,
        data=data,
        study=summary.study,
        learner=learner,
        schedule=tuple(row.schedule),
    )


def _reached(place: Path, row: Row, folder: RunFolder) -> int:
    """The last epoch of a trial's checkpoint, which is not before its best one.

    Raises:
        RunError: It is, or its last save was cut off, so that nobody knows.
        UserError: It is damaged.
    """
    try:
        reached = epochs.reached(place)
    except (OSError, ValueError) as error:
        raise UserError(
            f"the records beside the checkpoint in {place} cannot be read: "
            f"{str(error) or type(error).__name__}",
            hint=_again(row, folder),
        ) from error
    if reached is not None and reached >= (row.best_epoch or 0):
        return reached
    told = f"the checkpoint of trial {row.trial}"
    if reached is None:
        told += (
            " was being replaced when its process ended, so that nobody knows its epoch"
        )
    else:
        told += f" ends with epoch {reached}, before its best epoch {row.best_epoch}"
    raise RunError(told, hint=_again(row, folder))


def _again(row: Row, folder: RunFolder) -> str:
    way = pasted("rerun", folder.path, "--trial", row.trial)
    return f"`{way}` trains it again"


def checkpoint(folder: RunFolder, row: Row) -> Path:
    """The folder of the last checkpoint that a trial has left.

    Args:
        folder: The run.
        row: The trial.

    Raises:
        RunError: It has left none.
    """
    for attempt in range(len(row.attempts), row.since - 1, -1):
        place = folder.attempt(row.trial, attempt)
        if has_checkpoint(place):
            return place
    raise RunError(
        f"trial {row.trial} has no checkpoint in {folder.trial(row.trial)}",
        hint="none is left by `hpo clean`, by a warm start that carried the trial over, "
        "and by a learner without `save`; take another trial",
    )


def _assignment(
    summary: Summary, row: Row, create: str | bytes, data: Any, folder: RunFolder
) -> Assignment:
    study = summary.study
    objective = study.objectives[0]
    return Assignment(
        trial=row.trial,
        attempt=1,
        family=row.family,
        create=create,
        config=summary.space(row).complete(row.params),
        settings=dict(study.settings),
        data=data,
        task=study.described_task or None,
        seed=row.seed,
        epochs=row.epoch_budget,
        folder=folder.trial(row.trial).absolute(),
        objective=(objective.metric, objective.direction),
        device="gpu" if "GPU" in study.request_of(row.family) else "cpu",
    )
