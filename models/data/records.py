"""One HDF5 file as a record of signals, read lazily: memory map or h5py.

A contiguous, uncompressed dataset is mapped into memory, so every worker shares the
operating system's pages and nothing is copied before it is used. Compressed or chunked ones
go through h5py, with a bounded number of files open at a time.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from models.data.files import natural_key
from models.errors import DataError, near_matches

OPEN_FILES = 64
Role = Literal["u", "y"]

_open: OrderedDict[Path, h5py.File] = OrderedDict()
# Signals stay open with their file: HDF5 forgets unpacked chunks when one is closed.
_signals: dict[Path, dict[str, h5py.Dataset]] = {}
_lock = threading.RLock()


class Record:
    """The inputs ``u`` ``[T, n_u]`` and outputs ``y`` ``[T, n_y]`` of one file.

    Args:
        path: The HDF5 file.
        inputs: Names of the input signals; a 2-D one ``[T, C]`` contributes its columns.
        outputs: Names of the output signals.

    Raises:
        DataError: The file is missing or no HDF5 file, a signal is missing, holds no
            numbers or has the wrong shape, or signals differ in length.
    """

    def __init__(
        self, path: Path, *, inputs: tuple[str, ...], outputs: tuple[str, ...]
    ) -> None:
        self.path = path
        self._names: Mapping[Role, tuple[str, ...]] = {"u": inputs, "y": outputs}
        self._maps: dict[str, np.ndarray | None] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        with _lock:
            file = _opened(path)
            for name in (*inputs, *outputs):
                signal = _signal(file, name, path)
                shapes[name] = signal.shape
                self._maps[name] = _mapped(signal, path)
        self.length = _common_length(shapes, path)
        self.channels: Mapping[Role, int] = {
            role: sum(_columns(shapes[n]) for n in names)
            for role, names in self._names.items()
        }

    @property
    def mapped(self) -> bool:
        """Whether every signal is read through a memory map."""
        return all(m is not None for m in self._maps.values())

    def read(self, role: Role, start: int, stop: int) -> np.ndarray:
        """Samples ``start`` to ``stop`` of one role, ``[stop - start, channels]``.

        Raises:
            DataError: The file was damaged or removed since it was opened.
        """
        names = self._names[role]
        pieces = [_as_columns(self._piece(name, start, stop)) for name in names]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)

    def read_signal(self, name: str, start: int, stop: int) -> np.ndarray:
        """Samples ``start`` to ``stop`` of one signal, ``[stop - start, columns]``."""
        return _as_columns(self._piece(name, start, stop))

    def _piece(self, name: str, start: int, stop: int) -> np.ndarray:
        mapped = self._maps[name]
        if mapped is not None:
            return mapped[start:stop]
        with _lock:
            try:
                file = _opened(self.path)
                kept = _signals.setdefault(self.path, {})
                if name not in kept:
                    kept[name] = file[name]
                return kept[name][start:stop]
            except (OSError, KeyError, RuntimeError) as error:
                raise _damaged(self.path, error) from error


def signal_names(
    path: Path, *, needed: tuple[str, ...] = ("inputs", "outputs")
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The signals that follow the convention: ``u``, ``u0``, … and ``y``, ``y0``, ….

    Args:
        path: The file.
        needed: Which of the two kinds must be there.

    Returns:
        Input names and output names, each in natural order.

    Raises:
        DataError: The file is missing or damaged, or a kind that is needed is not there.
    """
    names = sorted(array_names(path), key=natural_key)
    found = {
        role: tuple(n for n in names if re.fullmatch(rf"{role}\d*", n)) for role in "uy"
    }
    for role, words in (("u", "input"), ("y", "output")):
        if f"{words}s" in needed and not found[role]:
            raise DataError(
                f"{path} has no {words} signal `{role}0`; it has: {', '.join(names)}",
                hint=f'name them in the study: data={{"path": …, "{words}s": […]}}',
            )
    return found["u"], found["y"]


def attributes(path: Path) -> dict[str, Any]:
    """The file's root attributes as Python values.

    Raises:
        DataError: The file is missing or damaged.
    """
    with _lock:
        values = dict(_opened(path).attrs)
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}


def array_names(path: Path) -> list[str]:
    """The names of the arrays at the file's root.

    Raises:
        DataError: The file is missing or damaged.
    """
    with _lock:
        file = _opened(path)
        return [n for n in file if isinstance(file[n], h5py.Dataset)]


def close_files() -> None:
    """Close every file held open by h5py; reading opens them again."""
    with _lock:
        while _open:
            _close_oldest()


def _opened(path: Path) -> h5py.File:
    """The open file, the least recently used one being closed beyond `OPEN_FILES`."""
    if path in _open:
        _open.move_to_end(path)
        return _open[path]
    if not path.is_file():
        raise DataError(f"the file {path} does not exist", hint="check the data folder")
    try:
        file = h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        raise _damaged(path, error) from error
    _open[path] = file
    if len(_open) > OPEN_FILES:
        _close_oldest()
    return file


def _close_oldest() -> None:
    path, file = _open.popitem(last=False)
    _signals.pop(path, None)
    file.close()


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} cannot be read as an HDF5 file: {error}",
        hint="it is damaged or incomplete: copy it again from its source",
    )


def _signal(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    signal = file.get(name)
    if not isinstance(signal, h5py.Dataset):
        raise DataError(
            f"signal `{name}` is not in {path}",
            hint=near_matches(name, array_names(path)),
        )
    if signal.dtype.kind not in "fiub":
        raise DataError(f"signal `{name}` in {path} holds {signal.dtype}, not numbers")
    if signal.ndim not in (1, 2):
        raise DataError(
            f"signal `{name}` in {path} must have shape [time] or [time, channel], "
            f"got {signal.shape}"
        )
    return signal


def _mapped(signal: h5py.Dataset, path: Path) -> np.ndarray | None:
    """A read-only map of the dataset's bytes, or None where it does not lie flat."""
    offset = signal.id.get_offset()
    flat = signal.chunks is None and signal.external is None and not signal.is_virtual
    if not flat or offset is None or signal.file.userblock_size or not signal.size:
        return None
    return np.memmap(path, signal.dtype, mode="r", offset=offset, shape=signal.shape)


def _common_length(shapes: Mapping[str, tuple[int, ...]], path: Path) -> int:
    lengths = {name: shape[0] for name, shape in shapes.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"`{n}` {length}" for n, length in lengths.items())
        raise DataError(
            f"signals of {path} must have equal lengths, got {listed}",
            hint="cut them to the samples that all of them cover",
        )
    length = next(iter(lengths.values()))
    if not length:
        raise DataError(f"{path} holds no samples")
    return length


def _columns(shape: tuple[int, ...]) -> int:
    return 1 if len(shape) == 1 else shape[1]


def _as_columns(values: np.ndarray) -> np.ndarray:
    return values[:, None] if values.ndim == 1 else values
