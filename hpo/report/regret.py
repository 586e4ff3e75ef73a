"""Regret against epochs spent, as frozen data and as a table.

Regret is the distance of a study's best trial from the best reference configuration, in
units of the median one's. Intervals are percentiles of bootstrap means: studies are drawn
again within each task, so they say how sure the mean is *on these tasks*.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hpo.errors import StudyError
from hpo.report import formats, numbers
from hpo.statistics.bootstrap import Span, within_groups
from models.errors import near_matches

_COLUMNS = 5  # budgets side by side


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One method's study at one budget.

    Attributes:
        method: The method's name.
        study: The study's number; equal ones of two methods are a pair.
        task: What was searched.
        budget: Full runs spent.
        regret: Of its best trial then; None when no trial had a value.
        ranked: Whether that trial was ranked by then.
        trials: How many were proposed; None where the study went on beyond this budget.
        completed: How many of them are ranked; None likewise.
        seconds: Virtual seconds; None likewise.
        idle: The share of the workers' time in which they had nothing to do; None likewise.
    """

    method: str
    study: int
    task: str
    budget: int
    regret: float | None
    ranked: bool
    trials: int | None = None
    completed: int | None = None
    seconds: float | None = None
    idle: float | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every outcome.

    Attributes:
        methods: Names, in order.
        budgets: Full runs, ascending.
        tasks: Names.
        outcomes: One for each method, study and budget.
    """

    methods: tuple[str, ...]
    budgets: tuple[int, ...]
    tasks: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method at one budget.

    Attributes:
        method: Its name.
        budget: Full runs spent.
        regret: Mean over the studies in which any trial had a value.
        low: Lower end of its interval.
        high: Upper end.
        difference: Mean of regret less the baseline's, study by study; None for itself.
        difference_low: Lower end of its interval.
        difference_high: Upper end.
        studies: How many there are.
        unranked: In how many no trial was ranked by then.
        trials: Mean number of trials.
        completed: Mean number of them that were ranked.
        seconds: Mean virtual seconds.
        idle: Mean share of the workers' time in which they had nothing to do.
        task: The task whose studies they are; empty for those of all.
    """

    method: str
    budget: int
    regret: float | None
    low: float | None
    high: float | None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    studies: int = 0
    unranked: int = 0
    trials: float | None = None
    completed: float | None = None
    seconds: float | None = None
    idle: float | None = None
    task: str = ""


def rows(comparison: Comparison, *, baseline: str | None = None) -> list[Row]:
    """Means and intervals for every method and budget.

    Args:
        comparison: The outcomes.
        baseline: The method that the others are compared with; None for the first.

    Raises:
        StudyError: There is no method of that name.
    """
    base = comparison.methods[0] if baseline is None else baseline
    check_baseline(comparison.methods, base)
    found: dict[tuple[str, int], dict[int, Outcome]] = {}
    for outcome in comparison.outcomes:
        cell = found.setdefault((outcome.method, outcome.budget), {})
        cell[outcome.study] = outcome
    return [
        _row(found[m, b], None if m == base else found[base, b])
        for m in comparison.methods
        for b in comparison.budgets
    ]


def rows_by_task(comparison: Comparison, *, baseline: str | None = None) -> list[Row]:
    """The same for the studies of each task alone.

    Args:
        comparison: The outcomes.
        baseline: As for `rows`.
    """
    found: list[Row] = []
    for task in comparison.tasks:
        mine = tuple(o for o in comparison.outcomes if o.task == task)
        if mine:
            apart = replace(comparison, tasks=(task,), outcomes=mine)
            found += [replace(r, task=task) for r in rows(apart, baseline=baseline)]
    return found


def check_baseline(methods: Sequence[str], baseline: str | None) -> None:
    """Refuse a baseline that is none of the methods.

    Raises:
        StudyError: It is none of them (near matches are listed).
    """
    if baseline is not None and baseline not in methods:
        raise StudyError(
            f"`--baseline {baseline}` is none of the methods compared",
            hint=near_matches(baseline, methods),
        )


def _row(mine: Mapping[int, Outcome], base: Mapping[int, Outcome] | None) -> Row:
    first = next(iter(mine.values()))
    valued = {s: o.regret for s, o in mine.items() if o.regret is not None}
    tasks = [mine[s].task for s in valued]
    mean, low, high = within_groups(list(valued.values()), tasks)
    difference: Span = (None, None, None)
    if base is not None:
        other = {s: o.regret for s, o in base.items() if o.regret is not None}
        both = [s for s in valued if s in other]
        apart = [valued[s] - other[s] for s in both]
        difference = within_groups(apart, [mine[s].task for s in both])
    return Row(
        method=first.method,
        budget=first.budget,
        regret=mean,
        low=low,
        high=high,
        difference=difference[0],
        difference_low=difference[1],
        difference_high=difference[2],
        studies=len(mine),
        unranked=sum(not o.ranked for o in mine.values()),
        trials=_mean(o.trials for o in mine.values()),
        completed=_mean(o.completed for o in mine.values()),
        seconds=_mean(o.seconds for o in mine.values()),
        idle=_mean(o.idle for o in mine.values()),
    )


def _mean(values: Any) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def render(found: Sequence[Row], *, baseline: str | None = None) -> str:
    """The rows as aligned columns, a block for each method.

    Args:
        found: What `rows` gave.
        baseline: The name that heads the column of differences; None for the first method.
    """
    base = baseline or found[0].method
    width = max(len("method"), *(len(r.method) for r in found))
    head = (
        f"{'method':<{width}}  {'runs':>4}  {'regret':>6}  {'95 %':^15}  "
        f"{'differs':>7}  {'95 %':^16}  {'trials':>6}"
    )
    lines = [head, "─" * len(head)]
    before = ""
    for row in found:
        name = row.method if row.method != before else ""
        before = row.method
        trials = "" if row.trials is None else f"{row.trials:.0f}"
        mark = "*" if row.unranked else " "
        lines.append(
            f"{name:<{width}}  {row.budget:>4}  {_number(row.regret):>6}{mark} "
            f"{_span(row.low, row.high):<15}  {_signed(row.difference):>7}  "
            f"{_span(row.difference_low, row.difference_high, signed=True):<16}  "
            f"{trials:>6}".rstrip()
        )
    lines += ["", *_legend(found, base)]
    return "\n".join(lines)


def render_by_task(found: Sequence[Row]) -> str:
    """Mean regrets of each task's studies: a line for each method, a column for each budget.

    Args:
        found: What `rows_by_task` gave.
    """
    budgets = sorted({r.budget for r in found})
    parts = (budgets[i : i + _COLUMNS] for i in range(0, len(budgets), _COLUMNS))
    return "\n\n".join("\n".join(_apart(found, part)) for part in parts)


def _apart(found: Sequence[Row], budgets: Sequence[int]) -> Iterator[str]:
    width = 2 + max(len(r.method) for r in found)
    head = "".join([f"{'full runs':<{width}}", *(f"{b:>7} " for b in budgets)])
    yield head.rstrip()
    yield "─" * len(head)
    for task in dict.fromkeys(r.task for r in found):
        mine = [r for r in found if r.task == task]
        yield f"{task} ({mine[0].studies} studies)"
        for method in dict.fromkeys(r.method for r in mine):
            cells = {r.budget: r for r in mine if r.method == method}
            shown = (
                f"{_number(cells[b].regret):>7}{'*' if cells[b].unranked else ' '}"
                for b in budgets
            )
            yield f"  {method:<{width - 2}}{''.join(shown)}".rstrip()


def _legend(found: Sequence[Row], base: str) -> list[str]:
    last = max(r.budget for r in found)
    times = [
        f"{r.method} {numbers.duration(r.seconds)}"
        for r in found
        if r.budget == last and r.seconds is not None
    ]
    lines = [f"differs: regret less that of `{base}`, study by study"]
    if any(r.unranked for r in found):
        lines.append(
            "*: in some studies no trial was ranked yet; the best value of any counts there"
        )
    lines.append(f"virtual time of {last} full runs: {', '.join(times)}")
    idle = [
        f"{r.method} {100 * r.idle:.1f} %"
        for r in found
        if r.budget == last and r.idle is not None
    ]
    lines.append(f"of the workers' time idle: {', '.join(idle)}")
    return lines


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"


def _span(low: float | None, high: float | None, *, signed: bool = False) -> str:
    if low is None or high is None:
        return ""
    return f"[{low:+.3f}, {high:+.3f}]" if signed else f"[{low:.3f}, {high:.3f}]"


def to_json(found: Sequence[Row]) -> str:
    """The rows as a JSON list of objects."""
    return formats.json_text([_record(r) for r in found])


def to_csv(found: Sequence[Row]) -> str:
    """The rows as CSV."""
    records = [_record(r) for r in found]
    return formats.csv_text(records, list(records[0]))


def _record(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}
