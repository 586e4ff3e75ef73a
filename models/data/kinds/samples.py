"""Samples: independent rows of named arrays.

Layout: one HDF5 file with groups ``train``, ``valid`` and (where there is one) ``test``; or a
folder with ``train.hdf5``, ``valid.hdf5`` and ``test.hdf5`` (or ``.h5``); or one file without
parts, whose rows are split. An array has shape ``[rows]``, ``[rows, channels]`` or
``[rows, …, channels]``, and equally many rows as the others. Rows of varying size are padded
with NaN to one shape.

Request: ``arrays`` (role to an array's name, or to several that lie beside one another on the
last axis; by default every array of numbers is a role of its own name), ``split`` for a file
without parts (``{"seed": 0, "shares": [0.7, 0.1, 0.2]}``, or row ranges
``{"train": [0, 70], "valid": [70, 80], "test": [80, 100]}``, or names of arrays of row numbers,
see `models.data.split`) and ``units`` (of y, or by role); ``clean`` and ``clip`` (columns that
are dropped, and limits of the others: `models.data.columns`), ``groups`` and ``names`` (of the
columns of the only role: `models.data.grouping`), ``bounds`` (limits that a prior never
crosses: `models.data.bounds`).
Any value may be missing (NaN).

The test part may hold draws from the exact posterior of its first rows, beside its arrays in
a group ``posterior``: ``[R, draws, …]`` of every array that is inferred.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from models.data.arrays import ArrayFile
from models.data.bounds import checked_bounds
from models.data.check import checked
from models.data.columns import cleaned, fitted_columns, kept_columns, whole_rows
from models.data.files import SUFFIXES, hash_files, new_file
from models.data.gaps import filled
from models.data.grouping import fitted_groups
from models.data.hdf5 import array_names, attributes, group_names, numeric_names
from models.data.kinds.base import Dataset, Fills, Request, StoredPart, roles_there
from models.data.reference import PARTS, Reference
from models.data.requests import different_names, units_of
from models.data.split import checked_split, split_parts, split_rows
from models.errors import DataError

KEYS = ("arrays", "split", "units", "clean", "clip", "groups", "names", "bounds")
POSTERIOR = "posterior"
CUT: Literal["windows", "rows"] = "rows"
HIDDEN: tuple[str, ...] = ()
LAYOUT = (
    "an HDF5 file with groups train, valid and test, or a file for each, or `split`"
)
_NEEDED = ("train", "valid")


class SamplesPart(StoredPart):
    """The rows of one part, read when asked for.

    Args:
        reference: The dataset.
        name: ``train``, ``valid`` or ``test``.
        fills: Gives the train mean of roles with gaps.

    Raises:
        DataError: There is no such part, or its arrays do not go together.
    """

    def __init__(self, *, reference: Reference, name: str, fills: Fills = dict) -> None:
        super().__init__(reference=reference, name=name, fills=fills)
        path, group = _place(reference, name)
        self._file = ArrayFile(path, roles=reference.roles, group=group)
        split, total = reference.settings.get("split"), self._file.length
        self._rows = split and split_rows(split, name, total, path=path)
        self.lengths = (self._file.length if self._rows is None else len(self._rows),)
        self.names = (name,)
        self.shapes = {
            role: shape if (kept := self._kept(role)) is None else (len(kept),)
            for role, shape in self._file.shapes.items()
        }

    def slice(
        self,
        index: int,
        start: int,
        stop: int,
        *,
        roles: Collection[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Rows ``start`` to ``stop``, in the type they are stored in.

        Raises:
            DataError: The rows do not lie inside the part.
        """
        if not 0 <= start < stop <= self.lengths[index]:
            raise DataError(
                f"rows {start} to {stop} do not lie in part `{self.name}` of "
                f"{self._file.path}, which has {self.lengths[index]}"
            )
        wanted = self.shapes if roles is None else roles
        settings = self.reference.settings
        return {r: cleaned(self._read(r, start, stop), settings, r) for r in wanted}

    def locate(self, role: str, index: int, entry: tuple[int, ...]) -> tuple[str, str]:
        """The array and its file, and the row in that file."""
        row = entry[0] if self._rows is None else int(self._rows[entry[0]])
        kept = self._kept(role)
        inner = entry[1:] if kept is None else (kept[entry[1]],)
        return located(self._file, role, (row, *inner), self.name)

    def _kept(self, role: str) -> tuple[int, ...] | None:
        return kept_columns(self.reference.settings, role)

    def _read(self, role: str, start: int, stop: int) -> np.ndarray:
        """Rows of a split lie scattered over the file, in its order."""
        if self._rows is None:
            return self._file.read(role, start, stop)
        rows = self._rows[start:stop]
        first, last = int(rows[0]), int(rows[-1]) + 1
        found = self._file.read(role, first, last)
        return found if last - first == len(rows) else found[rows - first]


def find(path: Path) -> Path | None:
    """An HDF5 file, or the folder that holds a single one or one for each part."""
    if path.is_file():
        return path if path.suffix in SUFFIXES else None
    if not path.is_dir() or (path / "train").is_dir():
        return None
    if _part_file(path, "train"):
        return path
    found = [p for p in path.iterdir() if p.is_file() and find(p)]
    return found[0] if len(found) == 1 else None


def prepare(request: Request, *, name: str, path: Path) -> Reference:
    """Check and hash rows; see `models.data.kinds.base.Kind`."""
    parts, settings = _parts(request, path)
    reference = Reference(
        name=name,
        path=str(path),
        kind="samples",
        roles={},
        units=units_of(request),
        settings=settings,
    )
    reference = dataclasses.replace(
        reference, roles=_roles(request, *_place(reference, "train"))
    )
    dataset = open(reference)
    if path.is_dir():  # nothing is known of a test file but its bytes
        hashes = {part: hash_files([_place(reference, part)[0]]) for part in parts}
    else:
        hashes = {part: _hash(dataset.part(part)) for part in parts}
    reference = dataclasses.replace(reference, hashes=hashes)
    for fitted in (
        fitted_columns,
        partial(fitted_groups, path=_place(reference, "train")[0]),
    ):
        found = fitted(request, open(reference).part("train"))
        settings = {**reference.settings, **found}
        reference = dataclasses.replace(reference, settings=settings)
    dataset = open(reference)
    bounds = checked_bounds(request, [dataset.part(name) for name in _NEEDED])
    settings = {**reference.settings, **bounds}
    reference = dataclasses.replace(reference, settings=settings)
    return checked(open(reference), allowed=reference.roles)


def open(reference: Reference) -> Dataset:
    """Open prepared rows; they are read when they are needed."""
    return Dataset(reference=reference, opener=SamplesPart)


def exact_posterior(
    reference: Reference, roles: Collection[str]
) -> dict[str, np.ndarray]:
    """Draws from the exact posterior of the test part's first rows, where the data has some.

    Args:
        reference: The data.
        roles: Roles that are inferred.

    Returns:
        Role to ``[R, draws, …]``, float64; empty where there is none.

    Raises:
        DataError: Roles differ in rows or draws, or a role is missing or shaped unlike it.
    """
    place, group = _place(reference, "test")
    inside = f"{group}/{POSTERIOR}" if group else POSTERIOR
    if POSTERIOR not in group_names(place, group or "/"):
        return {}
    wanted = {role: (role,) for role in roles}
    file = ArrayFile(place, roles=wanted, group=inside)
    shapes = open(reference).part("train").shapes
    found = {r: np.asarray(file.read(r, 0, file.length), np.float64) for r in roles}
    for role, values in found.items():
        if shapes[role] == (1,) and values.ndim == 2:  # of an array without channels
            found[role] = values = values[..., None]
        draws = next(iter(found.values())).shape[1:2]
        if values.shape[2:] != shapes[role] or values.shape[1:2] != draws:
            raise DataError(
                f"`{inside}/{role}` in {place} has shape {values.shape}, which are no draws "
                f"[rows, draws, {', '.join(map(str, shapes[role]))}] of `{role}`",
                hint="write equally many draws of every array that is inferred",
            )
    return found


def read(
    path: Path,
    *,
    reference: Reference,
    roles: Collection[str],
    optional: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """The arrays at a file's root: role to ``[N, …, channels]``; see `Kind.read`."""
    wanted = roles_there(reference, array_names(path), roles=roles, optional=optional)
    if not wanted:
        return {}
    file, train = ArrayFile(path, roles=wanted), open(reference).part("train")
    place, group = _place(reference, "train")
    stored = ArrayFile(place, roles=wanted, group=group)
    for role, shape in file.shapes.items():
        if shape != stored.shapes[role]:
            raise DataError(
                f"a row of role `{role}` in {path} has shape {shape}, but the model was "
                f"trained on {stored.shapes[role]}",
                hint="pad rows with NaN to the shape of the training data",
            )
    return filled(
        {
            role: cleaned(
                np.array(file.read(role, 0, file.length), float),
                reference.settings,
                role,
            )
            for role in wanted
        },
        gaps=reference.gaps,
        fills=train.fills,
        locate=lambda role, entry: located(file, role, entry, ""),
    )


def write(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    *,
    reference: Reference,
    like: Path,
) -> None:
    """Write predicted arrays ``[N, …]`` by the names of their roles."""
    place, group = _place(reference, "train")
    stored = ArrayFile(place, roles=reference.roles, group=group)
    with new_file(path) as made, h5py.File(made, "w") as file:
        for name, value in attributes(like).items():
            file.attrs[name] = value
        for role, values in arrays.items():
            whole = whole_rows(values, reference.settings, role)
            for name, piece in stored.split(role, whole):
                file[name] = piece


def _part_file(folder: Path, part: str) -> Path | None:
    found = [folder / f"{part}{suffix}" for suffix in SUFFIXES]
    return next((p for p in found if p.is_file()), None)


def _place(reference: Reference, part: str) -> tuple[Path, str]:
    """The file that holds a part, and the group inside it.

    Raises:
        DataError: There is no such part.
    """
    path = Path(reference.path)
    if path.is_dir():
        file, where = _part_file(path, part), f"no file {path / part}.hdf5"
        if file:
            return file, ""
    elif "split" in reference.settings:
        where = "its split has none"
        if part in split_parts(reference.settings["split"]):
            return path, ""
    else:
        where = f"no group `{part}` in {path}"
        if part in group_names(path):
            return path, part
    raise DataError(
        f"the dataset `{reference.name}` has no part `{part}`: {where}",
        hint=f"samples are {LAYOUT}",
    )


def _parts(request: Request, path: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The parts there are, and the split of a file that has none of its own."""
    if path.is_dir():
        found = tuple(part for part in PARTS if _part_file(path, part))
    else:
        found = tuple(part for part in PARTS if part in group_names(path))
    if found and "split" in request:
        raise DataError(
            f"{path} has parts of its own ({', '.join(found)}), so that `split` has no "
            f"meaning",
            hint="leave `split` out",
        )
    if found:
        missing = [part for part in _NEEDED if part not in found]
        if missing:
            raise DataError(
                f"{path} has no part `{missing[0]}`, only {', '.join(found)}",
                hint=f"samples are {LAYOUT}",
            )
        return found, {}
    if "split" not in request:
        raise DataError(
            f"{path} has no parts train and valid, and no `split` is asked for",
            hint='say how rows are split: data={"path": …, "split": {"seed": 0, '
            '"shares": [0.7, 0.1, 0.2]}}',
        )
    split = checked_split(request["split"])
    return tuple(split_parts(split)), {"split": split}


def _roles(request: Request, path: Path, group: str) -> dict[str, tuple[str, ...]]:
    """Arrays by role as asked for, or each under its own name."""
    there = numeric_names(path, group or "/")
    asked = request.get("arrays")
    if asked is None:
        asked = {name: name for name in sorted(there)}
    if not isinstance(asked, Mapping) or not all(isinstance(r, str) for r in asked):
        raise DataError(
            f"`arrays` must be a mapping of roles to names of arrays, got {asked!r}",
            hint=f"arrays of {path}: {', '.join(there)}",
        )
    if not asked:
        where = f"group `{group}` of {path}" if group else str(path)
        raise DataError(
            f"{where} holds no array of numbers, and `arrays` names none",
            hint='name them in the study: data={"path": …, "arrays": {"x": "NAME"}}',
        )
    return {role: different_names(names, role) for role, names in asked.items()}


def _hash(part: SamplesPart) -> str:
    """SHA-256 over names, types, shapes and values of a part's rows, as stored."""
    digest = hashlib.sha256()
    for role in sorted(part.shapes):
        names = part.reference.roles[role]
        digest.update(f"{role}\0{names}\0{part.lengths}\0{part.shapes[role]}".encode())
        digest.update(part.slice(0, 0, 1, roles=(role,))[role].dtype.str.encode())
        for block in part.blocks(role):
            digest.update(np.ascontiguousarray(block).tobytes())
    return digest.hexdigest()


def located(
    file: ArrayFile, role: str, entry: tuple[int, ...], part: str
) -> tuple[str, str]:
    """The array and its file, and the row and what else tells an entry, for messages."""
    name, channel = file.name_of(role, entry[-1])
    inner = [*entry[1:-1], *([] if channel is None else [channel])]
    where = f"row {entry[0]}" + (f", entry {tuple(inner)}" if inner else "")
    of = f" (part {part})" if part else ""
    return f"array `{name}` in {file.path}{of}", where
