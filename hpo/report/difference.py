"""The differences between two trials of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpo.report import numbers
from hpo.report.configuration import configuration
from hpo.report.summary import Row, Summary


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One thing both trials were asked for.

    Attributes:
        key: A result (``state``, ``rmse`` …) or a dotted configuration key.
        values: One value by trial number; a trial without the key is missing.
    """

    key: str
    values: Mapping[int, Any]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two trials side by side.

    Attributes:
        summary: Their run.
        trials: Their numbers, as asked for.
        results: What came of them, whether it differs or not; values in plain units.
        keys: Configuration keys whose values differ, or that one of them lacks; values that
            changed in training with the epoch after which they did.
        equal: How many configuration keys are equal.
    """

    summary: Summary
    trials: tuple[int, int]
    results: tuple[Pair, ...]
    keys: tuple[Pair, ...]
    equal: int


def difference(summary: Summary, first: Row, second: Row) -> Difference:
    """Compare two trials' results and whole configurations.

    Args:
        summary: Their run.
        first: One trial.
        second: The other.
    """
    rows = (first, second)
    told = [_results(summary, row) for row in rows]
    given = [_whole(summary, row) for row in rows]
    names = list(dict.fromkeys([*given[0], *given[1]]))
    keys = [
        Pair(
            key=name,
            values={
                row.trial: values[name]
                for row, values in zip(rows, given, strict=True)
                if name in values
            },
        )
        for name in names
    ]
    unequal = tuple(pair for pair in keys if not _equal(pair))
    trials = (first.trial, second.trial)
    return Difference(
        summary=summary,
        trials=trials,
        results=tuple(
            Pair(
                key=name, values={t: r[name] for t, r in zip(trials, told, strict=True)}
            )
            for name in told[0]
        ),
        keys=unequal,
        equal=len(keys) - len(unequal),
    )


def _whole(summary: Summary, row: Row) -> dict[str, Any]:
    """A trial's configuration, and each value that changed while it was trained."""
    later = {
        f"{name} (after epoch {change.after})": value
        for change in row.schedule
        for name, value in change.traced.items()
    }
    return configuration(summary, row) | later


def json_rows(found: Difference) -> list[dict[str, Any]]:
    """One JSON-able object a line: ``part, key, a, b``; an absent key is left out."""
    out = []
    for part, pairs in (("result", found.results), ("configuration", found.keys)):
        for pair in pairs:
            sides = zip(("a", "b"), found.trials, strict=True)
            values = {s: pair.values[t] for s, t in sides if t in pair.values}
            out.append({"part": part, "key": pair.key, **values})
    return out


def table(found: Difference) -> list[dict[str, str]]:
    """The lines as people read them, with a dash where a trial has no such key."""
    objective = found.summary.objective
    heads = tuple(f"trial {number}" for number in found.trials)
    lines = []
    for pair in (*found.results, *found.keys):
        key, values = pair.key, [pair.values.get(t) for t in found.trials]
        if pair in found.results:
            cells = [_plain(v) for v in values]
            if key == objective.metric:
                scale = numbers.scale_for(values, objective.unit)
                cells = [scale.format(v) for v in values]
                key = f"{key} [{scale.unit}]" if scale.unit else key
            elif key == "parameters":
                cells = [numbers.count(v) for v in values]
        else:
            cells = [
                _exact(pair.values[t]) if t in pair.values else "–"
                for t in found.trials
            ]
        lines.append({"": key, **dict(zip(heads, cells, strict=True))})
    return lines


def _results(summary: Summary, row: Row) -> dict[str, Any]:
    return {
        "family": row.family,
        "state": row.why or row.state,
        "rank": row.rank,
        summary.objective.metric: row.objective,
        "best epoch": row.best_epoch,
        "epochs": row.epochs,
        "seconds": round(row.seconds, 3),
        "parameters": row.parameters,
        "seed": row.seed,
    }


def _equal(pair: Pair) -> bool:
    if len(pair.values) != 2:
        return False
    a, b = pair.values.values()
    if isinstance(a, bool) is not isinstance(b, bool):
        return False
    return bool(a == b or (a != a and b != b))


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return numbers.seconds(value)
    return "–" if value is None else str(value)


def _exact(value: Any) -> str:
    """A configuration's value to the last digit: a rounded one may hide what differs."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
