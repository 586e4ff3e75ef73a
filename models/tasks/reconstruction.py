"""Reconstruction: rows with gaps, of which some entries may be hidden, are given back whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import h5py
import numpy as np

from models.config import static
from models.data.kinds.base import Part
from models.tasks.arrays import SAME, Units, shown, without
from models.tasks.base import Groups, TaskData
from models.tasks.base import Task as Base
from models.training.interface import Arrays

if TYPE_CHECKING:
    from jaxtyping import Array, Key

    from models.metrics.accumulators import Metric
    from models.training.problem import Batch, Transforms

KINDS = ("samples",)


@dataclass(frozen=True, kw_only=True)
class Task(Base):
    """Independent rows, given with their gaps and reconstructed.

    With `hidden` at 0 every seen entry is given and scored: how much of the row survives a
    model's bottleneck. With a fraction of entries hidden, drawn anew in every training step
    and frozen in scoring, those alone are scored: imputation.

    Attributes:
        role: The array that is reconstructed.
        hidden: Fraction of the entries that a model is not given, and is scored on.
    """

    KINDS: ClassVar[tuple[str, ...]] = KINDS
    OBJECTIVE = ("mse", "minimize")
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"hidden": 0.25}

    role: str = static("values")
    hidden: float = static(0.0, low=0.0, high=0.9)

    @property
    def takes(self) -> tuple[str, ...]:
        """The rows, NaN where nothing was seen."""
        return (self.role,)

    @property
    def gives(self) -> tuple[str, ...]:
        """The rows, whole."""
        return (self.role,)

    @property
    def scored_mask(self) -> str:
        """Name of the mask of what is scored, in the batches of training and scoring."""
        return f"scored.{self.role}"

    def groups(self, part: Part, *, lead: int = 0, dtype: Any = None) -> Groups:
        """Every row of the part, one group."""
        from models.data.feeding import rows

        return rows(part, dtype=dtype)

    def transforms(self, data: TaskData) -> Transforms:
        """Draw which entries are hidden."""
        return (partial(_hide, role=self.role, hidden=self.hidden),)

    def given(self, batch: Batch, data: TaskData) -> Batch:
        """The seen entries that are not hidden, with the mask ``given.ROLE``."""
        values = batch[self.role]
        mask = batch[f"given.{self.role}"]
        return without(batch, self.role) | {
            self.role: shown(values, mask, data.statistics.mean[self.role]),
            f"given.{self.role}": mask,
        }

    def metrics(self, data: TaskData) -> tuple[Metric, ...]:
        """Errors over the scored entries, in standard deviations of each channel."""
        from models.metrics.masked import MaskedMetric

        std = data.statistics.std[self.role]
        return tuple(
            MaskedMetric(kind=kind, signal=self.role, mask=self.scored_mask, unit=std)
            for kind in ("mse", "mae")
        )

    def batch(self, arrays: Arrays, data: TaskData) -> dict[str, np.ndarray]:
        """The rows; what is NaN was not seen."""
        values = np.asarray(arrays[self.role])
        mask = np.isfinite(values)
        return {self.role: np.where(mask, values, 0.0), f"given.{self.role}": mask}

    def write_example(self, folder: Path, *, units: Units = SAME) -> Mapping[str, Any]:
        """Rows of 12 numbers in a plane of 2 dimensions, one in ten of them missing."""
        path = folder / "rows.hdf5"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng(0)
            plane = random.normal(size=(2, 12))
            with h5py.File(path, "w") as file:
                for part, count in {"train": 200, "valid": 50, "test": 50}.items():
                    hidden = random.normal(size=(count, 2))
                    values = hidden @ plane + 0.1 * random.normal(size=(count, 12))
                    values[random.random(values.shape) < 0.1] = np.nan
                    file[f"{part}/{self.role}"] = units.of(self.role, values)
        return {"path": str(path)}


def _hide(
    key: Key[Array, ""], batch: Batch, step: Array, *, role: str, hidden: float
) -> Batch:
    """Add the masks of what is given and of what is scored of one role.

    A batch of prediction says itself what is given; nothing of it is hidden.
    """
    import jax
    import jax.numpy as jnp

    del step
    values = batch[role]
    if f"given.{role}" in batch:
        return batch
    seen = batch.get(f"seen.{role}", jnp.ones(values.shape, bool))
    if not hidden:
        return batch | {f"given.{role}": seen, f"scored.{role}": seen}
    out = jax.random.bernoulli(key, hidden, values.shape)
    return batch | {f"given.{role}": seen & ~out, f"scored.{role}": seen & out}
