"""Arrays of HDF5 files, read lazily: memory map or h5py.

A contiguous, uncompressed dataset is mapped into memory, so every worker shares the
operating system's pages and nothing is copied before it is used. Compressed or chunked ones
go through h5py, with a bounded number of files open at a time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from models.errors import DataError, near_matches

OPEN_FILES = 64

_open: OrderedDict[Path, h5py.File] = OrderedDict()
_stamps: dict[Path, tuple[int, ...]] = {}  # of the files as they were opened
# Arrays stay open with their file: HDF5 forgets unpacked chunks when one is closed.
_arrays: dict[Path, dict[str, h5py.Dataset]] = {}
_lock = threading.RLock()


class StoredArray:
    """One array of numbers in an HDF5 file, opened but not read.

    Args:
        path: The HDF5 file.
        name: Its path inside the file.
        word: What an array is called in messages.

    Attributes:
        shape: As stored.

    Raises:
        DataError: The file is missing or no HDF5 file, the array is missing, or it holds no
            numbers.
    """

    def __init__(self, path: Path, name: str, *, word: str = "array") -> None:
        self._path, self._name = path, name
        with _lock:
            found = _numbers(_current(path), name, path, word)
            self.shape: tuple[int, ...] = found.shape
            self._map = _mapped(found, path)

    @property
    def mapped(self) -> bool:
        """Whether it is read through a memory map."""
        return self._map is not None

    def read(self, start: int, stop: int) -> np.ndarray:
        """Entries ``start`` to ``stop`` of the first axis.

        Raises:
            DataError: The file was damaged or removed since it was opened.
        """
        if self._map is not None:
            return self._map[start:stop]
        with _lock:
            try:
                file = _opened(self._path)
                kept = _arrays.setdefault(self._path, {})
                if self._name not in kept:
                    kept[self._name] = file[self._name]
                return kept[self._name][start:stop]
            except (OSError, KeyError, RuntimeError) as error:
                raise _damaged(self._path, error) from error


def attributes(path: Path) -> dict[str, Any]:
    """The file's root attributes as Python values.

    Raises:
        DataError: The file is missing or damaged.
    """
    with _lock:
        values = dict(_current(path).attrs)
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}


def array_names(path: Path, group: str = "/") -> list[str]:
    """The names of the arrays at the root of a file, or in one of its groups.

    Raises:
        DataError: The file is missing or damaged.
    """
    with _lock:
        folder = _current(path)[group]
        return [n for n in folder if isinstance(folder[n], h5py.Dataset)]


def numeric_names(path: Path, group: str = "/") -> list[str]:
    """Those of `array_names` that hold numbers and have at least one axis."""
    with _lock:
        folder = _current(path)[group]
        return [
            n
            for n in array_names(path, group)
            if folder[n].ndim and folder[n].dtype.kind in "fiub"
        ]


def arrays_below(path: Path, *, axes: int | None = None) -> tuple[str, ...]:
    """The names of all arrays of a file, those inside groups by their path.

    Args:
        path: The file.
        axes: Only arrays of numbers with so many axes.

    Raises:
        DataError: The file is missing or damaged.
    """
    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if axes is None or (item.ndim == axes and item.dtype.kind in "fiub"):
            found.append(name)

    with _lock:
        _current(path).visititems(visit)
    return tuple(found)


def attribute_above(path: Path, name: str, attribute: str) -> Any:
    """An attribute of the nearest group above an array; None where no group has it.

    Args:
        path: The file.
        name: The array's path inside it.
        attribute: The attribute.

    Raises:
        DataError: The file is missing or damaged.
    """
    group = name.strip("/")
    with _lock:
        file = _current(path)
        while group:
            group = group.rpartition("/")[0]
            place = file.get(group or "/")
            if place is not None and attribute in place.attrs:
                return place.attrs[attribute]
    return None


def texts(path: Path, name: str) -> tuple[str, ...]:
    """The texts of an array ``[N]``, such as names of columns.

    Raises:
        DataError: The file is missing or damaged, or has no such array of texts.
    """
    with _lock:
        file = _current(path)
        found = file.get(name)
        there: list[str] = []
        file.visit(there.append)
        if not isinstance(found, h5py.Dataset):
            raise DataError(
                f"array `{name}` is not in {path}", hint=near_matches(name, there)
            )
        if h5py.check_string_dtype(found.dtype) is None or found.ndim != 1:
            raise DataError(
                f"array `{name}` in {path} must hold one text a column, got {found.dtype} "
                f"of shape {found.shape}",
                hint="name an array of texts",
            )
        return tuple(found.asstr()[:].tolist())


def group_names(path: Path, group: str = "/") -> list[str]:
    """The names of the groups at the file's root, or in one of its groups.

    Raises:
        DataError: The file is missing or damaged.
    """
    with _lock:
        folder = _current(path)[group]
        return [n for n in folder if isinstance(folder[n], h5py.Group)]


def close_files() -> None:
    """Close every file held open by h5py; reading opens them again."""
    with _lock:
        for path in list(_open):
            _close(path)


def _opened(path: Path) -> h5py.File:
    """The open file, the least recently used one being closed beyond `OPEN_FILES`."""
    if path in _open:
        _open.move_to_end(path)
        return _open[path]
    _stamps[path] = stamp(path)
    try:
        file = h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        raise _damaged(path, error) from error
    _open[path] = file
    if len(_open) > OPEN_FILES:
        _close(next(iter(_open)))
    return file


def _current(path: Path) -> h5py.File:
    """The open file; one that was written again since is opened again."""
    if path in _open and _stamps[path] != stamp(path):
        _close(path)
    return _opened(path)


def stamp(path: Path) -> tuple[int, ...]:
    """Changes whenever a file is replaced or written.

    Raises:
        DataError: There is no such file.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(
            f"the file {path} does not exist", hint="check the data folder"
        ) from error
    return found.st_ino, found.st_size, found.st_mtime_ns


def _close(path: Path) -> None:
    _arrays.pop(path, None)
    _open.pop(path).close()


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} cannot be read as an HDF5 file: {error}",
        hint="it is damaged or incomplete: copy it again from its source",
    )


def _numbers(file: h5py.File, name: str, path: Path, word: str) -> h5py.Dataset:
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        group, _, last = name.rpartition("/")
        inside = group if isinstance(file.get(group or "/"), h5py.Group) else "/"
        raise DataError(
            f"{word} `{name}` is not in {path}",
            hint=near_matches(last, array_names(path, inside or "/")),
        )
    if found.dtype.kind not in "fiub":
        raise DataError(
            f"{word} `{name}` in {path} holds {found.dtype}, not numbers",
            hint="name arrays of numbers",
        )
    return found


def _mapped(array: h5py.Dataset, path: Path) -> np.ndarray | None:
    """A read-only map of the array's bytes, or None where it does not lie flat."""
    offset = array.id.get_offset()
    flat = array.chunks is None and array.external is None and not array.is_virtual
    if not flat or offset is None or array.file.userblock_size or not array.size:
        return None
    return np.memmap(path, array.dtype, mode="r", offset=offset, shape=array.shape)
