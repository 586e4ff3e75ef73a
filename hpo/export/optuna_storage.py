"""A run as an Optuna storage, which `optuna-dashboard` and Optuna's plots open.

One Optuna study a family, because spaces differ: ``<study>/<family>``. Completed and converged
trials are COMPLETE, stopped and cancelled ones PRUNED, diverged and failed ones FAIL. What Optuna
has no field for (our number, seed, rank, why it ended) are user attributes.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import RunError
from hpo.export.source import Source
from hpo.ledger.events import RANKED
from hpo.report.summary import Row

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, TrialState

JOURNAL = ".log"  # what a file's name ends with to become a journal instead of SQLite


def write(source: Source, path: Path) -> None:
    """Write the storage: SQLite, or a journal when the name ends with ``.log``.

    Args:
        source: The run.
        path: A file that is not there yet.

    Raises:
        RunError: A trial's values do not lie in its recorded space.
    """
    from optuna.study import StudyDirection

    summary = source.summary
    direction = StudyDirection[summary.objective.direction.upper()]
    with _opened(path) as storage:
        for family in summary.study.families:
            name = f"{summary.study.name}/{family.name}"
            study = storage.create_new_study([direction], study_name=name)
            storage.set_study_user_attr(study, "run", str(summary.folder))
            storage.set_study_user_attr(study, "unit", summary.objective.unit)
            storage.set_study_system_attr(
                study, "study:metric_names", [summary.objective.metric]
            )
            rows = [r for r in summary.rows if r.family == family.name]
            for row in sorted(rows, key=lambda r: r.trial):
                storage.create_new_trial(study, _frozen(source, row))


@contextmanager
def _opened(path: Path) -> Iterator[BaseStorage]:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if path.suffix == JOURNAL:
            yield optuna.storages.JournalStorage(JournalFileBackend(str(path)))
            return
        storage = optuna.storages.RDBStorage(f"sqlite:///{path.absolute()}")
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()
    finally:
        optuna.logging.set_verbosity(before)


def _frozen(source: Source, row: Row) -> FrozenTrial:
    import optuna
    from optuna.trial import TrialState

    space = source.summary.study.family(row.family).space
    state = _state(row)
    valued = (TrialState.COMPLETE, TrialState.PRUNED)
    try:
        trial = optuna.trial.create_trial(
            state=state,
            value=row.objective if state in valued else None,
            params=dict(row.params),
            distributions={key: space.distributions[key] for key in row.params},
            user_attrs=_attributes(row),
            intermediate_values={p.epoch: p.value for p in row.curve},
        )
    except (KeyError, ValueError) as error:
        raise RunError(
            f"trial {row.trial} does not lie in the space of family `{row.family}`: "
            f"{error}",
            hint="`study.json` and `events.jsonl` are not of the same run",
        ) from error
    trial.datetime_start = _moment(source.started.get(row.trial))
    trial.datetime_complete = _moment(source.ended.get(row.trial))
    return trial


def _state(row: Row) -> TrialState:
    from optuna.trial import TrialState

    if row.state in RANKED:
        return TrialState.COMPLETE if row.objective is not None else TrialState.FAIL
    if row.state in ("stopped", "cancelled"):
        return TrialState.PRUNED
    if row.state == "running":
        return TrialState.RUNNING
    return TrialState.WAITING if row.state in ("pending", "paused") else TrialState.FAIL


def _attributes(row: Row) -> dict[str, Any]:
    told = {
        "trial": row.trial,
        "state": row.state,
        "rank": row.rank,
        "seed": row.seed,
        "best_epoch": row.best_epoch,
        "epochs": f"{row.epochs}/{row.epoch_budget}",
        "seconds": round(row.seconds, 3),
        "parameters": row.parameters,
        "ended_by": row.ended_by,
        "notes": "; ".join(row.notes),
    }
    # Optuna's SQL columns are of a limited length on some databases.
    return {
        k: v
        for k, v in told.items()
        if v not in (None, "") and len(json.dumps(v)) < 2000
    }


def _moment(time: float | None) -> datetime.datetime | None:
    return None if time is None else datetime.datetime.fromtimestamp(time)
