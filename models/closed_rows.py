"""Rows or windows of a reconstruction as the matrices that closed forms are solved with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from models.data.kinds.base import Part
from models.errors import ConfigError
from models.tasks.base import TaskData


@dataclass(frozen=True, kw_only=True)
class Flat:
    """Rows ``[N, …, C]`` as ``[N, D]`` in standard deviations of their channels, and back.

    Windows are rows of ``[time, channel]``; of the train part any that `stride` gives.

    Attributes:
        role: What is reconstructed.
        shape: Of one row.
        mean: ``[D]``, in physical units.
        std: Likewise.
        stride: Time steps between the starts of windows of the train part; None for rows.
    """

    role: str
    shape: tuple[int, ...]
    mean: np.ndarray
    std: np.ndarray
    stride: int | None = None

    @classmethod
    def of(cls, data: TaskData, role: str, *, stride: int | None = None) -> Flat:
        """Of the role that a task reconstructs.

        Args:
            data: What is known of data and task.
            role: The role.
            stride: Of windows; None for such that follow one another.

        Raises:
            ConfigError: Rows have no stride.
        """
        window = data.reference.settings.get("window")
        if window is None and stride is not None:
            raise ConfigError(
                f"`model.stride` is of windows of recordings, got {stride}, and "
                f"`{data.reference.name}` has independent rows",
                hint="leave `model.stride` out",
            )
        time = () if window is None else (window,)
        shape = (*time, *data.shapes[role])
        mean, std = (
            np.broadcast_to(values[role], shape).reshape(-1)
            for values in (data.statistics.mean, data.statistics.std)
        )
        stride = stride or window
        return cls(role=role, shape=shape, mean=mean, std=std, stride=stride)

    @property
    def size(self) -> int:
        """Numbers D of a row."""
        return math.prod(self.shape)

    def check(self, components: int) -> None:
        """Refuse as many components as a row has numbers, or more.

        Raises:
            ConfigError: There are as many.
        """
        if components >= self.size:
            raise ConfigError(
                f"`model.size` must be less than the {self.size} numbers of a row, got "
                f"{components}",
                hint="lower `model.size`",
            )

    def part(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """All rows of a part, and which entries of them were seen."""
        records = [part.load(i)[self.role] for i in range(len(part.lengths))]
        if self.stride is not None:
            cut = (sliding_window_view(r, self.shape[0], axis=0) for r in records)
            records = [np.moveaxis(c[:: self.stride], -1, 1) for c in cut]
        values = np.concatenate(records, dtype=float)
        mask = np.isfinite(values)
        return self.matrix(np.where(mask, values, 0.0)), mask.reshape(len(mask), -1)

    def given(self, batch: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a batch, and which entries of them are given."""
        mask = np.asarray(batch[f"given.{self.role}"])
        return self.matrix(batch[self.role]), mask.reshape(len(mask), -1)

    def matrix(self, values: np.ndarray) -> np.ndarray:
        """Physical units ``[N, …, C]`` to ``[N, D]``."""
        flat = np.asarray(values, float).reshape(len(values), -1)
        return (flat - self.mean) / self.std

    def rows(self, matrix: np.ndarray) -> np.ndarray:
        """The inverse of `matrix`."""
        return (matrix * self.std + self.mean).reshape(len(matrix), *self.shape)


def mean_square(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> float:
    """Mean squared difference where a mask shows both."""
    return float(np.square(np.where(mask, first - second, 0.0)).sum() / mask.sum())
