"""The source of every export: the summary, each epoch's numbers, and when things were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hpo.ledger.events import Ending, EpochEvent, Started
from hpo.ledger.folder import RunFolder
from hpo.ledger.lines import read_event
from hpo.ledger.log import Reader
from hpo.report.summary import Summary, load_study, summary_of
from hpo.trials.reducer import Reducer
from models.training.protocol import Epoch


@dataclass(frozen=True, kw_only=True)
class Source:
    """A run, read once.

    Attributes:
        summary: Its summary.
        epochs: By trial and number, as the trials' records have them.
        reported: Unix time at which each of them was reported, likewise.
        started: Unix time of each trial's first attempt.
        ended: Unix time of each trial's ending.
    """

    summary: Summary
    epochs: Mapping[int, Mapping[int, Epoch]]
    reported: Mapping[int, Mapping[int, float]]
    started: Mapping[int, float]
    ended: Mapping[int, float]


def load_source(folder: Path) -> Source:
    """Read a run; nothing of it is changed.

    Args:
        folder: The run's folder.

    Raises:
        RunError: It is no run, or is damaged.
    """
    study = load_study(folder)
    reducer = Reducer.of(study, whole=True)
    reported: dict[int, dict[int, float]] = {}
    started: dict[int, float] = {}
    ended: dict[int, float] = {}
    reader = Reader(RunFolder(folder).events_file, read_event)
    for event in reader:
        reducer.apply(event)
        if isinstance(event, EpochEvent):
            reported.setdefault(event.trial, {}).setdefault(event.epoch, event.time)
        elif isinstance(event, Started):
            started.setdefault(event.trial, event.time)
        elif isinstance(event, Ending):
            ended[event.trial] = event.time
    summary = summary_of(study, reducer.record, folder=folder)
    if reader.torn:
        summary = replace(summary, notes=(*summary.notes, reader.torn))
    return Source(
        summary=summary,
        epochs={n: trial.epochs for n, trial in reducer.record.trials.items()},
        reported=reported,
        started=started,
        ended=ended,
    )
