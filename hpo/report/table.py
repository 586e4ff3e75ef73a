"""A `Summary` as the terminal shows it: aligned columns, hyperparameters below or beside.

Made of `rich.text.Text`, so one rendering serves colour, no colour and plain strings; nothing
is said by colour alone.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.text import Text

from hpo.objectives import PARAMETERS, excess
from hpo.report import hyperparameters, numbers, rungs
from hpo.report.summary import Row, Summary
from hpo.study import Objective
from hpo.trials.states import RANKED, State

_STYLES = {
    "completed": "green",
    "converged": "green",
    "running": "cyan",
    "failed": "red",
    "diverged": "red",
}
_GAP = "  "
_BREAKS = re.compile(r"[\t\n\r\v\f]")
_BESIDE = 56  # narrowest column of hyperparameters worth having beside the numbers


@dataclass(frozen=True)
class _Column:
    head: str
    cells: tuple[str, ...]
    right: bool = True

    @cached_property  # asked for every cell
    def width(self) -> int:
        return max(len(self.head), *map(len, self.cells), 1)

    def fit(self, text: str) -> str:
        return text.rjust(self.width) if self.right else text.ljust(self.width)

    @cached_property
    def fitted(self) -> list[str]:
        """Every cell at the column's width."""
        return [self.fit(cell) for cell in self.cells]


def render(summary: Summary, *, width: int = 80, whole: Summary | None = None) -> Text:
    """The head of a run and its ranked table.

    Args:
        summary: The rows to print.
        width: Columns of the terminal.
        whole: The run that the head describes, where `summary` is a selection of it.
    """
    top = head(whole or summary, width=width)
    lines = [*top, Text(), *table(summary, width=width)]
    shown = {row.family for row in summary.rows}
    for note in (*summary.notes, *rungs.warnings(summary.fidelity, shown)):
        lines.extend(_wrapped(f"note: {note}", width=width, indent="  "))
    return Text("\n").join(lines)


def head(summary: Summary, *, width: int = 80) -> list[Text]:
    """Name, place, state and objective of a run, in a few lines."""
    objective = summary.objective
    counts = summary.counts()
    done = sum(
        n for s, n in counts.items() if s not in ("running", "paused", "pending")
    )
    states = ", ".join(f"{n}\u00a0{state}" for state, n in counts.items()) or "none yet"
    first = f"{done} of {summary.planned} trials ended ({states})"
    lines = [Text(summary.study.name, style="bold")]
    good = "smaller" if objective.direction == "minimize" else "larger"
    told = goals(summary.study.objectives) or f"{objective.metric}, {good} is better"
    for text in (
        f"{first} in {numbers.duration(summary.elapsed)}",
        f"ranked by {told}",
        f"{summary.folder}",
    ):
        lines.extend(_wrapped(text, width=width, indent="", style=""))
    return lines


def table(summary: Summary, *, width: int = 80) -> list[Text]:
    """The rows of a summary as lines no wider than `width` (columns are never cut)."""
    rows = summary.rows
    if not rows:
        return [Text("no trials")]
    columns = _columns(summary, reasons=True)
    if _total(columns) > width:
        columns = _columns(summary, reasons=False)
    needed = 1 + next(i for i, c in enumerate(columns) if c.head == "state")
    while _total(columns) > width and len(columns) > needed:
        columns.pop()
    beside = width - _total(columns) - len(_GAP)
    short = numbers.short_names(k for row in rows for k in row.params)
    has_params = any(row.params for row in rows)
    first = _GAP.join(c.fit(c.head) for c in columns)
    if has_params and beside >= _BESIDE:
        first += f"{_GAP}hyperparameters"
    lines = [Text(first.rstrip(), style="bold")]
    lines.append(Text("─" * min(width, max(len(first), _total(columns)))))
    inline_reason = any("(" in cell for cell in columns[needed - 1].cells)
    for i, row in enumerate(rows):
        if i and row.rank is None and rows[i - 1].rank is not None:
            lines.append(Text())
        main = _main_line(columns, i, row)
        remarks = _remarks(row, reason=not inline_reason)
        remarks += over_limits(row, summary.study.objectives)
        detail = _details(row, short)
        if beside >= _BESIDE:
            lines.extend(_beside(main, detail, remarks, width, _total(columns)))
        else:
            lines.append(main)
            indent = " " * (columns[0].width + columns[1].width + 2 * len(_GAP))
            for text in (*remarks, detail):
                if text:
                    lines.extend(_wrapped(text, width=width, indent=indent))
    return lines


def _columns(summary: Summary, *, reasons: bool) -> list[_Column]:
    rows, objective = summary.rows, summary.objective
    scale = numbers.scale_for([r.objective for r in rows if r.rank], objective.unit)
    if not any(r.rank for r in rows):
        scale = numbers.scale_for([r.objective for r in rows], objective.unit)
    unit = f" [{scale.unit}]" if scale.unit else ""

    def column(head: str, cells: Sequence[str], *, right: bool = True) -> _Column:
        return _Column(head, tuple(cells), right)

    further = [column(head, cells) for head, cells in further_columns(summary)]
    size = column("parameters", [numbers.count(r.parameters) for r in rows])
    several = len(summary.study.objectives) > 1
    return [
        column("rank", [str(r.rank or "–") for r in rows]),
        *([column("front", [str(r.front or "–") for r in rows])] if several else []),
        column("trial", [str(r.trial) for r in rows]),
        column("family", [r.family for r in rows], right=False),
        column(f"{objective.metric}{unit}", [scale.format(r.objective) for r in rows]),
        *further,
        column("state", [_state(r, reasons=reasons) for r in rows], right=False),
        column("epochs", [f"{r.epochs}/{r.epoch_budget}" for r in rows]),
        column("seconds", [numbers.seconds(r.seconds) for r in rows]),
        *([] if any(c.head == PARAMETERS for c in further) else [size]),
    ]


def goals(objectives: Sequence[Objective]) -> str:
    """What ranks trials where that is more than one value, in words; else empty.

    Args:
        objectives: A study's.
    """
    first, *further = objectives
    if not further and first.limit is None:
        return ""
    return f"front, then by {first.metric}: {', '.join(map(goal, objectives))}"


def goal(objective: Objective) -> str:
    """An objective in a few words: ``rmse small``, ``parameters small (at most 20000)``."""
    small = objective.direction == "minimize"
    text = f"{objective.metric} {'small' if small else 'large'}"
    if objective.limit is not None:
        text += f" (at {'most' if small else 'least'} {objective.limit:g})"
    return text


def over_limits(row: Row, objectives: Sequence[Objective]) -> list[str]:
    """The limits that a ranked trial exceeds, in words."""
    if row.rank is None or all(o.limit is None for o in objectives):
        return []
    found = zip(row.values, objectives, strict=True)
    beyond = {m for m, x in excess(row.values, objectives).items() if x > 0}
    return [
        f"{o.metric} {'unknown' if v is None else f'{v:g}'} is beyond {o.limit:g}"
        for v, o in found
        if o.metric in beyond
    ]


def further_columns(summary: Summary) -> list[tuple[str, list[str]]]:
    """Head and cells for each objective after the first."""
    found = []
    for place, objective in enumerate(summary.study.objectives[1:], 1):
        values = [r.values[place] if r.values else None for r in summary.rows]
        if objective.metric == PARAMETERS:
            cells = [numbers.count(None if v is None else int(v)) for v in values]
            found.append((PARAMETERS, cells))
            continue
        scale = numbers.scale_for(values, objective.unit)
        unit = f" [{scale.unit}]" if scale.unit else ""
        found.append((f"{objective.metric}{unit}", [scale.format(v) for v in values]))
    return found


def _total(columns: Sequence[_Column]) -> int:
    return sum(c.width for c in columns) + len(_GAP) * (len(columns) - 1)


def _is_short(row: Row) -> bool:
    return 0 < len(row.ended_by) <= 12 and row.state not in (*RANKED, State.RUNNING)


def _state(row: Row, *, reasons: bool) -> str:
    return f"{row.state} ({row.ended_by})" if reasons and _is_short(row) else row.state


def _remarks(row: Row, *, reason: bool) -> list[str]:
    """Remarks that the columns have no room for: a long reason, retries, notes."""
    out = []
    valueless = row.state in RANKED and row.objective is None
    untold = row.why and row.ended_by and (reason or not _is_short(row))
    if valueless or untold:
        out.append(row.why)
    if len(row.attempts) > 1:
        out.append(f"{len(row.attempts)} attempts")
    if row.exploits:
        out.append(hyperparameters.adopted(row, brief=True))
    if row.nondeterminism:
        epochs = ", ".join(map(str, row.nondeterminism[:3]))
        out.append(f"other numbers when trained again (epoch {epochs})")
    return [*out, *row.notes]


def _details(row: Row, short: Mapping[str, str]) -> str:
    told = hyperparameters.told(row, short)
    return "  ".join(text.replace(" ", "\u00a0") for text in told)


def _main_line(columns: Sequence[_Column], index: int, row: Row) -> Text:
    line, start = Text(_GAP.join([c.fitted[index] for c in columns])), 0
    for position, column in enumerate(columns):
        style = ""
        if column.head == "state":
            style = _STYLES.get(row.state, "")
        elif row.rank == 1 and position < 4:
            style = "bold"
        if style:
            line.stylize(style, start, start + column.width)
        start += column.width + len(_GAP)
    return line


def _beside(
    main: Text, detail: str, remarks: Sequence[str], width: int, used: int
) -> list[Text]:
    room = width - used - len(_GAP)
    texts = [t for text in (*remarks, detail) for t in _fold(text, room)] or [""]
    lines = []
    for i, text in enumerate(texts):
        line = main.copy() if i == 0 else Text(" " * used)
        line.append(_GAP)
        line.append(text, style="dim")
        line.rstrip()
        lines.append(line)
    return lines


def _wrapped(text: str, *, width: int, indent: str, style: str = "dim") -> list[Text]:
    folded = _fold(text, max(width - len(indent), 20))
    return [Text(f"{indent}{line}", style=style) for line in folded]


def _fold(text: str, width: int) -> list[str]:
    if len(text) <= width and not _BREAKS.search(text):  # as most texts of a long table
        return [text.replace("\u00a0", " ").rstrip()] if text.strip() else []
    lines = textwrap.wrap(
        text,
        width,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=True,
    )
    return [line.replace("\u00a0", " ").rstrip() for line in lines]
