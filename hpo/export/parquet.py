"""A run as one Parquet table: the columns of the CSV, and each trial's curves as lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpo.export.source import Source
from hpo.report import formats

_TYPES = {
    **dict.fromkeys(
        (
            *("rank", "trial", "best_epoch", "epochs", "epoch_budget"),
            *("parameters", "attempts"),
        ),
        "int64",
    ),
    **dict.fromkeys(("objective", "seconds", "compile_seconds"), "float64"),
    **dict.fromkeys(("family", "state", "metric", "unit", "ended_by"), "string"),
    "seed": "uint64",
}


def write(source: Source, path: Path) -> None:
    """Write ``trials.parquet``: one row a trial.

    Beside the CSV's columns there are ``curve_epoch`` and, for every number that any trial
    reported, ``train_NAME`` and ``valid_NAME``: lists with one value an epoch, NaN where it
    was not reported. Hyperparameters have the type of their values; one with numbers and
    texts is text.

    Args:
        source: The run.
        path: A file that is not there yet.
    """
    import pyarrow
    from pyarrow import parquet

    rows = formats.json_rows(source.summary)
    columns = {
        name: pyarrow.array([r[name] for r in rows], type=_type(pyarrow, kind))
        for name, kind in _TYPES.items()
    }
    for key in sorted({k for r in rows for k in r["params"]}):
        values, kind = _column([r["params"].get(key) for r in rows])
        columns[f"params.{key}"] = pyarrow.array(values, type=_type(pyarrow, kind))
    if any(row.schedule for row in source.summary.rows):
        for name in formats.CHANGED:
            told = [formats.inline_json(r[name]) if name in r else None for r in rows]
            columns[name] = pyarrow.array(told, type=pyarrow.string())
    for name, lists, kind in _curves(source):
        listed = pyarrow.list_(_type(pyarrow, kind))
        columns[name] = pyarrow.array(lists, type=listed)
    about = {"study": source.summary.study.name, "run": str(source.summary.folder)}
    table = pyarrow.table(columns).replace_schema_metadata(about)
    parquet.write_table(table, path)


def _type(pyarrow: Any, kind: str) -> Any:
    return getattr(pyarrow, kind)()


def _column(values: Sequence[Any]) -> tuple[list[Any], str]:
    """A hyperparameter's values in one type, missing ones as None."""
    given = [v for v in values if v is not None]
    kinds = {bool if isinstance(v, bool) else type(v) for v in given}
    for kinds_in, kind in (
        ({bool}, "bool_"),
        ({int}, "int64"),
        ({int, float}, "float64"),
    ):
        if kinds and kinds <= kinds_in:
            return list(values), kind
    texts = [
        v if v is None or isinstance(v, str) else json.dumps(v, default=str)
        for v in values
    ]
    return texts, "string"


def _curves(source: Source) -> list[tuple[str, list[list[Any]], str]]:
    trials = [source.epochs[row.trial] for row in source.summary.rows]
    out: list[tuple[str, list[list[Any]], str]] = [
        ("curve_epoch", [sorted(epochs) for epochs in trials], "int64")
    ]
    for part in ("train", "valid"):
        names = {
            n for epochs in trials for e in epochs.values() for n in getattr(e, part)
        }
        for name in sorted(names):
            lists = [
                [
                    float(getattr(epochs[k], part).get(name, "nan"))
                    for k in sorted(epochs)
                ]
                for epochs in trials
            ]
            out.append((f"{part}_{name}", lists, "float64"))
    return out
