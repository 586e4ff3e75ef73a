"""Deleting checkpoints that nothing needs any more: those of trials that lost.

What a resume or a look at the best needs stays: every trial that has not ended, and the best
of each family. Ledger, configurations, errors, reports and re-runs are never touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import RunError
from hpo.ledger.folder import RunFolder
from hpo.report.summary import Row, Summary, load_summary
from hpo.trials.states import ENDINGS
from hpo.worker import session

_ATTEMPT = re.compile(r"(?:attempt|adopted)-([1-9]\d*)")


@dataclass(frozen=True, kw_only=True)
class Scrap:
    """The folder of an attempt, or of what it adopted, whose checkpoint is not needed.

    Attributes:
        row: Its trial.
        attempt: Its number.
        path: The folder.
        size: Bytes of its files.
    """

    row: Row
    attempt: int
    path: Path
    size: int


def clean(folder: RunFolder, *, keep: int, dry: bool) -> tuple[Scrap, ...]:
    """Delete the checkpoints of a run's losers.

    Args:
        folder: The run; no driver may be at work on it.
        keep: How many of each family's ranked trials keep theirs (of the latest attempt).
        dry: Only say what would go.

    Returns:
        What was deleted, or would be, in the order of trials.

    Raises:
        RunLocked: A driver is at work on the run.
        RunError: The folder is no run, or something could not be deleted.
    """
    with folder.acquire():
        found = tuple(_scraps(folder, load_summary(folder.path), keep))
        if dry:
            return found
        for scrap in found:
            session.drop(scrap.path)
        left = [s.path for s in found if s.path.exists()]
        if left:
            freed = sum(s.size - _size(s.path) for s in found)
            raise RunError(
                f"{len(left)} of {len(found)} folders could not be deleted, the first is "
                f"{left[0]}; {freed:,} bytes were freed",
                hint="check the permissions of the folder and who owns it",
            )
    return found


def _scraps(folder: RunFolder, summary: Summary, keep: int) -> Iterator[Scrap]:
    winners = {
        row.trial
        for family in summary.study.families
        for row in _ranked(summary, family.name)[:keep]
    }
    for row in sorted(summary.rows, key=lambda r: r.trial):
        if row.state not in ENDINGS:
            continue
        attempts = sorted(_attempts(folder.trial(row.trial)))
        if row.trial in winners:
            saved = [path for _, path in attempts if session.has_checkpoint(path)]
            attempts = [(n, p) for n, p in attempts if saved and p != saved[-1]]
        for number, path in attempts:
            yield Scrap(row=row, attempt=number, path=path, size=_size(path))


def _ranked(summary: Summary, family: str) -> Sequence[Row]:
    return [r for r in summary.rows if r.family == family and r.rank is not None]


def _attempts(place: Path) -> Iterator[tuple[int, Path]]:
    for path in place.glob("a*-*"):
        match = _ATTEMPT.fullmatch(path.name)
        if match and path.is_dir() and not path.is_symlink():
            yield int(match[1]), path


def _size(path: Path) -> int:
    return sum(p.lstat().st_size for p in path.rglob("*") if not p.is_dir())
