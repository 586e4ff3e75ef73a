"""Tables of finished curves by name, found like other data."""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path
from typing import cast

from hpo.errors import StudyError
from hpo.simulate import tables
from hpo.simulate.task import Table
from models.errors import DataError, near_matches

CHOSEN_ON, HELD_OUT = "chosen-on", "held-out"


def names() -> tuple[str, ...]:
    """Every table's name, which is also that of its folder."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(tables.__path__)))


def summary(name: str) -> str:
    """A table in one line."""
    text: str = importlib.import_module(f"{tables.__name__}.{name}").SUMMARY
    return text


def find(source: str, root: Path | None) -> tuple[str, Path | None] | None:
    """A table by its name, or by the path of its folder.

    Args:
        source: What a person wrote.
        root: The folder that holds tables, for a name.

    Returns:
        The table's name and the folder that holds its own; None where it is no table.
    """
    if source in names():
        return source, root
    folder = Path(source).expanduser().absolute()
    known = folder.name in names() and folder.is_dir()
    return (folder.name, folder.parent) if known else None


def open_table(name: str, *, root: Path | None = None) -> Table:
    """A table of curves.

    Args:
        name: One of `names`.
        root: The folder that holds its folder; by default ``$HPO_DATA``, or where a table
            that comes along with the project lies.

    Raises:
        DataError: It is not there, or damaged.
        StudyError: A package that it needs is missing.
    """
    assert name in names(), "asked only for what is known"
    module = importlib.import_module(f"{tables.__name__}.{name}")
    shipped: Path | None = vars(module).get("SHIPPED")
    given = root or os.environ.get("HPO_DATA")
    if shipped is not None and (root is None or not (root / name).is_dir()):
        return cast(Table, module.open_table(shipped.parent))
    if not given:
        raise DataError(
            f"`{name}` is a table of real curves, and no data folder is given",
            hint=f"pass `--data DIR` or set HPO_DATA to the folder that holds {name}/",
        )
    folder = Path(given).expanduser().absolute() / name
    if not folder.is_dir():
        raise DataError(
            f"there is no `{name}` under {folder.parent}",
            hint="point `--data DIR` or HPO_DATA at the folder that holds it",
        )
    return cast(Table, module.open_table(folder))


def chosen(table: Table, wanted: str | None) -> tuple[str, ...]:
    """The tasks of a table that a person names, separated by commas; None for all.

    `CHOSEN_ON` stands for those that rules were chosen on, `HELD_OUT` for the others.

    Raises:
        StudyError: There is none of that name.
    """
    if wanted is None:
        return table.tasks
    held_out = tuple(n for n in table.tasks if n not in table.chosen_on)
    halves = {CHOSEN_ON: table.chosen_on, HELD_OUT: held_out}
    listed = (n.strip() for n in wanted.split(",") if n.strip())
    found = tuple(task for n in listed for task in halves.get(n, (n,)))
    for name in found:
        if name not in table.tasks:
            raise StudyError(
                f"`{table.name}` has no task `{name}`",
                hint=near_matches(name, (*table.tasks, *halves)),
            )
    if not found:
        raise StudyError("`--tasks` names no task", hint=", ".join(table.tasks))
    return found
