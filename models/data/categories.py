"""Categories of a file's features, by their names or by how they vary: what `groups` can read.

By name there is a registry, ``{category: {name: index}}`` as JSON in the attribute
``feature_registry`` of a group above the features (or in a file of its own), or an array
``feature_groups`` with one text a column. Aggregated features lie aggregation by aggregation: with
D names the column of name i in aggregation a is ``a·D + i``, whatever index the registry has.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.data.catalog import located, prepare
from models.data.column_groups import checked_groups
from models.data.columns import kept_columns
from models.data.dataset import open_dataset
from models.data.discovery import Discovery, Options, discovered
from models.data.files import write_atomically
from models.data.grouping import labelled, read_json
from models.data.hdf5 import arrays_below, attribute_above, texts
from models.errors import DataError, near_matches

ROLE = "values"
SPLIT = {"seed": 0, "shares": [0.7, 0.1, 0.2]}
"""How a file without parts is split where nothing is said."""
_REGISTRY, _GROUPS, _NAMES = "feature_registry", "feature_groups", "feature_names"


@dataclass(frozen=True, kw_only=True)
class Found:
    """Categories of features.

    Attributes:
        by: ``name`` or ``correlation``.
        features: The array.
        columns: How many it has.
        rows: Train rows that were looked at; 0 where names told.
        names: Of the columns; None where they have none.
        groups: Name to columns.
        discovery: How clusters were found; None where names told.
    """

    by: str
    features: str
    columns: int
    rows: int
    names: tuple[str, ...] | None
    groups: dict[str, tuple[int, ...]]
    discovery: Discovery | None = None

    def to_json(self) -> dict[str, Any]:
        """As a file for `groups`."""
        content: dict[str, Any] = {
            "columns": self.columns,
            "groups": {name: list(columns) for name, columns in self.groups.items()},
            "by": self.by,
            "features": self.features,
        }
        if self.names is not None:
            content["names"] = list(self.names)
        if self.discovery is not None:
            told = dataclasses.asdict(self.discovery)
            content["discovery"] = {"rows": self.rows} | {
                k: v for k, v in told.items() if k != "groups"
            }
        return content

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            DataError: It cannot be written.
        """
        try:
            write_atomically(
                path, (json.dumps(self.to_json(), indent=1) + "\n").encode()
            )
        except OSError as error:
            raise DataError(
                f"cannot write {path}: {error.strerror or error}",
                hint="choose another place with `--out FILE`",
            ) from error


def find(
    data: str,
    *,
    features: str | None = None,
    by: str | None = None,
    registry: Path | None = None,
    split: Any = None,
    clean: bool = False,
    options: Mapping[str, Any] | None = None,
    root: Path | None = None,
) -> Found:
    """The categories of the features of a dataset.

    Args:
        data: Its name, or a path.
        features: The array ``[rows, columns]``; None for the only one there is.
        by: ``name`` or ``correlation``; None for names where there are some.
        registry: A JSON file with a registry; by default that of the file.
        split: Of a file without parts; clusters are found on its train rows alone.
        clean: Whether constant columns are left out.
        options: Of `models.data.discovery.Options`.
        root: The folder that holds real datasets by name.

    Raises:
        DataError: A file, array or registry is missing or damaged, names do not fit the
            columns, or no clusters are found.
    """
    if by not in (None, "name", "correlation"):
        raise DataError(
            f"categories are found by `name` or by `correlation`, got {by!r}",
            hint=near_matches(str(by), ("name", "correlation")),
        )
    request = {"path" if Path(data).exists() else "name": data, "kind": "samples"}
    path, features = _features(request, features, root)
    parts = {"split": split} if split is not None else _split_of(path)
    asked = {**request, **parts, "arrays": {ROLE: features}, "clean": clean}
    reference = prepare(asked, root=root)
    train = open_dataset(reference).part("train")
    kept = kept_columns(reference.settings, ROLE) or tuple(range(train.channels[ROLE]))
    dropped = reference.settings.get("columns", {}).get(ROLE, {}).get("dropped", ())
    columns = len(kept) + len(dropped)
    names = _names(path, features, columns)
    told = None
    if by != "correlation":
        told = _by_name(path, features, registry, columns=columns, names=names)
    if told is None and (by == "name" or registry is not None):
        raise DataError(
            f"{path} does not say which category its features belong to",
            hint=f"it needs an attribute `{_REGISTRY}` above `{features}`, or an array "
            f"`{_GROUPS}`; or give `--registry FILE`, or `--by correlation`",
        )
    if told is not None:
        return Found(
            by="name",
            features=features,
            columns=columns,
            rows=0,
            names=names,
            groups=told,
        )
    rows = np.concatenate([np.asarray(b, float) for b in train.blocks(ROLE)])
    found = discovered(rows, Options.of(options or {}))
    groups = {g: tuple(kept[c] for c in own) for g, own in found.groups.items()}
    if dropped:
        groups["constant"] = tuple(sorted(map(int, dropped)))
    return Found(
        by="correlation",
        features=features,
        columns=columns,
        rows=len(rows),
        names=names,
        groups=groups,
        discovery=found,
    )


def by_registry(
    registry: Any, names: Sequence[str] | None, *, columns: int, where: str
) -> dict[str, tuple[int, ...]]:
    """The columns of every category of a registry.

    Args:
        registry: ``{category: {name: index}}``, or ``{category: [name, …]}``.
        names: Of the columns of one aggregation, in their order; None where the registry itself
            names them all, in the order of its indices.
        columns: Of all aggregations.
        where: What gave the registry, for messages.

    Raises:
        DataError: It is no registry, a column has no category or two, or columns are not a whole
            number of aggregations.
    """
    valid = isinstance(registry, Mapping) and all(
        isinstance(own, (Mapping, list, tuple)) for own in registry.values()
    )
    if not valid or not registry:
        raise DataError(
            f"{where} must map categories to names, got {type(registry).__name__}",
            hint='for example {"shape": {"area": 0, "length": 1}}',
        )
    if names is None:
        names = _in_order(registry)
    count = len(names)
    if not count or columns % count:
        raise DataError(
            f"{columns} columns are no whole number of aggregations of {count} names",
            hint=f"give the names of the columns in an array `{_NAMES}`",
        )
    place = {name: i for i, name in enumerate(names)}
    groups = {
        category: [place[name] for name in own if name in place]
        for category, own in registry.items()
    }
    single = checked_groups(
        {category: own for category, own in groups.items() if own},
        count=count,
        names=names,
        where=where,
    )
    return {
        category: tuple(a * count + i for a in range(columns // count) for i in own)
        for category, own in single.items()
    }


def _in_order(registry: Mapping[str, Any]) -> tuple[str, ...]:
    indexed = [
        (index, name)
        for own in registry.values()
        for name, index in (own.items() if isinstance(own, Mapping) else ())
        if isinstance(index, int)
    ]
    return tuple(name for _, name in sorted(indexed))


def _by_name(
    path: Path,
    features: str,
    registry: Path | None,
    *,
    columns: int,
    names: tuple[str, ...] | None,
) -> dict[str, tuple[int, ...]] | None:
    """The categories that names tell; None where none do."""
    if registry is not None:
        content, where = read_json(registry), str(registry)
    else:
        content, where = _registry_of(path, features)
    if content is not None:
        base = _names(path, features, None) if names is None else names
        return by_registry(content, base, columns=columns, where=where)
    array = _beside(path, features, _GROUPS)
    if array is None:
        return None
    return labelled(path, array, count=columns)


def _registry_of(path: Path, features: str) -> tuple[Any, str]:
    """The registry of the nearest group above the features, and where it stands."""
    text = attribute_above(path, features, _REGISTRY)
    where = f"attribute `{_REGISTRY}` in {path}"
    if text is None:
        return None, where
    try:
        return json.loads(text), where
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where} cannot be read as JSON: {error}",
            hint="write it again, or give `--registry FILE`",
        ) from error


def _names(path: Path, features: str, columns: int | None) -> tuple[str, ...] | None:
    """The names beside the features; None where there are none, or of another number."""
    array = _beside(path, features, _NAMES)
    if array is None:
        return None
    found = texts(path, array)
    return found if columns is None or len(found) == columns else None


def _beside(path: Path, features: str, name: str) -> str | None:
    """An array in the features' group, or in one above it."""
    there = set(arrays_below(path))
    group = features.strip("/").rpartition("/")[0]
    while True:
        full = f"{group}/{name}" if group else name
        if full in there:
            return full
        if not group:
            return None
        group = group.rpartition("/")[0]


def _features(
    request: Mapping[str, Any], features: str | None, root: Path | None
) -> tuple[Path, str]:
    """The file, and the array that was asked for, or the only table in it."""
    path = located(request, root=root)
    file = path if path.is_file() else next(iter(sorted(path.glob("train.h*5"))), path)
    tables = arrays_below(file, axes=2)
    if features is not None:
        features = features.strip("/")
        inside = [features, f"train/{features}"]
        if not any(name in arrays_below(file) for name in inside):
            raise DataError(
                f"array `{features}` is not in {file}",
                hint=near_matches(features, tables),
            )
        return file, features
    names = list(
        dict.fromkeys(
            t.removeprefix("train/")
            for t in tables
            if not t.startswith(("valid/", "test/"))
        )
    )
    if len(names) != 1:
        raise DataError(
            f"{file} has {len(names)} arrays of numbers [rows, columns]"
            + (f": {', '.join(names)}" if names else ""),
            hint="say which with `--feature-path`",
        )
    return file, names[0]


def _split_of(path: Path) -> dict[str, Any]:
    """The usual split for a file without parts."""
    parts = any(name.startswith("train/") for name in arrays_below(path))
    whole = path.stem != "train"
    return {"split": SPLIT} if whole and not parts else {}
