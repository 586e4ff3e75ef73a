"""Warm starts: what earlier runs give to a new one, decided once, at its launch.

Configurations become points to try first in `study.json`, results become the first lines of
the ledger; so a resume needs nothing but the run's own folder.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from msgspec import UNSET, structs

from hpo import packages
from hpo.errors import RunError, StudyError
from hpo.ledger.events import (
    Completed,
    Converged,
    Diverged,
    Ending,
    EpochEvent,
    Event,
    Exploited,
    Extended,
    Nondeterminism,
    Proposed,
    Reopened,
    Started,
    Stopped,
    TrialEvent,
)
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import Ledger, read_events
from hpo.ledger.provenance import provenance
from hpo.report.summary import Row, summarize
from hpo.run.reproducibility import differences
from hpo.run.sources import identity
from hpo.study import Family, Study
from hpo.tasks import described
from hpo.trials.reducer import contradiction
from hpo.trials.spaces import Spaces
from hpo.warm_start import BEST, WarmStart
from search_spaces.space import Space, SpaceError

CARRIED = (Completed, Converged, Stopped, Diverged)
_TOLD = (EpochEvent, Nondeterminism, Ending, Reopened)
_ANEW = (Ending, Reopened)  # an extended run's trial may have ended more than once


@dataclass
class CarriedTrials:
    """A study with what earlier runs gave it; made by `carried_trials`.

    Attributes:
        study: The study, with the points to try first that earlier runs gave it.
        events: Trials of earlier runs as events of the new one, in order.
        counts: How many trials these are, by family.
        configs: The ``config.json`` of each of these trials, by its new number.
        notes: What was taken over, and what was not, in words.
    """

    study: Study
    events: list[Event] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    configs: dict[int, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def write(self, folder: RunFolder) -> None:
        """Put the carried trials into a new run's folder, whole or not at all.

        Args:
            folder: The new run's folder, before its `study.json` makes it a run.

        Raises:
            RunError: The disk is full or the folder is read-only.
        """
        if not self.events:
            return
        draft = folder.events_file.with_name(".carried.jsonl")
        with Ledger.open(draft, write=True) as ledger:
            for event in self.events:
                ledger.append(event)
            ledger.sync()
        os.replace(draft, folder.events_file)
        for number, source in self.configs.items():
            with suppress(OSError):  # it can be resolved again; the ledger is the truth
                folder.trial(number).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, folder.config_file(number))


@dataclass(frozen=True, kw_only=True)
class _Run:
    """An earlier run."""

    folder: RunFolder
    study: Study
    record: Mapping[str, Any]
    events: list[Event]

    @property
    def name(self) -> str:
        return f"{self.folder.study_name}/{self.folder.name}"


def carried_trials(study: Study, *, results: Path | str, data: Any) -> CarriedTrials:
    """Read the runs that a study starts from.

    Args:
        study: The study as it will run.
        results: Where runs lie.
        data: The data reference of the new run.

    Raises:
        RunError: A run is not there, or damaged.
        StudyError: A run has nothing that fits, or its results cannot be carried.
    """
    found = CarriedTrials(study=study)
    for start in study.warm_start:
        run = _read(start, results)
        if start.take == "results":
            _refuse_differences(found.study, run, data)
            _carry(found, run)
        else:
            _try_first(found, run, start.top or BEST)
    if study.warm_start:
        _say_what_has_no_room(found)
    return found


def _say_what_has_no_room(found: CarriedTrials) -> None:
    quotas = found.study.trials_of()
    for family in found.study.families:
        room = quotas[family.name] - found.counts[family.name]
        if len(family.initial_points) > room:
            found.notes.append(
                f"family `{family.name}`: of {len(family.initial_points)} points to try first "
                f"only {room} fit into its trials"
            )


def _read(start: WarmStart, results: Path | str) -> _Run:
    folder = RunFolder.find(results, start.run)
    record = folder.read_study()
    events, _ = read_events(folder.events_file)
    try:
        study = Study.from_json(record["study"])
    except StudyError as error:
        raise RunError(f"{folder.study_file}: {error.message}") from error
    return _Run(folder=folder, study=study, record=record, events=events)


def _common(study: Study, run: _Run) -> list[tuple[Family, Family]]:
    """Families of both studies, each with what it was then.

    Raises:
        StudyError: There are none.
    """
    then = {family.name: family for family in run.study.families}
    found = [(f, then[f.name]) for f in study.families if f.name in then]
    if not found:
        raise StudyError(
            f"the run `{run.name}` has no family of this study, but {', '.join(then)}",
            hint="a warm start takes over what families of the same name have found",
        )
    return found


# -- configurations -----------------------------------------------------------------------


def _try_first(found: CarriedTrials, run: _Run, top: int) -> None:
    """Add a run's best configurations to the points to try first.

    Raises:
        StudyError: None of them fits.
    """
    study = found.study
    objective = study.objectives[0]
    past = run.study.replace(objectives=study.objectives)
    summary = summarize(past, run.events, folder=run.folder.path)
    families = {family.name: family for family in study.families}
    taken, refused = 0, []
    for family, _ in _common(study, run):
        rows = [r for r in summary.rows if r.family == family.name and r.rank]
        points = list(family.initial_points)
        for row in rows[:top]:
            try:
                whole = summary.space(row).complete(row.params)
                point = _point(family, {**run.study.settings, **whole}, row)
            except SpaceError as error:
                refused.append(f"trial {row.trial} is left out: {error}")
                continue
            taken += 1
            if row.schedule:
                refused.append(
                    f"trial {row.trial} is tried with the values of its first epoch; how "
                    "they changed is left out"
                )
            if point not in points:
                points.append(point)
        families[family.name] = replace(family, initial_points=tuple(points))
    if not taken:
        why = (
            "; ".join(refused) or f"no ranked trial of it reports `{objective.metric}`"
        )
        raise StudyError(
            f"no configuration of the run `{run.name}` can be tried first: {why}",
            hint="see `hpo results` of that run, or start without it",
        )
    found.study = study.replace(families=tuple(families.values()))
    found.notes.append(
        f"warm start: {taken} configurations of `{run.name}` are tried first"
    )
    found.notes += [f"warm start from `{run.name}`: {text}" for text in refused]


def _point(family: Family, whole: Mapping[str, Any], row: Row) -> dict[str, Any]:
    """An earlier configuration as a point of the space of today.

    Args:
        family: The family of today.
        whole: The configuration, what was not searched included.
        row: Its trial.

    Raises:
        SpaceError: It is none.
    """
    space = family.space
    for name, value in row.params.items():
        if name in space.distributions:
            continue
        if name not in space.constants:
            raise SpaceError(f"`{name}` is not in the space any more")
        if space.constants[name] != value:
            raise SpaceError(f"`{name}` was {value!r}, is {space.constants[name]!r}")
    known = {n: whole[n] for n in space.distributions if n in whole}
    return space.validate({n: known[n] for n in space.active(known) if n in known})


# -- results ------------------------------------------------------------------------------


def _refuse_differences(study: Study, run: _Run, data: Any) -> None:
    """Say why results of a run are no results of this study.

    Raises:
        StudyError: They are not.
    """
    past = run.study
    changed = []
    goals = [[(o.metric, o.direction) for o in s.objectives] for s in (past, study)]
    if goals[0] != goals[1]:
        changed.append("the objective differs")
    tasks = past.described_task, study.described_task
    if all(tasks) and tasks[0] != tasks[1]:
        changed.append(f"the task was {described(tasks[0])}, is {described(tasks[1])}")
    then_data, now_data = map(packages.same_layout, (run.record.get("data"), data))
    if identity(then_data) != identity(now_data):
        changed.append("the data differs")
    if dict(past.settings) != dict(study.settings):
        changed.append("the settings differ")
    for family, then in _common(study, run):
        name = f"family `{family.name}`"
        epochs = past.epochs_of(family.name), study.epochs_of(family.name)
        if epochs[0] != epochs[1]:
            changed.append(f"{name} had {epochs[0]} epochs, has {epochs[1]}")
        if then.space != family.space:
            changed.append(f"the space of {name} differs")
        if then.reference != family.reference:
            changed.append(f"`create` of {name} was {then.reference}")
    if changed:
        raise StudyError(
            f"the results of the run `{run.name}` cannot be taken over: "
            + "; ".join(changed),
            hint='`take="configurations"` trains its best configurations again',
        )


def _carry(found: CarriedTrials, run: _Run) -> None:
    """Add the ended trials of a run, with new numbers.

    Raises:
        StudyError: A family has more of them than it may have trials.
    """
    study = found.study
    families = {family.name for family, _ in _common(study, run)}
    if any(isinstance(event, Exploited) for event in run.events):
        raise StudyError(
            f"the results of the run `{run.name}` cannot be taken over: trials of it adopted "
            "each other's states",
            hint='`take="configurations"` trains its best configurations again',
        )
    before = [e.before for e in run.events if isinstance(e, Extended)]
    spaces, outside = Spaces(run.study, before), 0
    had = found.counts.total()
    for number, (head, story) in _stories(run.events).items():
        family, end = head.family, story[-1] if story else None
        if family not in families or not isinstance(end, CARRIED):
            continue
        space = study.family(family).space
        then = spaces.of(number, family, head.extension or 0)
        if not _same(head.params, then, space):
            outside += 1
            continue
        new, index = found.counts.total() + 1, found.counts[family]
        told = [e for e in story[:-1] if not isinstance(e, _ANEW)]
        found.events += _renumbered(head, [*told, end], new, index, run.name)
        found.counts[family] += 1
        config = run.folder.config_file(number)
        if config.exists():
            found.configs[new] = config
    for family, quota in study.trials_of().items():
        count = found.counts[family]
        if count > quota:
            raise StudyError(
                f"family `{family}` would begin with {count} earlier trials, "
                f"but may have {quota}",
                hint="earlier trials count: raise `budget.trials`",
            )
    count = found.counts.total() - had
    found.notes.append(f"warm start: {count} trials of `{run.name}` are taken over")
    if outside:
        found.notes.append(
            f"warm start from `{run.name}`: {outside} trials of an earlier space are left out"
        )
    now = differences(run.record.get("provenance", {}), provenance())
    found.notes += [f"warm start from `{run.name}`: {text}" for text in now]
    data = run.record.get("data")
    if data is not None and not (isinstance(data, Mapping) and data.get("hashes")):
        found.notes.append(
            f"warm start from `{run.name}`: the data has no hashes; its description is "
            "the same"
        )


def _stories(events: Iterable[Event]) -> dict[int, tuple[Proposed, list[TrialEvent]]]:
    """Of each trial how it was proposed, and what is told of it behind that.

    Raises:
        RunError: Something is told of a trial before it was proposed.
    """
    stories: dict[int, tuple[Proposed, list[TrialEvent]]] = {}
    for event in events:
        if isinstance(event, Proposed):
            stories[event.trial] = event, []
        elif isinstance(event, _TOLD):
            if event.trial not in stories:
                raise contradiction(event, "that trial was never proposed")
            stories[event.trial][1].append(event)
    return stories


def _same(params: Mapping[str, Any], then: Space, now: Space) -> bool:
    """Whether searched values of a space are a point of another with the same constants."""
    return now.holds(params) and now.complete(params) == then.complete(params)


def _renumbered(
    head: Proposed, told: list[TrialEvent], number: int, index: int, source: str
) -> list[Event]:
    """A trial's events as those of another run, which nobody extended, all in one attempt."""
    beside = {"trial": number, "n": -1, "time": 0.0, "elapsed": 0.0}
    return [
        structs.replace(
            head,
            **beside,
            number=index,
            origin="carried",
            carried=f"{source}#{head.trial}",
            extension=UNSET,
        ),
        Started(
            trial=number, attempt=1, attempt_of="carried", epoch=0, from_attempt=None
        ),
        *(structs.replace(event, **beside, attempt=1) for event in told),
    ]
