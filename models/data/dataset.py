"""A dataset as three lazy parts and the statistics of the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.data.files import part_files
from models.data.records import Record, Role
from models.data.reference import PARTS, Reference
from models.data.statistics import Statistics, accumulate
from models.errors import DataError, near_matches

CHUNK = 1 << 18
"""Samples read at a time wherever a whole record is scanned."""


class Part:
    """The records of one part, in natural order of their file names.

    Args:
        reference: The dataset.
        name: ``train``, ``valid`` or ``test``.

    Raises:
        DataError: The part is empty, or one of its files is damaged or unlike the others.
    """

    def __init__(self, *, reference: Reference, name: str) -> None:
        self.name = name
        self.reference = reference
        self.records = tuple(
            Record(path, inputs=reference.inputs, outputs=reference.outputs)
            for path in part_files(Path(reference.path), name)
        )
        self.channels: Mapping[Role, int] = self.records[0].channels
        for record in self.records:
            if record.channels != self.channels:
                raise DataError(
                    f"files of one dataset must have equal channels: "
                    f"{self.records[0].path} has {dict(self.channels)}, "
                    f"{record.path} has {dict(record.channels)}"
                )

    @property
    def lengths(self) -> tuple[int, ...]:
        """Samples of every record."""
        return tuple(record.length for record in self.records)

    def load(self, index: int) -> dict[str, np.ndarray]:
        """One whole record: ``u`` ``[T, n_u]`` and ``y`` ``[T, n_y]``, as stored."""
        return self.slice(index, 0, self.records[index].length)

    def slice(self, index: int, start: int, stop: int) -> dict[str, np.ndarray]:
        """Samples ``start`` to ``stop`` of one record, in the type they are stored in.

        Raises:
            DataError: The samples do not lie inside the record.
        """
        record = self.records[index]
        if not 0 <= start < stop <= record.length:
            raise DataError(
                f"samples {start} to {stop} do not lie in {record.path}, which has "
                f"{record.length}"
            )
        return {role: record.read(role, start, stop) for role in ("u", "y")}

    def blocks(self, role: Role, *, size: int = CHUNK) -> Iterator[np.ndarray]:
        """Every sample of one role in blocks of at most ``[size, channels]``."""
        for record in self.records:
            for start in range(0, record.length, size):
                yield record.read(role, start, min(start + size, record.length))


class Dataset:
    """Parts opened when asked for (`test` is not touched before), statistics of `train`.

    Args:
        reference: What `models.data.catalog.prepare` returned.
    """

    def __init__(self, *, reference: Reference) -> None:
        self.reference = reference
        self._parts: dict[str, Part] = {}

    def part(self, name: str) -> Part:
        """One part, opened on the first call.

        Raises:
            DataError: There is no such part, or it is empty or damaged.
        """
        if name not in PARTS:
            raise DataError(
                f"`{name}` is no part of a dataset", hint=near_matches(name, PARTS)
            )
        if name not in self._parts:
            self._parts[name] = Part(reference=self.reference, name=name)
        return self._parts[name]

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and standard deviation of inputs and outputs over the train part only."""
        train = self.part("train")
        found = {role: accumulate(train.blocks(role)) for role in ("u", "y")}
        return Statistics(
            mean={role: mean for role, (mean, _, _) in found.items()},
            std={role: std for role, (_, std, _) in found.items()},
            count=found["y"][2],
        )


def open_dataset(reference: Reference | Mapping[str, Any]) -> Dataset:
    """Open prepared data; its files are read when they are needed.

    Args:
        reference: The reference, or its JSON form.

    Raises:
        DataError: It is no reference, or its folder is gone.
    """
    if not isinstance(reference, Reference):
        if not isinstance(reference, Mapping):
            raise DataError(
                f"a data reference is needed, got {type(reference).__name__}",
                hint="make one with `models.data.catalog.prepare(NAME)`",
            )
        reference = Reference.from_json(reference)
    if not Path(reference.path).is_dir():
        raise DataError(
            f"the folder {reference.path} of dataset `{reference.name}` is gone",
            hint="prepare the data again",
        )
    return Dataset(reference=reference)
