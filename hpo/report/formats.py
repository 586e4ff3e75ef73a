"""A `Summary` as JSON, CSV and Markdown: data for programs and for papers."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence, Set
from typing import Any

from hpo.report import hyperparameters, numbers, table
from hpo.report.summary import Row, Summary
from hpo.schedule import written


def json_rows(summary: Summary) -> list[dict[str, Any]]:
    """One JSON-able object per trial, in the summary's order; strict JSON.

    `objective` is in the objective's plain unit. `rank` and `objective` are None where
    there is none. With several objectives there are also `front` and `objectives`, a value
    by metric. A trial whose values changed while it was trained has its `schedule`, and its
    `donors` with the epochs at which it adopted their states; `params` are those before.
    """
    return [_record(summary, row) for row in summary.rows]


def _record(summary: Summary, row: Row) -> dict[str, Any]:
    objectives = summary.study.objectives
    several: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    if row.schedule:
        donors = [{"trial": e.donor, "epoch": e.epoch} for e in row.exploits]
        changed = {"schedule": written(row.schedule), "donors": donors}
    if len(objectives) > 1:
        values = row.values or (None,) * len(objectives)
        pairs = zip(objectives, values, strict=True)
        several = {"front": row.front, "objectives": {o.metric: v for o, v in pairs}}
    return {
        "rank": row.rank,
        "trial": row.trial,
        "family": row.family,
        "state": row.state,
        "objective": row.objective,
        "metric": summary.objective.metric,
        "unit": summary.objective.unit,
        "best_epoch": row.best_epoch,
        "epochs": row.epochs,
        "epoch_budget": row.epoch_budget,
        "seconds": round(row.seconds, 3),
        "compile_seconds": round(row.compile_seconds, 3),
        "parameters": row.parameters,
        "seed": row.seed,
        "attempts": len(row.attempts),
        "ended_by": row.ended_by,
        "params": dict(row.params),
        **changed,
        **several,
    }


def to_json(summary: Summary) -> str:
    """The trials as a JSON list of objects."""
    return json_text(json_rows(summary))


def json_text(value: Any) -> str:
    """Strict, indented JSON with a final newline; NaN and infinities become null."""
    return json.dumps(_strict(value), indent=2, allow_nan=False, default=str) + "\n"


def inline_json(value: Any) -> str:
    """Strict JSON on one line."""
    return json.dumps(_strict(value), allow_nan=False, default=str)


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _strict(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_csv(summary: Summary) -> str:
    """The trials as CSV: the JSON's fields, then one column per hyperparameter.

    Where values changed in training, schedule and donors follow as JSON.
    """
    keys = sorted({k for row in summary.rows for k in row.params})
    further = [o.metric for o in summary.study.objectives[1:]]
    flat = [
        {
            **{k: v for k, v in record.items() if k not in _NESTED},
            **{k: inline_json(record[k]) for k in CHANGED if k in record},
            **{f"objectives.{m}": record["objectives"][m] for m in further},
            **{f"params.{k}": record["params"].get(k) for k in keys},
        }
        for record in json_rows(summary)
    ]
    heads = [k for k in _HEADS if k != "params"] + [f"params.{k}" for k in keys]
    if any(row.schedule for row in summary.rows):
        heads += CHANGED
    if further:
        heads = ["rank", "front", *heads[1:], *(f"objectives.{m}" for m in further)]
    return csv_text(flat, heads)


CHANGED = ("schedule", "donors")
"""Fields of trials whose values changed in training; others do not have them."""
_NESTED = ("params", "objectives", *CHANGED)
_HEADS = (
    *("rank", "trial", "family", "state", "objective", "metric", "unit", "best_epoch"),
    *("epochs", "epoch_budget", "seconds", "compile_seconds", "parameters", "seed"),
    *("attempts", "ended_by", "params"),
)


def csv_text(rows: Sequence[Mapping[str, Any]], heads: Sequence[str]) -> str:
    """Rows as CSV with a head; missing values are empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, heads, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def to_markdown(summary: Summary) -> str:
    """The ranked table in GitHub's Markdown."""
    objective, goals = summary.objective, summary.study.objectives
    scale = numbers.scale_for([r.objective for r in summary.rows], objective.unit)
    short = numbers.short_names(k for r in summary.rows for k in r.params)
    unit = f" [{scale.unit}]" if scale.unit else ""
    further = table.further_columns(summary)
    several = bool(further)
    size = [] if any(h == "parameters" for h, _ in further) else ["parameters"]
    heads = [
        *("rank", *(["front"] if several else []), "trial", "family"),
        *(f"{objective.metric}{unit}", *(head for head, _ in further), "state"),
        *("epochs", "seconds", *size, "hyperparameters"),
    ]
    rows = [
        [
            str(row.rank or "–"),
            *([str(row.front or "–")] if several else []),
            str(row.trial),
            row.family,
            scale.format(row.objective),
            *(cells[i] for _, cells in further),
            "; ".join([row.why or row.state, *table.over_limits(row, goals)]),
            f"{row.epochs}/{row.epoch_budget}",
            numbers.seconds(row.seconds),
            *(numbers.count(row.parameters) for _ in size),
            ", ".join(hyperparameters.told(row, short)),
        ]
        for i, row in enumerate(summary.rows)
    ]
    left = ("family", "state", "hyperparameters")
    right = {i for i, head in enumerate(heads) if head not in left}
    return markdown_table(heads, rows, right=right)


def markdown_table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Set[int] = frozenset(),
) -> str:
    """A Markdown table.

    Args:
        heads: The columns' names.
        rows: Cells, as many as heads.
        right: Positions of the columns aligned to the right.
    """
    marks = ["---:" if i in right else "---" for i in range(len(heads))]
    lines = [heads, marks, *rows]
    clean = [
        [
            cell.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
            for cell in line
        ]
        for line in lines
    ]
    return "".join("| " + " | ".join(line) + " |\n" for line in clean)
