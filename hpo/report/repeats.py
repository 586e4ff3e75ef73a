"""Everything that trained a run's trials again: re-runs and stages of its confirmation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hpo.errors import RunError, StudyError
from hpo.ledger.events import EpochEvent, Evaluated
from hpo.ledger.folder import RunFolder
from hpo.ledger.lines import read_event
from hpo.ledger.log import Reader
from hpo.report import numbers
from hpo.report.summary import Summary
from hpo.report.verdicts import Seeded
from hpo.statistics.means import Interval, mean_interval
from hpo.study import Study
from hpo.trials.reducer import Reducer


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """One trial in one re-run, or in one stage of a confirmation.

    Attributes:
        folder: The re-run's folder.
        kind: ``exact``, ``seeds``, ``choose`` or ``confirm``.
        look: The look of a confirmation, else 0.
        trial: The trial of the search.
        asked: How many trainings were asked for.
        runs: What became of those that began.
        finished: Whether nothing is left to do.
        equal: Whether an exact one gave the same numbers; None for others.
        changed: Configuration keys and epochs that were set otherwise than in the search.
        valid: Mean over the validation part, of the trainings that did not fail.
        test: Mean over the test part, likewise.
        of_epochs: The metrics that an epoch of it has.
    """

    folder: Path
    kind: str
    look: int
    trial: int
    asked: int
    runs: tuple[Seeded, ...]
    finished: bool
    equal: bool | None
    changed: str
    valid: Interval | None
    test: Interval | None
    of_epochs: frozenset[str] = frozenset()

    @property
    def failed(self) -> int:
        """How many trainings failed."""
        return sum(bool(r.error) for r in self.runs)


def repeats(summary: Summary, trial: int | None = None) -> tuple[Repeat, ...]:
    """A run's re-runs and confirmations, oldest first; damaged and foreign folders are left out.

    Args:
        summary: The run.
        trial: Only those of this trial.
    """
    found: list[Repeat] = []
    for folder in reversed(RunFolder(summary.folder).children()):
        try:
            found += _of(folder, summary.objective.metric)
        except (RunError, StudyError, KeyError, TypeError, ValueError):
            continue  # a listing is no place to complain of one damaged folder
    return tuple(r for r in found if trial in (None, r.trial))


def trained(
    folder: RunFolder, study: Study
) -> tuple[list[Seeded], list[int | None], bool]:
    """What became of the fixed trials of a run, in order, their sizes, and whether it ended.

    Args:
        folder: The run.
        study: Its study.

    Raises:
        RunError: Its ledger is damaged.
    """
    reducer, scored = Reducer.of(study), dict[int, Evaluated]()
    path: Path = folder.events_file
    for event in Reader(path, read_event) if path.exists() else ():
        reducer.apply(event)
        if isinstance(event, Evaluated) and event.part == study.evaluate:
            scored[event.trial] = event
    runs, sizes = [], []
    for trial in reducer.record.trials.values():
        score = scored.get(trial.number)
        seen = Seeded.of(
            trial,
            test=(score.metrics or None) if score else None,
            records=score.records if score else {},
            why=(score.reason or "") if score else "",
        )
        runs.append(seen)
        sizes.append(trial.parameters)
    return runs, sizes, reducer.record.ending is not None


def _of(folder: RunFolder, metric: str) -> list[Repeat]:
    record = folder.read_study()
    wanted = record["rerun"]
    runs, _, ended = trained(folder, Study.from_json(record["study"]))
    count = wanted["seeds"] or 1
    results = _results(folder) if wanted["kind"] == "exact" else {}
    of_epochs = _of_epochs(folder.events_file) if runs else frozenset()
    found = []
    for place, trial in enumerate(wanted["trials"]):
        mine = tuple(runs[place * count : (place + 1) * count])
        good = [r for r in mine if not r.error]
        tests = [r.test[metric] for r in good if r.test and metric in r.test]
        found.append(
            Repeat(
                folder=folder.path,
                kind=wanted["kind"],
                look=wanted.get("look", 0),
                trial=trial,
                asked=count,
                runs=mine,
                finished=ended,
                equal=results.get(trial),
                changed=wanted.get("changed", ""),
                valid=mean_interval(
                    [r.objective for r in good if r.objective is not None]
                ),
                test=mean_interval(tests),
                of_epochs=of_epochs,
            )
        )
    return found


def _of_epochs(path: Path) -> frozenset[str]:
    """The metrics of the first epoch in a ledger, which is read as far as that."""
    for event in Reader(path, read_event):
        if isinstance(event, EpochEvent):
            return frozenset(event.valid)
    return frozenset()


def _results(folder: RunFolder) -> dict[int, bool]:
    """Whether each trial of an exact re-run came out equal, where that was written down."""
    try:
        found: list[dict[str, Any]] = json.loads(folder.result_file.read_text())
        return {r["trial"]: bool(r["equal"]) for r in found}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def cells(summary: Summary, found: Sequence[Repeat]) -> list[dict[str, str]]:
    """One line a re-run, as people read it: ``trial, trained again, validation, test, folder``.

    Args:
        summary: The run.
        found: Its re-runs.
    """
    objective = summary.objective
    means = [i.mean for r in found for i in (r.valid, r.test) if i]
    scale = numbers.scale_for(means, objective.unit)
    unit = f" [{scale.unit}]" if scale.unit else ""

    def told(interval: Interval | None) -> str:
        return _told(interval, scale)

    return [
        {
            "trial": str(r.trial),
            "trained again": _what(r),
            f"validation{unit}": told(r.valid),
            f"test{unit}": told(r.test),
            "in reruns/": r.folder.name,
        }
        for r in found
    ]


def further_cells(found: Sequence[Repeat]) -> list[dict[str, str]]:
    """One line a re-run of what is told of the test part and of no epoch; often nothing.

    Names with a dot belong to a single parameter or observation, and are left to JSON.

    Args:
        found: The re-runs of a run.
    """
    told: list[tuple[Repeat, dict[str, list[float]]]] = []
    for repeat in found:
        values: dict[str, list[float]] = {}
        for run in repeat.runs:
            for name, value in (run.test or {}).items() if not run.error else ():
                if name not in repeat.of_epochs and "." not in name:
                    values.setdefault(name, []).append(value)
        if values:
            told.append((repeat, values))
    names = list(dict.fromkeys(name for _, values in told for name in values))
    scale = numbers.Scale(decimals=3)
    return [
        {
            "trial": str(repeat.trial),
            **{n: _further(n, values.get(n, []), scale) for n in names},
            "in reruns/": repeat.folder.name,
        }
        for repeat, values in told
    ]


def _further(name: str, values: Sequence[float], scale: numbers.Scale) -> str:
    """A metric over the seeds; a p-value is no estimate that they scatter around."""
    if name.endswith("_p") and len(values) > 1:
        middle, least = scale.format(median(values)), scale.format(min(values))
        return f"median {middle}, smallest {least}"
    return _told(mean_interval(values), scale)


def _told(interval: Interval | None, scale: numbers.Scale) -> str:
    if interval is None:
        return "–"
    spread = interval.deviation
    mean = scale.format(interval.mean)
    return mean if spread is None else f"{mean} ± {scale.format(spread)}"


def _what(repeat: Repeat) -> str:
    names = {
        "exact": "exactly",
        "seeds": f"{repeat.asked} fresh seeds",
        "choose": f"{repeat.asked} fresh seeds, to choose",
        "confirm": f"{repeat.asked} new seeds, look {repeat.look}",
    }
    words = [names.get(repeat.kind, repeat.kind)]
    if repeat.changed:
        words.append(repeat.changed)
    if repeat.equal is not None:
        words.append("equal" if repeat.equal else "not equal")
    if repeat.failed and repeat.kind != "exact":
        words.append(f"{repeat.failed} of {repeat.asked} failed")
    if not repeat.finished:
        words.append(f"unfinished, {len(repeat.runs)} begun")
    return ", ".join(words)
