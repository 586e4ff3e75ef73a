"""One trial in full, as `hpo show` prints it."""

from __future__ import annotations

import json
import math
import textwrap
from pathlib import Path
from typing import Any

from rich.text import Text

from hpo.ledger.folder import RunFolder
from hpo.report import hyperparameters, numbers, rungs
from hpo.report.configuration import configuration
from hpo.report.repeats import cells, repeats
from hpo.report.summary import Row, Summary

_ERROR_LINES = 40


def render(summary: Summary, row: Row, *, width: int = 80) -> Text:
    """Configuration, curve, attempts, states and error text of one trial.

    Args:
        summary: Its run.
        row: The trial.
        width: Columns of the terminal.
    """
    lines = [Text(f"trial {row.trial} of {summary.study.name}", style="bold")]
    lines += _pairs(_facts(summary, row), width=width)
    for title, body in (
        (
            "configuration (* searched)",
            _pairs(_configuration(summary, row), width=width),
        ),
        ("schedule", _schedule(row, width=width)),
        ("curve", _curve(summary, row, width=width)),
        ("rungs", _rungs(summary, row, width=width)),
        ("attempts", _attempts(row, width=width)),
        ("trained again", _repeats(summary, row, width=width)),
        ("notes", [t for n in _notes(row) for t in _hanging("  ", n, width=width)]),
        ("error", _error(summary.folder, row)),
    ):
        if body:
            lines += [Text(), Text(title, style="bold"), *body]
    return Text("\n").join(lines)


def _facts(summary: Summary, row: Row) -> list[tuple[str, str]]:
    objective = summary.objective
    scale = numbers.scale_for([row.objective], objective.unit)
    value = "–"
    if row.objective is not None:
        value = f"{scale.format(row.objective)} {scale.unit}".strip()
        value += f" at epoch {row.best_epoch}"
    state = row.why or row.state
    if row.reason and row.reason not in state:
        state += f": {row.reason}"
    return [
        ("family", row.family),
        ("state", state),
        ("rank", str(row.rank or "–")),
        (objective.metric, value),
        ("epochs", f"{row.epochs} of {row.epoch_budget}{_inherited(row)}"),
        (
            "seconds",
            f"{numbers.seconds(row.seconds)} training and validation, "
            f"{numbers.seconds(row.compile_seconds)} compiling",
        ),
        ("parameters", numbers.count(row.parameters)),
        *([("kernels", row.kernels)] if row.kernels else []),
        ("seed", str(row.seed)),
        ("folder", str(RunFolder(summary.folder).trial(row.trial))),
    ]


def _configuration(summary: Summary, row: Row) -> list[tuple[str, str]]:
    searched = set(row.params)
    return [
        (f"{'*' if key in searched else ' '} {key}", _plain(value))
        for key, value in configuration(summary, row).items()
    ]


def _inherited(row: Row) -> str:
    """How many epochs another trial trained for it, and whose state it adopted."""
    if not row.exploits:
        return ""
    return f", the first {row.inherited} inherited: {hyperparameters.adopted(row)}"


def _schedule(row: Row, *, width: int) -> list[Text]:
    """What is set in each piece of a training whose values change."""
    if not row.schedule:
        return []
    return _pairs(
        [
            (f"{start}…{end}", " ".join(f"{k}={_plain(v)}" for k, v in values.items()))
            for start, end, values in hyperparameters.pieces(row)
        ],
        width=width,
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _curve(summary: Summary, row: Row, *, width: int) -> list[Text]:
    if not row.curve:
        return []
    told = []
    for name, unit, values in (
        (
            summary.objective.metric,
            summary.objective.unit,
            [p.value for p in row.curve],
        ),
        ("loss", "", [p.loss for p in row.curve]),
    ):
        finite = [v for v in values if math.isfinite(v)]
        if finite or name != "loss":
            scale = numbers.scale_for(finite, unit)
            label = f"{name} [{scale.unit}]" if scale.unit else name
            ends = scale.format(values[0]), scale.format(values[-1])
            told.append((label, ends[0], values, ends[1]))
    labels, firsts, _, lasts = (
        [len(x) for x in column] for column in zip(*told, strict=True)
    )
    room = width - max(labels) - max(firsts) - max(lasts) - 6
    return [
        Text(
            f"  {label.ljust(max(labels))}  {first.rjust(max(firsts))} "
            f"{numbers.sparkline(values, width=max(min(room, 100), 10))} {last}"
        )
        for label, first, values, last in told
    ]


def _rungs(summary: Summary, row: Row, *, width: int) -> list[Text]:
    """The family's completed trials at the rungs that this trial reached, in words."""
    return [
        line
        for found in summary.fidelity
        if found.family == row.family
        and found.epoch <= row.epochs
        and found.correlation is not None
        for line in _hanging("  ", rungs.told(found), width=width)
    ]


def _attempts(row: Row, *, width: int) -> list[Text]:
    lines: list[Text] = []
    for a in row.attempts:
        start = f"from epoch {a.epoch}" if a.epoch else "from the start"
        end = a.end or "running"
        lines += _hanging(f"  {a.number}  {a.why:<6}  ", f"{start}, {end}", width=width)
    return lines


def _repeats(summary: Summary, row: Row, *, width: int) -> list[Text]:
    """Its re-runs and the stages of a confirmation that trained it again."""
    lines: list[Text] = []
    for found in cells(summary, repeats(summary, row.trial)):
        _, what, valid, test, _ = found.values()
        heads = [*found][2:4]
        told = f"{what}; {heads[0]} {valid}, {heads[1]} {test}; {found['in reruns/']}"
        lines += _hanging("  ", told, width=width)
    return lines


def _notes(row: Row) -> list[str]:
    repeated = [
        f"epoch {epoch} gave other numbers when it was trained again; the first stand"
        for epoch in row.nondeterminism
    ]
    return [*row.notes, *repeated]


def _error(folder: Path, row: Row) -> list[Text]:
    path = RunFolder(folder).error_file(row.trial)
    try:
        text = path.read_text(encoding="utf-8", errors="replace").rstrip()
    except OSError:
        return []
    lines = text.splitlines()
    cut = len(lines) - _ERROR_LINES
    head = [f"… {cut} more lines in {path}"] if cut > 0 else []
    return [Text(f"  {line}") for line in [*head, *lines[-_ERROR_LINES:]]]


def _pairs(pairs: list[tuple[str, str]], *, width: int) -> list[Text]:
    longest = max((len(name) for name, _ in pairs), default=0)
    return [
        line
        for name, value in pairs
        for line in _hanging(f"  {name.ljust(longest)}  ", value, width=width)
    ]


def _hanging(head: str, text: str, *, width: int) -> list[Text]:
    """A head and a text folded beside it; words that are too long, such as paths, stay."""
    folded = textwrap.wrap(
        text,
        max(width - len(head), 20),
        break_long_words=False,
        break_on_hyphens=False,
    )
    first, *rest = folded or [""]
    indent = " " * len(head)
    return [Text(f"{head}{first}"), *(Text(f"{indent}{line}") for line in rest)]
