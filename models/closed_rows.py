"""Rows of a reconstruction as the matrices that closed forms are solved with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.data.kinds.base import Part
from models.errors import ConfigError
from models.tasks.base import TaskData


@dataclass(frozen=True, kw_only=True)
class Flat:
    """Rows ``[N, …, C]`` as ``[N, D]`` in standard deviations of their channels, and back.

    Attributes:
        role: What is reconstructed.
        shape: Of one row.
        mean: ``[D]``, in physical units.
        std: Likewise.
    """

    role: str
    shape: tuple[int, ...]
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, data: TaskData, role: str) -> Flat:
        """Of the role that a task reconstructs."""
        shape = tuple(data.shapes[role])
        mean, std = (
            np.broadcast_to(values[role], shape).reshape(-1)
            for values in (data.statistics.mean, data.statistics.std)
        )
        return cls(role=role, shape=shape, mean=mean, std=std)

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
        values = np.asarray(part.load(0)[self.role], float)
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
