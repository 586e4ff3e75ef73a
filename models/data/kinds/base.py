"""The interface of a kind of data, and the dataset that every kind opens."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from models.data.reference import PARTS, Reference
from models.data.statistics import Readings, Statistics, accumulate
from models.errors import DataError, near_matches

CHUNK = 1 << 18
"""Time steps, or other vectors of channels, read at a time wherever a part is scanned."""

Request = Mapping[str, Any]
"""A study's request for data: ``name`` or ``path``, ``kind``, and the kind's own keys."""


Fills = Callable[[], Mapping[str, np.ndarray]]
"""Called when fills are first needed, for they take a pass over the train part."""


class Part(Protocol):
    """One part of a dataset, opened and read when asked for.

    A record is a file's signals, a table's rows in time order, or all rows of a part of
    independent samples. Values are physical and in the type they are stored in, NaN where
    one is missing: it is feeds and scoring groups that fill them (`models.data.gaps`).

    Attributes:
        name: ``train``, ``valid`` or ``test``.
        reference: The dataset.
        before: Time steps in front of the first record that windows may look back into; 0
            where there are none.
    """

    name: str
    reference: Reference
    before: int

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every record, for scores by record."""
        ...

    @property
    def lengths(self) -> tuple[int, ...]:
        """Time steps, or rows, of every record."""
        ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Role to the shape of one time step or one row; the last axis are channels."""
        ...

    @property
    def channels(self) -> Mapping[str, int]:
        """Role to its number of channels."""
        ...

    @property
    def fills(self) -> Mapping[str, np.ndarray]:
        """Role to the train mean per channel; only of the roles that have gaps."""
        ...

    def load(self, index: int) -> dict[str, np.ndarray]:
        """One whole record: role to ``[length, *shape]``."""
        ...

    def slice(
        self,
        index: int,
        start: int,
        stop: int,
        *,
        roles: Collection[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Entries ``start`` (from ``-before``) to ``stop`` of a record, of some roles.

        Raises:
            DataError: They do not lie inside the record.
        """
        ...

    def blocks(self, role: str, *, size: int = CHUNK) -> Iterator[np.ndarray]:
        """Every entry of one role, at most `size` vectors of channels at a time."""
        ...

    def locate(self, role: str, index: int, entry: tuple[int, ...]) -> tuple[str, str]:
        """Which value this is, for messages.

        Args:
            role: Its role.
            index: The record.
            entry: Indices into what `load` gives for the role.

        Returns:
            What holds it and where, as in ``("signal `y0` in /data/a.hdf5", "sample 17")``.
        """
        ...


class StoredPart(ABC):
    """What the parts of all kinds share: everything follows from `slice`.

    Args:
        reference: The dataset.
        name: ``train``, ``valid`` or ``test``.
        fills: Gives the train mean of roles with gaps.
    """

    before = 0
    lengths: tuple[int, ...]
    shapes: Mapping[str, tuple[int, ...]]

    def __init__(self, *, reference: Reference, name: str, fills: Fills = dict) -> None:
        self.name, self.reference, self._fills = name, reference, fills

    @property
    def channels(self) -> Mapping[str, int]:
        """See `Part`."""
        return {role: shape[-1] for role, shape in self.shapes.items()}

    @property
    def fills(self) -> Mapping[str, np.ndarray]:
        """See `Part`."""
        return self._fills()

    def load(self, index: int) -> dict[str, np.ndarray]:
        """One whole record; see `Part`."""
        return self.slice(index, 0, self.lengths[index])

    @abstractmethod
    def slice(
        self,
        index: int,
        start: int,
        stop: int,
        *,
        roles: Collection[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Entries of a record; see `Part`."""

    def blocks(self, role: str, *, size: int = CHUNK) -> Iterator[np.ndarray]:
        """Every entry of one role in blocks; see `Part`."""
        for index, start, stop in spans(self, size=size):
            yield self.slice(index, start, stop, roles=(role,))[role]


class SingleRecord:
    """One record of a part, as a part.

    Args:
        part: The whole part.
        index: The record's number in it.
    """

    def __init__(self, part: Part, index: int) -> None:
        self._part, self._index = part, index
        self.name, self.reference, self.before = part.name, part.reference, part.before
        self.names, self.lengths = (part.names[index],), (part.lengths[index],)
        self.shapes, self.channels = part.shapes, part.channels

    @property
    def fills(self) -> Mapping[str, np.ndarray]:
        """See `Part`."""
        return self._part.fills

    def load(self, index: int) -> dict[str, np.ndarray]:
        """The whole record."""
        return self._part.load(self._index)

    def slice(
        self,
        index: int,
        start: int,
        stop: int,
        *,
        roles: Collection[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Entries of the record; see `Part`."""
        return self._part.slice(self._index, start, stop, roles=roles)

    def blocks(self, role: str, *, size: int = CHUNK) -> Iterator[np.ndarray]:
        """The whole record of one role, in one block."""
        yield self.slice(0, 0, self.lengths[0], roles=(role,))[role]

    def locate(self, role: str, index: int, entry: tuple[int, ...]) -> tuple[str, str]:
        """See `Part`."""
        return self._part.locate(role, self._index, entry)


class Dataset:
    """Parts opened when asked for (`test` is not touched before), statistics of `train`.

    Args:
        reference: What `models.data.catalog.prepare` returned.
        opener: ``opener(reference=…, name=…, fills=…)`` opens a part.
    """

    def __init__(self, *, reference: Reference, opener: Callable[..., Part]) -> None:
        self.reference = reference
        self._opener = opener
        self._parts: dict[str, Part] = {}

    def part(self, name: str) -> Part:
        """A part by name, opened on the first call.

        Raises:
            DataError: The part is missing, damaged, or shaped unlike the train part.
        """
        if name not in PARTS:
            raise DataError(
                f"`{name}` is no part of a dataset", hint=near_matches(name, PARTS)
            )
        if name not in self._parts:
            part = self._opener(reference=self.reference, name=name, fills=self._fills)
            if name != "train":
                _check_shapes(part, self.part("train"))
            self._parts[name] = part
        return self._parts[name]

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and standard deviation over the values seen in the train part."""
        train = self.part("train")
        found = {role: accumulate(train.blocks(role)) for role in train.shapes}
        return Statistics(
            mean={role: mean for role, (mean, _) in found.items()},
            std={role: std for role, (_, std) in found.items()},
            count=sum(train.lengths),
            readings=Readings(train.blocks, train.shapes),
        )

    def _fills(self) -> Mapping[str, np.ndarray]:
        gaps = self.reference.gaps
        return {role: self.statistics.mean[role] for role in gaps} if gaps else {}


class Kind(Protocol):
    """The functions and constants of a module in `models.data.kinds`.

    Attributes:
        KEYS: Keys of a request beside ``name``, ``path`` and ``kind``.
        CUT: Whether feeds cut ``windows`` out of records, or draw ``rows``.
        HIDDEN: Roles that feeds carry only when asked to: a truth that no model is given.
        LAYOUT: How such data lies on disk, in one line.
    """

    KEYS: tuple[str, ...]
    CUT: Literal["windows", "rows"]
    HIDDEN: tuple[str, ...]
    LAYOUT: str

    def find(self, path: Path) -> Path | None:
        """The folder or file of this kind at a path; None where there is none."""
        ...

    def prepare(self, request: Request, *, name: str, path: Path) -> Reference:
        """Check and hash what `find` found.

        Raises:
            DataError: It is damaged, or does not fit the request.
        """
        ...

    def open(self, reference: Reference) -> Dataset:
        """Open prepared data; files are read when they are needed."""
        ...

    def read(
        self,
        path: Path,
        *,
        reference: Reference,
        roles: Collection[str],
        optional: Collection[str] = (),
    ) -> dict[str, np.ndarray]:
        """The arrays of one file for a model that was trained on such data.

        Args:
            path: A file in the layout of the kind.
            reference: The data the model was trained on.
            roles: The roles to read.
            optional: Those of them that the file may lack.

        Returns:
            Role to the whole array in physical units, float64. Roles that had gaps in
            training come filled, with a mask beside them (`models.data.gaps`).

        Raises:
            DataError: The file is missing or damaged, lacks a role that is not optional, has
                other shapes, or has missing values in a role that had none in training.
        """
        ...

    def write(
        self,
        path: Path,
        arrays: Mapping[str, np.ndarray],
        *,
        reference: Reference,
        like: Path,
    ) -> None:
        """Write predicted arrays in the layout of the kind, all or nothing.

        Args:
            path: A new file.
            arrays: Role to array, in physical units.
            reference: The data the model was trained on, for the names of a role's arrays.
            like: The file the arrays were predicted from, for its attributes.

        Raises:
            DataError: The file is there already or cannot be written, or an array does not
                fit the layout.
        """
        ...


def roles_there(
    reference: Reference,
    there: Collection[str],
    *,
    roles: Collection[str],
    optional: Collection[str] = (),
) -> dict[str, tuple[str, ...]]:
    """The names of every role to read, without optional ones of which a file has nothing.

    Args:
        reference: The data the model was trained on.
        there: Names of what the file holds.
        roles: The roles to read.
        optional: Those of them that the file may lack.
    """
    names = {role: reference.roles[role] for role in roles}
    return {
        role: named
        for role, named in names.items()
        if role not in optional or not set(named).isdisjoint(there)
    }


def spans(
    part: Part | StoredPart, *, size: int = CHUNK
) -> Iterator[tuple[int, int, int]]:
    """Record, start and stop of pieces of at most `size` vectors of channels."""
    most = max((math.prod(shape[:-1]) for shape in part.shapes.values()), default=1)
    step = max(1, size // max(1, most))
    for index, length in enumerate(part.lengths):
        for start in range(0, length, step):
            yield index, start, min(start + step, length)


def _check_shapes(part: Part, train: Part) -> None:
    if dict(part.shapes) != dict(train.shapes):
        raise DataError(
            f"parts of one dataset must have equal shapes: `train` of "
            f"`{part.reference.name}` has {dict(train.shapes)}, `{part.name}` has "
            f"{dict(part.shapes)}",
            hint="samples of varying size are padded with NaN to one shape",
        )
