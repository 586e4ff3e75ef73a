"""Posterior: from observations to a distribution of the parameters behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import h5py
import numpy as np

from models.config import static
from models.data.kinds.base import Part
from models.tasks.arrays import SAME, Units, shown
from models.tasks.base import Groups, TaskData
from models.tasks.base import Task as Base
from models.training.interface import Arrays

if TYPE_CHECKING:
    from jaxtyping import Array

    from models.metrics.accumulators import Metric
    from models.training.problem import Batch

KINDS = ("samples",)


@dataclass(frozen=True, kw_only=True)
class Task(Base):
    """Draws from the posterior of simulated parameters, given their observations.

    A model gives `draws` draws ``[B, draws, P]`` for every row; they are scored against the
    row's true parameters by the energy score, which the true posterior minimises. A row
    may hold fewer observations than another: the rest of it is missing (NaN).

    Attributes:
        parameters: The role that is inferred.
        observations: The role that it is inferred from.
        draws: Draws a row, in scoring and in prediction.
    """

    KINDS: ClassVar[tuple[str, ...]] = KINDS
    OBJECTIVE = ("energy_score", "minimize")
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"draws": 16}

    parameters: str = static("theta")
    observations: str = static("x")
    draws: int = static(64, low=2)

    @property
    def takes(self) -> tuple[str, ...]:
        """The observations, NaN where there are none."""
        return (self.observations,)

    @property
    def gives(self) -> tuple[str, ...]:
        """Draws of the parameters."""
        return (self.parameters,)

    def groups(self, part: Part, *, lead: int = 0, dtype: Any = None) -> Groups:
        """Every row of the part, one group."""
        from models.data.feeding import rows

        return rows(part, dtype=dtype)

    def given(self, batch: Batch, data: TaskData) -> Batch:
        """The observations, with the mask ``given.ROLE`` of those that there are."""
        x = batch[self.observations]
        arrays = x.__array_namespace__()
        mask = batch.get(f"seen.{self.observations}")
        mask = arrays.ones(x.shape, dtype=bool) if mask is None else mask
        mean = data.statistics.mean[self.observations]
        return {
            self.observations: shown(x, mask, mean),
            f"given.{self.observations}": mask,
        }

    def metrics(self, data: TaskData) -> tuple[Metric, ...]:
        """The energy score, in standard deviations of the parameters."""
        import jax.numpy as jnp

        from models.metrics.accumulators import Average
        from models.metrics.energy import energy_score

        std = np.asarray(data.statistics.std[self.parameters])
        role = self.parameters

        def score(outputs: Mapping[str, Array], batch: Mapping[str, Array]) -> Array:
            unit = jnp.asarray(std, batch[role].dtype)
            truth = batch[role] / unit[None]
            return energy_score(outputs[role] / unit[None, None], truth)

        return (Average(name="energy_score", function=score),)

    def batch(self, arrays: Arrays, data: TaskData) -> dict[str, np.ndarray]:
        """The observations; NaN is none."""
        x = np.asarray(arrays[self.observations])
        mask = np.isfinite(x)
        return {
            self.observations: np.where(mask, x, 0.0),
            f"seen.{self.observations}": mask,
        }

    def write_example(self, folder: Path, *, units: Units = SAME) -> Mapping[str, Any]:
        """Means of two normal variables, behind one to five noisy observations of each."""
        path = folder / "simulations.hdf5"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng(0)
            with h5py.File(path, "w") as file:
                for part, count in {"train": 256, "valid": 64, "test": 64}.items():
                    theta = random.normal(size=(count, 2))
                    noise = 0.5 * random.normal(size=(count, 5, 2))
                    x = theta[:, None] + noise
                    sizes = random.integers(1, 6, size=count)
                    x[np.arange(5)[None] >= sizes[:, None]] = np.nan
                    for role, values in (
                        (self.parameters, theta),
                        (self.observations, x),
                    ):
                        file[f"{part}/{role}"] = units.of(role, values)
        return {"path": str(path)}
