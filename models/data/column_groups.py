"""What a mapping of names to columns must be: every column in exactly one group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.errors import DataError, near_matches


def checked_groups(
    groups: Any, *, count: int, names: Sequence[str] | None = None, where: str
) -> dict[str, tuple[int, ...]]:
    """A mapping of names to columns, by number.

    Args:
        groups: Name to numbers or names of columns.
        count: Columns there are.
        names: Of the columns.
        where: What gave the groups, for messages.

    Raises:
        DataError: It is something else; groups overlap, or leave a column out.
    """
    if not isinstance(groups, Mapping) or not groups:
        raise DataError(
            f"{where} must be a mapping of names to columns, got {groups!r}",
            hint='for example {"left": [0, 1, 2], "right": [3, 4]}',
        )
    found = {
        str(group): tuple(_number(c, count, names, f"{where}, `{group}`") for c in cs)
        if isinstance(cs, (list, tuple))
        else _refuse_columns(cs, group, where)
        for group, cs in groups.items()
    }
    owner: dict[int, str] = {}
    for group, columns in found.items():
        if not columns:
            raise DataError(
                f"every group of {where} needs a column, got none in `{group}`",
                hint="leave the group out",
            )
        for column in columns:
            if column in owner:
                raise DataError(
                    f"groups of {where} must not overlap: column "
                    f"{named(column, names)} is in `{owner[column]}` and in `{group}`",
                    hint="give every column to one group",
                )
            owner[column] = group
    missing = [c for c in range(count) if c not in owner]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"groups of {where} must have every column: {named(missing[0], names)}{more} "
            f"of {count} are in none",
            hint='give them to a group, such as "rest"',
        )
    return found


def named(column: int, names: Sequence[str] | None) -> str:
    """A column as messages call it: its number, and its name where it has one."""
    return str(column) if names is None else f"{column} (`{names[column]}`)"


def _number(column: Any, count: int, names: Sequence[str] | None, where: str) -> int:
    if isinstance(column, str):
        if names is None or column not in names:
            raise DataError(
                f"{where}: there is no column `{column}`",
                hint=near_matches(column, names)
                if names
                else 'say how columns are called: data={…, "names": "ARRAY"}',
            )
        return list(names).index(column)
    if not isinstance(column, int) or isinstance(column, bool):
        raise DataError(
            f"{where}: a column is a number or a name, got {column!r}",
            hint="columns are counted from 0",
        )
    if not 0 <= column < count:
        raise DataError(
            f"{where}: there is no column {column}, the data has {count}",
            hint="columns are counted from 0",
        )
    return column


def _refuse_columns(columns: Any, group: Any, where: str) -> tuple[int, ...]:
    raise DataError(
        f"{where}: the columns of group `{group}` must be a list, got {columns!r}",
        hint='for example {"left": [0, 1, 2], "right": [3, 4]}',
    )
