"""The arrays of one file that share their first axis (time or rows), by role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from models.data.stores import Column, Stored, open_array
from models.errors import DataError


class ArrayFile:
    """Roles of one file; the arrays of a role lie beside one another on the last axis.

    Args:
        path: The file, of any kind that `models.data.stores` reads.
        roles: Role to the names of its arrays, in channel order. One of shape ``[N]``
            contributes one channel, one of shape ``[N, …, C]`` its last axis.
        group: The group inside the file that holds them; empty for the root.
        word: What an array is called in messages.
        most_axes: Axes that an array may have at most; None for any number.
        constants: Arrays that are the same for all entries ``[C]``, by name: those of
            `roles` that the file does not hold as arrays.

    Attributes:
        path: The file.
        length: Entries of the first axis.
        shapes: Role to the shape of one entry.

    Raises:
        DataError: The file is missing or damaged; an array is missing, holds no numbers
            or has the wrong shape; or arrays differ in length.
    """

    def __init__(
        self,
        path: Path,
        *,
        roles: Mapping[str, tuple[str, ...]],
        group: str = "",
        word: str = "array",
        most_axes: int | None = None,
        constants: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.path, self._roles, self._word = path, roles, word
        self._stored: dict[str, Stored] = {}
        known = constants or {}
        named = [n for names in roles.values() for n in names]
        for name in (n for n in named if n not in known):
            inside = f"{group}/{name}" if group else name
            stored = open_array(path, inside, word=word)
            _check_axes(stored, name, path, word, most_axes)
            self._stored[name] = stored
        self.length = _common_length(self._stored, path, word)
        for name in (n for n in named if n in known):
            values = known[name]
            whole = np.broadcast_to(values, (self.length, len(values)))
            self._stored[name] = Column(whole)
        self.shapes = {
            role: self._shape(role) for role, names in roles.items() if names
        }

    @property
    def channels(self) -> dict[str, int]:
        """Role to the size of its last axis."""
        return {role: shape[-1] for role, shape in self.shapes.items()}

    @property
    def mapped(self) -> bool:
        """Whether every array is read through a memory map."""
        return all(stored.mapped for stored in self._stored.values())

    def read(self, role: str, start: int, stop: int) -> np.ndarray:
        """Entries ``start`` to ``stop`` of one role, in the type they are stored in.

        Returns:
            ``[stop - start, …, channels]``.

        Raises:
            DataError: The file was damaged or removed since it was opened.
        """
        names = self._roles[role]
        pieces = [_with_channels(self._stored[n].read(start, stop)) for n in names]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=-1)

    def split(self, role: str, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Part values ``[…, channels]`` of a role into its arrays, by name.

        A role that the file does not have is one array of its own name.

        Raises:
            DataError: The values have another number of channels.
        """
        names = self._roles.get(role)
        if not names:
            yield role, values
            return
        shapes = [self._stored[n].shape for n in names]
        widths = [_width(s) for s in shapes] if len(names) > 1 else [values.shape[-1]]
        if values.shape[-1] != sum(widths):
            raise DataError(
                f"role `{role}` has {sum(widths)} channels in {', '.join(names)}, got "
                f"{values.shape[-1]} to write",
                hint="predict the channels that the model was trained on",
            )
        pieces = np.split(values, np.cumsum(widths)[:-1], axis=-1)
        for name, shape, piece in zip(names, shapes, pieces, strict=True):
            flat = len(shape) == 1 and piece.shape[-1] == 1
            yield name, piece[..., 0] if flat else piece

    def name_of(self, role: str, channel: int) -> tuple[str, int | None]:
        """The array that holds a channel, and which of its columns (None for the only)."""
        for name in self._roles[role]:
            width = _width(self._stored[name].shape)
            if channel < width:
                return name, channel if width > 1 else None
            channel -= width
        raise AssertionError(f"role {role} has no channel {channel}")

    def _shape(self, role: str) -> tuple[int, ...]:
        """The shape of one entry; arrays of a role differ in their last axis only."""
        shapes = {n: self._stored[n].shape for n in self._roles[role]}
        inner = {shape[1:-1] for shape in shapes.values()}
        if len(inner) > 1:
            raise DataError(
                f"{self._word}s of one role must differ in their last axis only, got "
                f"{_listed(shapes)} in {self.path}",
                hint="give each of them a role of its own",
            )
        return (*inner.pop(), sum(map(_width, shapes.values())))


def _check_axes(
    stored: Stored, name: str, path: Path, word: str, most: int | None
) -> None:
    if not stored.shape or (most is not None and len(stored.shape) > most):
        allowed = "[time] or [time, channel]" if most else "[rows, …]"
        raise DataError(
            f"{word} `{name}` in {path} must have shape {allowed}, got {stored.shape}"
        )


def _common_length(stored: Mapping[str, Stored], path: Path, word: str) -> int:
    lengths = {name: array.shape[0] for name, array in stored.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            f"{word}s of {path} must have equal lengths, got {_listed(lengths)}",
            hint="cut them to the entries that all of them cover, or name those that do",
        )
    if not stored or any(0 in array.shape for array in stored.values()):
        raise DataError(
            f"{path} holds no samples", hint="leave it out, or write it again"
        )
    return next(iter(lengths.values()))


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"`{name}` {value}" for name, value in values.items())


def _width(shape: tuple[int, ...]) -> int:
    return 1 if len(shape) == 1 else shape[-1]


def _with_channels(values: np.ndarray) -> np.ndarray:
    return values[:, None] if values.ndim == 1 else values
