"""A run as an Optuna storage, which `optuna-dashboard` and Optuna's plots open.

One Optuna study a family, because spaces differ: ``<study>/<family>``, with the units in the
objectives' names, which label every plot. Completed and converged trials are COMPLETE, stopped and
cancelled ones PRUNED, diverged and failed ones FAIL; the curve of the first objective is the
intermediate values, limits are constraints. What Optuna has no field for (our number, seed, rank,
why it ended) are user attributes.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from hpo.errors import RunError
from hpo.export.source import Source
from hpo.objectives import excess
from hpo.report import formats, hyperparameters
from hpo.report.summary import Row
from hpo.schedule import written
from hpo.study import Objective
from hpo.trials.states import RANKED, State
from search_spaces.space import Space

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, TrialState

_NAMES = (
    "study:metric_names"  # Optuna's own keys; its public setters need a sampler's run
)
_CONSTRAINTS = "constraints"  # positive: that limit is exceeded
JOURNAL = ".log"  # what a file's name ends with to become a journal instead of SQLite


def write(source: Source, path: Path) -> None:
    """Write the storage: SQLite, or a journal when the name ends with ``.log``.

    Args:
        source: The run.
        path: A file that is not there yet.

    Raises:
        RunError: A trial's values do not lie in its recorded space, or an extension gave a
            dimension another kind of range.
    """
    from optuna.study import StudyDirection

    summary = source.summary
    goals = summary.study.objectives
    directions = [StudyDirection[o.direction.upper()] for o in goals]
    with _opened(path) as storage:
        for family in summary.study.families:
            name = f"{summary.study.name}/{family.name}"
            study = storage.create_new_study(directions, study_name=name)
            for key, value in _about(source, family.name).items():
                storage.set_study_user_attr(study, key, value)
            storage.set_study_system_attr(study, _NAMES, [_name(o) for o in goals])
            rows = [r for r in summary.rows if r.family == family.name]
            for row in sorted(rows, key=lambda r: r.trial):
                _put(storage, study, _frozen(source, row), row)


def _put(storage: BaseStorage, study: int, trial: FrozenTrial, row: Row) -> None:
    try:
        storage.create_new_trial(study, trial)
    except ValueError as error:
        raise RunError(
            f"trial {row.trial} has a space of its own, which Optuna does not put beside "
            f"those of other trials: {error}",
            hint="`--to csv` and `--to parquet` hold all of them",
        ) from error


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

    goals = source.summary.study.objectives
    space = source.summary.space(row)
    every = source.summary.spaces.every(row.family)
    state = _state(row)
    valued = state in (TrialState.COMPLETE, TrialState.PRUNED)
    values = _values(row) if valued else None
    limits = [*excess(row.values, goals).values()] if values else []
    try:
        trial = optuna.trial.create_trial(
            state=state,
            values=values,
            system_attrs={_CONSTRAINTS: limits} if limits else None,
            params=dict(row.params),
            distributions={
                key: _joint(space.distributions[key], key, every) for key in row.params
            },
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


def _joint(
    own: BaseDistribution, name: str, every: Sequence[Space]
) -> BaseDistribution:
    """A trial's distribution as Optuna takes it, which wants the same choices of every trial.

    Args:
        own: Of the space that the trial was proposed in.
        name: The dimension.
        every: All spaces that the family has had.
    """
    found = [space.distributions.get(name) for space in every]
    sets = [d.choices for d in found if isinstance(d, CategoricalDistribution)]
    if not isinstance(own, CategoricalDistribution):
        return own
    return CategoricalDistribution(tuple(dict.fromkeys(c for s in sets for c in s)))


def _state(row: Row) -> TrialState:
    from optuna.trial import TrialState

    if row.state in RANKED:
        return TrialState.COMPLETE if _values(row) else TrialState.FAIL
    if row.state in (State.STOPPED, State.CANCELLED):
        return TrialState.PRUNED
    if row.state is State.RUNNING:
        return TrialState.RUNNING
    waits = row.state in (State.PENDING, State.PAUSED)
    return TrialState.WAITING if waits else TrialState.FAIL


def _values(row: Row) -> list[float] | None:
    """A value for every objective; None where one is missing: Optuna takes all or none."""
    found = [v for v in row.values if v is not None]
    return found if found and len(found) == len(row.values) else None


def _name(objective: Objective) -> str:
    unit = f" [{objective.unit}]" if objective.unit else ""
    return f"{objective.metric}{unit}"


def _about(source: Source, family: str) -> dict[str, Any]:
    """Facts of the run for a reader of the storage."""
    summary = source.summary
    study = summary.study
    told = {
        "run": str(summary.folder),
        "unit": summary.objective.unit,
        "data": study.data if isinstance(study.data, str) else json.dumps(study.data),
        "epochs": study.epochs_of(family),
        "sampler": study.sampler.name,
        "stopping": ", ".join(rule.name for rule in study.stopping) or "none",
        "seed": study.seed,
        "limits": {o.metric: o.limit for o in study.objectives if o.limit is not None},
    }
    return {k: v for k, v in told.items() if v not in ("", {})}


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
        "schedule": formats.inline_json(written(row.schedule)) if row.schedule else "",
        "adopted": hyperparameters.adopted(row),
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
