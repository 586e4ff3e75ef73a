"""Simulation: from inputs u to outputs y, both in physical units, from rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from models.data.kinds.base import Part
from models.tasks.arrays import without
from models.tasks.base import Groups, TaskData
from models.tasks.sequences import SequenceTask
from models.training.interface import Arrays

if TYPE_CHECKING:
    from models.training.problem import Batch

KINDS = ("records",)


@dataclass(frozen=True, kw_only=True)
class Task(SequenceTask):
    """Whole records are simulated from their inputs alone.

    Scores count from the sample that the data's protocol names (`score_from`), because no
    model knows the state in which a record begins.
    """

    KINDS: ClassVar[tuple[str, ...]] = KINDS

    @property
    def takes(self) -> tuple[str, ...]:
        """The inputs."""
        return ("u",)

    def groups(self, part: Part, *, lead: int = 0, dtype: Any = None) -> Groups:
        """Every record in full, grouped by length."""
        from models.data.feeding import full_sequences

        return full_sequences(part, dtype=dtype)

    def given(self, batch: Batch, data: TaskData) -> Batch:
        """The inputs."""
        return without(self.given_inputs(batch, data), "y", "x", "movement")

    def protocol(self, data: Mapping[str, Any]) -> tuple[int, tuple[int, ...]]:
        """As the data says: no model knows the state in which a record begins."""
        settings = data.get("settings", {})
        return settings.get("score_from", 0), tuple(settings.get("also_score_from", ()))

    def batch(self, arrays: Arrays, data: TaskData) -> dict[str, np.ndarray]:
        """The inputs."""
        return self.inputs(arrays["u"], data)
