"""Re-runs of a run's trials, as its ledger tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpo.errors import RunError
from hpo.ledger.events import RerunEvent
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import events_of
from hpo.study import Objective


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """A trial was trained again.

    Attributes:
        trial: Its number.
        kind: ``exact`` or ``seeds``.
        folder: The name of the folder below ``reruns/``.
        equal: Of an exact one, whether every number came out the same.
        seeds: The fresh seeds.
        values: The objective over the validation part by seed; None for those that failed.
        tests: The objective over the test part by seed, likewise.
        changed: What was set otherwise than in the search, in words.
    """

    trial: int
    kind: str
    folder: str = ""
    equal: bool | None = None
    seeds: tuple[int, ...] = ()
    values: tuple[float | None, ...] = ()
    tests: tuple[float | None, ...] = ()
    changed: str = ""


def reruns(folder: Path, objective: Objective) -> tuple[Rerun, ...]:
    """The re-runs of a run, in order; no other line of its ledger is read.

    Args:
        folder: The run's folder.
        objective: What its trials are ranked by.

    Raises:
        RunError: The ledger is missing or unreadable, or one of those lines is damaged.
    """
    events = events_of(RunFolder(folder).events_file, RerunEvent)
    return with_changes(folder, [told(event, objective) for event in events])


def with_changes(folder: Path, found: Iterable[Rerun]) -> tuple[Rerun, ...]:
    """The re-runs, each with what its own folder says was changed.

    Args:
        folder: The run's folder.
        found: Its re-runs, as the run's ledger tells them.
    """
    return tuple(replace(r, changed=_changed(folder, r.folder)) for r in found)


def _changed(folder: Path, name: str) -> str:
    """Empty also where the folder is gone: the ledger alone says nothing of it."""
    if not name:
        return ""
    try:
        record = RunFolder(RunFolder(folder).reruns / Path(name).name).read_study()
    except RunError:
        return ""
    about = record.get("rerun")
    return str(about.get("changed", "")) if isinstance(about, Mapping) else ""


def told(event: RerunEvent, objective: Objective) -> Rerun:
    """The re-run that an event of the ledger tells of.

    Args:
        event: The event.
        objective: What the run's trials are ranked by.
    """
    tests = event.tests if isinstance(event.tests, list) else []
    values = event.values if isinstance(event.values, list) else []
    return Rerun(
        trial=event.trial or 0,
        kind=event.kind,
        folder=event.folder if isinstance(event.folder, str) else "",
        equal=event.equal if isinstance(event.equal, bool) else None,
        seeds=tuple(event.seeds) if isinstance(event.seeds, list) else (),
        values=tuple(map(_number, values)),
        tests=tuple(
            _number(t.get(objective.metric) if isinstance(t, Mapping) else None)
            for t in tests
        ),
    )


def _number(value: Any) -> float | None:
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if known else None
