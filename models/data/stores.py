"""Files of signals whatever they are stored in: HDF5, CSV or Parquet, told by their ending.

A CSV table (`models.data.table`) and a Parquet file hold a signal a column, read as a whole when
first asked for; those of HDF5 are read piece by piece (`models.data.hdf5`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from models.data import files, hdf5, table
from models.errors import DataError, near_matches

PARQUET = (".parquet",)
SUFFIXES = (*files.SUFFIXES, *table.SUFFIXES, *PARQUET)
_KEPT = 64  # tables that a process keeps in memory
_WRITERS = (b"ARROW:schema", b"pandas")
"""Entries of a Parquet file's metadata that are about how it was written."""


class Stored(Protocol):
    """An array of numbers in a file, opened but perhaps not read.

    Attributes:
        shape: As stored.
    """

    shape: tuple[int, ...]

    @property
    def mapped(self) -> bool:
        """Whether it is read through a memory map."""
        ...

    def read(self, start: int, stop: int) -> np.ndarray:
        """Entries ``start`` to ``stop`` of the first axis."""
        ...


class Column:
    """A signal that lies in memory.

    Args:
        values: ``[time]`` or ``[time, channel]``.
    """

    mapped = False

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.shape: tuple[int, ...] = values.shape

    def read(self, start: int, stop: int) -> np.ndarray:
        """Entries ``start`` to ``stop`` of the first axis."""
        return self._values[start:stop]


def stem(path: Path) -> str:
    """A file's name without its ending, ``.csv.gz`` being one."""
    plain = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return Path(plain).stem


def open_array(path: Path, name: str, *, word: str = "array") -> Stored:
    """One array of a file.

    Args:
        path: The file.
        name: The array's name; in HDF5 its path inside the file.
        word: What an array is called in messages.

    Raises:
        DataError: The file is missing or damaged, has no such array, or that holds no
            numbers.
    """
    if not _tabular(path):
        return hdf5.StoredArray(path, name, word=word)
    columns = _columns(path)
    if name not in columns:
        raise DataError(
            f"{word} `{name}` is not in {path}", hint=near_matches(name, columns)
        )
    found = columns[name]
    if isinstance(found, str):
        raise DataError(
            f"{word} `{name}` in {path} holds {found}, not numbers",
            hint="name columns of numbers; a value that is missing is an empty cell",
        )
    return Column(found)


def array_names(path: Path) -> list[str]:
    """The names of the arrays of a file; a column that tells the time is none.

    Raises:
        DataError: The file is missing or damaged.
    """
    return list(_columns(path)) if _tabular(path) else hdf5.array_names(path)


def attributes(path: Path) -> dict[str, Any]:
    """Facts of a file as Python values: HDF5's root attributes, Parquet's metadata.

    ``fs`` of a table is the rate that its time column shows, where it has one.

    Raises:
        DataError: The file is missing or damaged, or its times are not evenly spaced.
    """
    if not _tabular(path):
        return hdf5.attributes(path)
    times, notes = _times(path), _metadata(path)
    if times is not None and "fs" not in notes:
        name, seconds = times
        notes["fs"] = table.sampling_rate(
            seconds, name=name, path=path, start=0, otherwise="rename the column"
        )
    return notes


def told_rate(path: Path, notes: Mapping[str, Any] | None = None) -> float | None:
    """The rate of a file in Hz; None where it does not tell.

    Args:
        path: The file.
        notes: Its attributes, where they were read before.

    Raises:
        DataError: The file is missing or damaged, its times are not evenly spaced, or its
            ``fs`` is no positive number.
    """
    notes = attributes(path) if notes is None else notes
    if "fs" not in notes:
        return None
    try:
        rate = float(notes["fs"])
    except (TypeError, ValueError):
        rate = math.nan
    if not 0 < rate < math.inf:
        raise DataError(
            f"`fs` is a sampling rate in Hz, and that of {path} is {notes['fs']!r}",
            hint="write a positive number there, or leave the attribute out",
        )
    return rate


def write(
    path: Path,
    arrays: Iterable[tuple[str, np.ndarray]],
    *,
    like: Path,
    every: int = 1,
) -> None:
    """Write arrays ``[time]`` or ``[time, channel]`` by name, in the layout of the ending.

    Args:
        path: A new file that ends in one of `SUFFIXES`.
        arrays: Names and values; of a table every channel is a column.
        like: The file whose facts, or times, are taken over.
        every: Every how many of its samples there is one in the arrays.

    Raises:
        DataError: A package is missing, or arrays of a table differ in length.
    """
    if not _tabular(path):
        with h5py.File(path, "w") as file:
            for name, value in _facts(like, every).items():
                file.attrs[name] = value
            for name, values in arrays:
                file[name] = values
        return
    columns = dict(_flat(arrays))
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            f"columns of a table must have equal lengths, got {lengths}",
            hint="write an HDF5 file",
        )
    if path.name.lower().endswith(PARQUET):
        _write_parquet(path, columns, _facts(like, every))
        return
    times: dict[str, list[str]] = {}
    if like.name.lower().endswith(table.SUFFIXES):
        first, length = table.header(like)[0], len(next(iter(columns.values())))
        if first.lower() in table.TIMES:
            times = table.times_of(like, first, length, every=every)
    table.write(path, columns, before=times)


def _facts(like: Path, every: int) -> dict[str, Any]:
    """The facts of a file at the rate of every so many of its samples."""
    found = attributes(like)
    if every > 1 and "fs" in found:
        found["fs"] = float(found["fs"]) / every
    return found


def _tabular(path: Path) -> bool:
    return path.name.lower().endswith((*table.SUFFIXES, *PARQUET))


def _columns(path: Path) -> Mapping[str, np.ndarray | str]:
    """Columns but the times by name; a text says what one holds that is no numbers."""
    return _read(path, hdf5.stamp(path))[0]


def _times(path: Path) -> tuple[str, np.ndarray] | None:
    return _read(path, hdf5.stamp(path))[1]


def _metadata(path: Path) -> dict[str, Any]:
    return dict(_read(path, hdf5.stamp(path))[2])


_Read = tuple[
    dict[str, "np.ndarray | str"], tuple[str, np.ndarray] | None, dict[str, Any]
]


@lru_cache(maxsize=_KEPT)
def _read(path: Path, stamp: tuple[int, ...]) -> _Read:
    """A whole table; a file that was written again is read again."""
    del stamp
    if path.name.lower().endswith(PARQUET):
        return _read_parquet(path)
    names = table.header(path)
    rows = table.read_rows(path, 0, table.count_rows(path))
    times = None
    if rows and names[0].lower() in table.TIMES:
        found = table.seconds(rows, 0)
        times = None if found is None else (names[0], found)
    columns: dict[str, np.ndarray | str] = {}
    for place, name in enumerate(names):
        if place or times is None:
            try:
                columns[name] = table.numbers(rows, place)
            except ValueError as error:
                text, row = error.args
                columns[name] = f"{text!r} in line {row + 2}"
    return columns, times, {}


def _read_parquet(path: Path) -> _Read:
    parquet = _pyarrow(path)
    try:
        found = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as a Parquet file: {error}",
            hint="it is damaged or incomplete: copy it again from its source",
        ) from error
    columns: dict[str, np.ndarray | str] = {}
    for name, column in zip(found.column_names, found.columns, strict=True):
        values = column.to_numpy()
        if values.dtype.kind in "fiub":
            columns[name] = values
        elif values.dtype.kind == "M":
            columns[name] = values.astype("datetime64[ns]").astype(np.int64) / 1e9
        else:
            columns[name] = str(column.type)
    notes = {
        key.decode(errors="replace"): _value(value.decode(errors="replace"))
        for key, value in (found.schema.metadata or {}).items()
        if key not in _WRITERS
    }
    first = found.column_names[0] if found.column_names else ""
    times = None
    if first.lower() in table.TIMES and isinstance(columns[first], np.ndarray):
        times = first, np.asarray(columns.pop(first), float)
    return columns, times, notes


def _value(text: str) -> Any:
    """A number or a list of them where a text is that, as attributes of HDF5 are."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    try:
        found = json.loads(text)
    except ValueError:
        return text
    listed = isinstance(found, list) and all(type(v) in (int, float) for v in found)
    return found if listed else text


def _flat(
    arrays: Iterable[tuple[str, np.ndarray]],
) -> Iterable[tuple[str, np.ndarray]]:
    for name, values in arrays:
        if values.ndim == 1:
            yield name, values
        else:
            for channel in range(values.shape[1]):
                label = name if values.shape[1] == 1 else f"{name}.{channel}"
                yield label, values[:, channel]


def _write_parquet(
    path: Path, columns: Mapping[str, np.ndarray], notes: Mapping[str, Any]
) -> None:
    parquet = _pyarrow(path)
    import pyarrow

    made = pyarrow.table({name: np.asarray(v) for name, v in columns.items()})
    told = {k: str(np.asarray(v).tolist()) for k, v in notes.items()}
    parquet.write_table(made.replace_schema_metadata(told), path)


def _pyarrow(path: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            f"{path} needs the package `pyarrow`, which is not installed",
            hint="`pip install pyarrow`, or store the signals as CSV or HDF5",
        ) from error
    return parquet
