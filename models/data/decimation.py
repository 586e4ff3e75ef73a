"""Records at a lower rate: every Nth sample, of inputs that a filter has freed of aliases.

The rate is a setting of the data, never of a search: valid and test have it too, so that what
is scored at one rate is never ranked beside what is scored at another. Train records may come
at other rates as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.data.arrays import ArrayFile
from models.errors import DataError

FILTERED = "u"
"""The role that is filtered; of all others the samples are taken as they are."""


def factor_of(request: Mapping[str, Any]) -> int:
    """The ``decimate`` of a request for data; 1 for the rate of the files.

    Raises:
        DataError: It is no whole number from 1 on.
    """
    factor = request.get("decimate", 1)
    if not isinstance(factor, int) or isinstance(factor, bool) or factor < 1:
        raise DataError(
            f"`decimate` must be a whole number from 1 on, got {factor!r}",
            hint="10 keeps every tenth sample",
        )
    return factor


def also_of(request: Mapping[str, Any]) -> tuple[int, ...]:
    """The ``train_also`` of a request for data: further factors for the train part.

    Raises:
        DataError: It is no list of whole numbers from 1 on, all different from one another and
            from ``decimate``.
    """
    asked = request.get("train_also", ())
    listed = isinstance(asked, (list, tuple))
    factors = tuple(factor_of({"decimate": f}) for f in asked) if listed else ()
    every = (factor_of(request), *factors)
    if not listed or len(set(every)) < len(every):
        raise DataError(
            "`train_also` lists factors at which train records are read beside "
            f"`decimate` ({every[0]}), each another one, got {asked!r}",
            hint="[2, 4] trains on every second and every fourth sample as well",
        )
    return factors


def first_kept(sample: int, factor: int) -> int:
    """Where at the lower rate the first sample lies that is kept from one of a file on.

    Args:
        sample: The file's own, counted from 0.
        factor: Every how many samples one is kept.
    """
    return -(-sample // factor)


def decimated(values: np.ndarray, factor: int) -> np.ndarray:
    """Every `factor`-th sample of a signal without what lies beyond half the new rate.

    The filter has zero phase: it neither delays nor advances, and looks ahead by as much as
    back, ten of the new samples. Beyond both ends the signal goes on as the line through its
    first and last sample, so that its mean stays.

    Args:
        values: ``[T, channels]``, finite.
        factor: A whole number.

    Returns:
        ``[ceil(T / factor), channels]``; the first sample stands for the first one.

    Source: `scipy.signal.resample_poly` (a windowed sinc, Kaiser's β = 5).
    """
    import scipy.signal  # a driver that decimates nothing need not load it

    found: np.ndarray = scipy.signal.resample_poly(
        np.asarray(values, np.float64), 1, factor, axis=0, padtype="line"
    )
    return found


class DecimatedFile:
    """An `ArrayFile` at a lower rate.

    Its inputs are filtered when they are first read, and kept: what a filter has changed
    cannot be mapped from a file.

    Args:
        file: At its own rate.
        factor: Every how many samples one is kept.

    Raises:
        DataError: It is shorter than one step.
    """

    mapped = False

    def __init__(self, file: ArrayFile, factor: int) -> None:
        if file.length < factor:
            raise DataError(
                f"{file.path} has {file.length} samples, and `decimate` is {factor}",
                hint="decimate less, or leave the file out",
            )
        self._file, self._factor = file, factor
        self._inputs: np.ndarray | None = None
        self.path, self.shapes, self.channels = file.path, file.shapes, file.channels
        self.length = -(-file.length // factor)

    def read(self, role: str, start: int, stop: int) -> np.ndarray:
        """Entries ``start`` to ``stop`` at the lower rate; see `ArrayFile.read`.

        Raises:
            DataError: The file was damaged, or an input is missing somewhere.
        """
        if role == FILTERED:
            return self._filtered()[start:stop]
        step = self._factor
        return self._file.read(role, start * step, (stop - 1) * step + 1)[::step]

    def name_of(self, role: str, channel: int) -> tuple[str, int | None]:
        """See `ArrayFile.name_of`."""
        return self._file.name_of(role, channel)

    def sample(self, entry: int) -> int:
        """The file's own sample that an entry was taken at."""
        return entry * self._factor

    def _filtered(self) -> np.ndarray:
        if self._inputs is None:
            values = np.asarray(self._file.read(FILTERED, 0, self._file.length), float)
            for sample, channel in np.argwhere(~np.isfinite(values))[:1].tolist():
                name, _ = self.name_of(FILTERED, channel)
                raise DataError(
                    f"signal `{name}` in {self.path} is {values[sample, channel]} at "
                    f"sample {sample}, and a filter cannot pass what is missing "
                    f"(`decimate` is {self._factor})",
                    hint="fill or cut out missing inputs, or set `decimate` to 1",
                )
            self._inputs = decimated(values, self._factor)
        return self._inputs


def at_rate(file: ArrayFile, factor: int) -> ArrayFile | DecimatedFile:
    """A file at one of the rates that its dataset was asked for.

    Args:
        file: At its own rate.
        factor: Every how many samples one is kept.

    Raises:
        DataError: It is too short.
    """
    return file if factor == 1 else DecimatedFile(file, factor)
