"""Named groups of the columns of independent rows, checked before anything is trained on them.

A request's `groups` says how the columns of the only role are grouped:

- the name of an array of texts in the file, one a column: ``"feature_groups"``;
- a mapping of names to columns, by number or by name: ``{"left": [0, 1], "right": ["a", "b"]}``;
- a JSON file of such a mapping, as ``hpo discover-categories`` writes it: ``"groups.json"``;
- ``"auto"``, or ``{"auto": {…}}`` with options of `models.data.discovery`: found on train;
- ``{"run": "results/STUDY/RUN"}``: those of an earlier run;
- several groupings of these by name, of which a family chooses: ``{"named": "feature_groups",
  "found": "auto"}``.

Columns are numbered as they are stored. Every column that is kept is in exactly one group.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.data.column_groups import checked_groups, named
from models.data.columns import columns_there, kept_columns
from models.data.discovery import Options, discovered
from models.data.hdf5 import texts
from models.data.kinds.base import Part, Request
from models.data.reference import Reference
from models.data.requests import different_names
from models.errors import ConfigError, DataError, near_matches

ONLY = "groups"
"""The name of a grouping that is the only one."""
_SPECTRUM = 32


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Groups of columns, in the order of their tokens.

    Attributes:
        names: Of the groups.
        columns: Of every group, numbered as they are after cleaning.
        spectra: Of every group the largest eigenvalues of its columns' correlations in train,
            falling: how much of it few numbers could tell.
    """

    names: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]
    spectra: tuple[tuple[float, ...], ...]

    @property
    def size(self) -> int:
        """Columns of all groups."""
        return sum(map(len, self.columns))


def grouping_of(reference: Reference, name: str = "") -> Grouping:
    """A grouping of prepared data.

    Args:
        reference: The data.
        name: Which; empty for the first.

    Raises:
        ConfigError: The data has no groups, or none of this name.
    """
    found: Mapping[str, Any] = reference.settings.get("groupings", {})
    if not found:
        raise ConfigError(
            f"the family codes named groups of columns, and `{reference.name}` has none",
            hint='ask for data={…, "groups": "ARRAY"}, see docs/grouped-features.md',
        )
    if name and name not in found:
        raise ConfigError(
            f"`{reference.name}` has no grouping `{name}`",
            hint=near_matches(name, found),
        )
    groups = found[name or next(iter(found))]
    return Grouping(
        names=tuple(groups),
        columns=tuple(tuple(group["columns"]) for group in groups.values()),
        spectra=tuple(tuple(group["spectrum"]) for group in groups.values()),
    )


def fitted_groups(request: Request, train: Part, *, path: Path) -> dict[str, Any]:
    """The groupings that a request asks for.

    Args:
        request: With `groups`, and perhaps `names` of the columns.
        train: The train part, cleaned.
        path: The file that holds arrays of names.

    Returns:
        For ``Reference.settings``; nothing without `groups`.

    Raises:
        DataError: Groups overlap, leave a column out or name one that is not there; a file or
            array is missing or has another number of columns; or a column is constant.
    """
    if "groups" not in request:
        return {}
    (role, *others) = train.shapes
    if others or len(train.shapes[role]) != 1:
        raise DataError(
            "`groups` are of the columns of one role of rows [rows, columns], got roles "
            + ", ".join(f"`{r}` {list(s)}" for r, s in train.shapes.items()),
            hint='name it alone: data={…, "arrays": {"values": "NAME"}}',
        )
    kept = kept_columns(train.reference.settings, role)
    kept = tuple(range(train.channels[role])) if kept is None else kept
    dropped = train.reference.settings.get("columns", {}).get(role, {})
    stored = len(kept) + len(dropped.get("dropped", {}))
    names = column_names(request, path, count=stored)
    _refuse_constant(train, role, kept, names)
    rows = np.concatenate([np.asarray(b, float) for b in train.blocks(role)])
    table = Columns(path=path, names=names, kept=kept, stored=stored, rows=rows)
    asked = request["groups"]
    several = isinstance(asked, Mapping) and _is_several(asked)
    by_name = asked if several else {ONLY: asked}
    return {"groupings": {str(n): _grouped(how, table) for n, how in by_name.items()}}


def column_names(request: Request, path: Path, *, count: int) -> tuple[str, ...] | None:
    """The names of the stored columns; None where the request gives none.

    Raises:
        DataError: There are more or fewer, or two are alike.
    """
    asked = request.get("names")
    if asked is None:
        return None
    found = texts(path, asked) if isinstance(asked, str) else asked
    names = different_names(found, "names")
    _check_count(names, count, "`names`")
    return names


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns that are to be grouped.

    Attributes:
        path: The file that holds arrays of names.
        names: Of the stored columns; None where they are not known.
        kept: The stored columns that were not dropped.
        stored: How many there were.
        rows: Train ``[N, len(kept)]``, NaN where a value is missing.
    """

    path: Path
    names: tuple[str, ...] | None
    kept: tuple[int, ...]
    stored: int
    rows: np.ndarray


def from_file(
    path: Path, *, count: int, names: Sequence[str] | None
) -> dict[str, tuple[int, ...]]:
    """The groups of a JSON file: a mapping, alone or under the key ``groups``.

    Args:
        path: The file.
        count: Columns of the data.
        names: Of the columns; a file that names its own must name the same.

    Raises:
        DataError: The file is missing, damaged, or does not fit the data.
    """
    content = read_json(path)
    if not isinstance(content, Mapping):
        content = {"groups": content}
    groups = content.get("groups", content)
    stated = content.get("columns", count)
    if isinstance(stated, int) and stated != count:
        raise DataError(
            f"{path} groups {stated} columns, and the data has {count}",
            hint="discover them again on this data: `hpo discover-categories`",
        )
    own = content.get("names")
    if own is not None and names is not None and list(own) != list(names):
        apart = next(
            (i for i, (a, b) in enumerate(zip(own, names, strict=False)) if a != b),
            min(len(own), len(names)),
        )
        raise DataError(
            f"{path} was made for other columns: its names differ from column {apart} on",
            hint="discover them again on this data: `hpo discover-categories`",
        )
    return checked_groups(groups, count=count, names=own or names, where=str(path))


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: It is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise DataError(
            f"there is no file {path.absolute()}",
            hint="`hpo discover-categories DATA --out FILE.json` makes one",
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as JSON: {error}", hint="make it again"
        ) from error


def _grouped(how: Any, table: Columns) -> dict[str, Any]:
    """One grouping as it is recorded."""
    groups = _stored_groups(how, table)
    place = {column: i for i, column in enumerate(table.kept)}
    found = {}
    for name, columns in groups.items():
        left = tuple(place[c] for c in columns if c in place)
        if not left:
            raise DataError(
                f"every column of group `{name}` is constant or missing in train",
                hint="leave the group's columns out of the data, or join it with another",
            )
        found[name] = {"columns": left, "spectrum": _spectrum(table.rows[:, left])}
    return found


def _stored_groups(how: Any, table: Columns) -> Mapping[str, tuple[int, ...]]:
    """One grouping, over the stored columns."""
    count, names = table.stored, table.names
    options = _auto(how)
    if options is not None:
        found = discovered(table.rows, Options.of(options)).groups
        return {g: tuple(table.kept[c] for c in cs) for g, cs in found.items()}
    if isinstance(how, str) and how.endswith(".json"):
        return from_file(Path(how).expanduser(), count=count, names=names)
    if isinstance(how, str):
        return labelled(table.path, how, count=count)
    if isinstance(how, Mapping) and set(how) == {"run"} and isinstance(how["run"], str):
        return _of_run(Path(how["run"]).expanduser(), table)
    return checked_groups(how, count=count, names=names, where="`groups`")


def labelled(path: Path, array: str, *, count: int) -> dict[str, tuple[int, ...]]:
    """The columns of each group, from an array with the text of its group for every column.

    Args:
        path: The file.
        array: The array in it.
        count: Columns there are.

    Raises:
        DataError: It has more or fewer texts, or is no array of texts.
    """
    labels = texts(path, array)
    _check_count(labels, count, f"array `{array}` in {path}")
    return {
        label: tuple(i for i, own in enumerate(labels) if own == label)
        for label in dict.fromkeys(labels)
    }


def _auto(how: Any) -> Mapping[str, Any] | None:
    """The options of a discovery; None for what is none."""
    if how == "auto":
        return {}
    if isinstance(how, Mapping) and set(how) == {"auto"}:
        options = how["auto"]
        return options if isinstance(options, Mapping) else None
    return None


def _is_several(asked: Mapping[str, Any]) -> bool:
    """Whether a mapping names groupings, rather than groups or one way of finding them."""
    single = set(asked) in ({"auto"}, {"run"})
    return not single and all(isinstance(v, (str, Mapping)) for v in asked.values())


def _of_run(folder: Path, table: Columns) -> dict[str, tuple[int, ...]]:
    """The first grouping that an earlier run was trained with."""
    record = read_json(folder / "study.json")
    settings = (record.get("data") or {}).get("settings", {})
    groupings = settings.get("groupings")
    if not groupings:
        raise DataError(
            f"the run {folder} was trained without groups",
            hint="name a run whose data has `groups`",
        )
    groups = next(iter(groupings.values()))
    (kept,) = [c["kept"] for c in settings.get("columns", {}).values()] or [None]
    back = {
        name: [c if kept is None else kept[c] for c in group["columns"]]
        for name, group in groups.items()
    }
    there = {c for columns in back.values() for c in columns}
    strange = sorted(there - set(range(table.stored)))
    if strange or not set(table.kept) <= there:
        raise DataError(
            f"the run {folder} grouped {len(there)} columns, and here are "
            f"{len(table.kept)} others",
            hint="name a run of the same data, cleaned in the same way",
        )
    return {name: tuple(columns) for name, columns in back.items()}


def _spectrum(rows: np.ndarray) -> tuple[float, ...]:
    """The largest eigenvalues of the correlations of columns, missing values at the mean."""
    mean, std = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
    scaled = np.nan_to_num((rows - mean) / np.where(std > 0, std, 1.0))
    values = np.linalg.svd(scaled, compute_uv=False) ** 2 / len(rows)
    return tuple(round(float(v), 4) for v in values[:_SPECTRUM])


def _refuse_constant(
    train: Part, role: str, kept: tuple[int, ...], names: Sequence[str] | None
) -> None:
    _, std, _ = columns_there(train, role)
    constant = np.flatnonzero(std == 0)
    if len(constant):
        first = named(kept[int(constant[0])], names)
        more = f", and {len(constant) - 1} more" if len(constant) > 1 else ""
        raise DataError(
            f"column {first} of role `{role}` of `{train.reference.name}` is constant or "
            f"missing in train{more}",
            hint='drop such columns: data={…, "clean": True}',
        )


def _check_count(texts: Sequence[str], count: int, what: str) -> None:
    if len(texts) != count:
        raise DataError(
            f"{what} must have a text for each of {count} columns, got {len(texts)}",
            hint="name the array that belongs to these columns",
        )
