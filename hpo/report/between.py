"""The differences between two runs: what they were asked for, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hpo.report import numbers
from hpo.report.summary import Row, Summary


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing of both runs.

    Attributes:
        part: ``result`` or ``study``.
        key: What it is: a family's best value, or a dotted key of the study.
        a: Of the first run; None where it has none.
        b: Of the second one.
    """

    part: str
    key: str
    a: Any
    b: Any


@dataclass(frozen=True, kw_only=True)
class Between:
    """Two runs side by side.

    Attributes:
        first: One run.
        second: The other.
        lines: Results, whether they differ or not, then keys of the studies that differ.
        equal: How many keys of the studies are equal.
        warnings: Why their values cannot be compared, in words.
    """

    first: Summary
    second: Summary
    lines: tuple[Line, ...]
    equal: int
    warnings: tuple[str, ...]


def between(first: Summary, second: Summary) -> Between:
    """Compare two runs' studies and results.

    Args:
        first: One run.
        second: The other.
    """
    flat = [dict(_flat(s.study.to_json())) for s in (first, second)]
    keys = [k for k in dict.fromkeys([*flat[0], *flat[1]]) if k != "defaults"]
    studies = [
        Line(part="study", key=k, a=flat[0].get(k), b=flat[1].get(k))
        for k in keys
        if (k in flat[0], flat[0].get(k)) != (k in flat[1], flat[1].get(k))
    ]
    results = [
        Line(part="result", key=key, a=a.get(key), b=b.get(key))
        for a, b in [(_results(first), _results(second))]
        for key in dict.fromkeys([*a, *b])
    ]
    return Between(
        first=first,
        second=second,
        lines=(*results, *studies),
        equal=len(keys) - len(studies),
        warnings=tuple(_warnings(first, second)),
    )


def json_rows(found: Between) -> list[dict[str, Any]]:
    """One JSON-able object a line: ``part, key, a, b``."""
    return [
        {"part": line.part, "key": line.key, "a": line.a, "b": line.b}
        for line in found.lines
    ]


def table(found: Between, heads: tuple[str, str]) -> list[dict[str, str]]:
    """The lines as people read them.

    Args:
        found: The comparison.
        heads: What the two runs are called.
    """
    unit = found.first.objective.unit
    values = [
        v
        for line in found.lines
        if line.key.startswith("best ")
        for v in (line.a, line.b)
    ]
    scale = numbers.scale_for(values, unit)

    def cell(line: Line, value: Any) -> str:
        if value is None:
            return "–"
        if line.key.startswith("best "):
            return f"{scale.format(value)} {scale.unit}".strip()
        if line.part == "result":
            return numbers.duration(value) if line.key == "time" else str(value)
        return value if isinstance(value, str) else json.dumps(value, default=str)

    return [
        {"": line.key, heads[0]: cell(line, line.a), heads[1]: cell(line, line.b)}
        for line in found.lines
    ]


def _results(summary: Summary) -> dict[str, Any]:
    best: dict[str, Row] = {}
    for row in summary.rows:
        if row.rank is not None:
            best.setdefault(row.family, row)
    counts = ", ".join(f"{n} {state}" for state, n in summary.counts().items())
    return {
        "trials": counts or "none",
        "epochs": sum(row.epochs for row in summary.rows),
        "time": summary.elapsed,
        **{
            f"best {f.name}": best[f.name].objective if f.name in best else None
            for f in summary.study.families
        },
    }


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys with their values; lists of named things go by the names."""
    if isinstance(value, Mapping) and value:
        for key, entry in value.items():
            yield from _flat(entry, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and value and all(_name(v) for v in value):
        for entry in value:
            yield from _flat(entry, f"{prefix}.{_name(entry)}")
    else:
        yield prefix, value


def _name(value: Any) -> str:
    named = isinstance(value, Mapping) and (value.get("name") or value.get("metric"))
    return str(named) if named else ""


def _warnings(first: Summary, second: Summary) -> Iterator[str]:
    a, b = first.study, second.study
    if a.described_task.get("name") != b.described_task.get("name"):
        yield (
            f"the tasks differ ({a.described_task.get('name', 'none')}, "
            f"{b.described_task.get('name', 'none')}): values are never ranked together"
        )
    if a.data != b.data:
        yield "the data differs: values are of different parts"
    mine, theirs = first.objective, second.objective
    if (mine.metric, mine.unit) != (theirs.metric, theirs.unit):
        names = (
            f"{o.metric} [{o.unit}]" if o.unit else o.metric for o in (mine, theirs)
        )
        yield f"the objectives differ: {', '.join(names)}"
