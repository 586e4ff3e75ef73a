"""The source of every export: the summary, each epoch's numbers, and when things were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpo.ledger.events import ENDINGS
from hpo.ledger.folder import RunFolder
from hpo.ledger.lines import read_event
from hpo.ledger.log import Reader
from hpo.report.summary import Summary, load_summary


@dataclass(frozen=True, kw_only=True)
class Record:
    """One epoch of a trial.

    Attributes:
        time: Unix time at which it was reported.
        train: Training terms by name.
        valid: Validation metrics by name.
    """

    time: float
    train: Mapping[str, float]
    valid: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A run, read once.

    Attributes:
        summary: Its summary.
        epochs: By trial and epoch; the first report of an epoch stands.
        started: Unix time of each trial's first attempt.
        ended: Unix time of each trial's ending.
    """

    summary: Summary
    epochs: Mapping[int, Mapping[int, Record]]
    started: Mapping[int, float]
    ended: Mapping[int, float]


def load_source(folder: Path) -> Source:
    """Read a run; nothing of it is changed.

    Args:
        folder: The run's folder.

    Raises:
        RunError: It is no run, or is damaged.
    """
    summary = load_summary(folder)
    epochs: dict[int, dict[int, Record]] = {row.trial: {} for row in summary.rows}
    started: dict[int, float] = {}
    ended: dict[int, float] = {}
    for event in Reader(RunFolder(folder).events_file, read_event):
        if event.trial not in epochs:
            continue  # the run itself, or a trial proposed since the summary was read
        if event.event == "epoch":
            record = Record(
                time=event.time, train=event.data["train"], valid=event.data["valid"]
            )
            epochs[event.trial].setdefault(event.data["epoch"], record)
        elif event.event == "started":
            started.setdefault(event.trial, event.time)
        elif event.event in ENDINGS:
            ended[event.trial] = event.time
    return Source(summary=summary, epochs=epochs, started=started, ended=ended)
