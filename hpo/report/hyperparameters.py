"""A trial's searched values as people read them, and whose state it adopted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.report import numbers
from hpo.report.summary import Row

_ALL = 3  # values of one key, or donors, that are all told in a table


def told(row: Row, short: Mapping[str, str]) -> list[str]:
    """Each searched value with its name, ``rate=0.003``; one that changed as ``0.003→0.002``.

    Args:
        row: The trial.
        short: The names to print, by dotted key.
    """
    return [f"{short[k]}={_course(k, v, row)}" for k, v in row.params.items()]


def adopted(row: Row, *, brief: bool = False) -> str:
    """Whose state a trial adopted, and when; empty where it adopted none.

    Args:
        row: The trial.
        brief: Leave out all between the first and the last of many, but say how many.
    """
    found = [f"trial {e.donor} at epoch {e.epoch}" for e in row.exploits]
    if brief and len(found) > _ALL:
        return f"adopted {found[0]}, …, {found[-1]} ({len(found)} times)"
    return f"adopted {', '.join(found)}" if found else ""


def pieces(row: Row) -> list[tuple[int, int, dict[str, Any]]]:
    """First and last epoch of each piece of a schedule, and what is set there.

    Args:
        row: A trial with a schedule.
    """
    ends = [change.after for change in row.schedule] + [row.epoch_budget]
    sets = [dict(row.params)] + [dict(change.traced) for change in row.schedule]
    starts = [1] + [change.after + 1 for change in row.schedule]
    return list(zip(starts, ends, sets, strict=True))


def _course(key: str, first: Any, row: Row) -> str:
    later = [c.traced[key] for c in row.schedule if key in c.traced]
    values = [numbers.short(value) for value in (first, *later)]
    if len(values) > _ALL:
        values = [values[0], "…", values[-1]]
    return "→".join(values)
