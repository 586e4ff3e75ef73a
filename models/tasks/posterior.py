"""Posterior: from observations to a distribution of the parameters behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import h5py
import numpy as np

from models.config import static
from models.data.kinds.base import Dataset, Part
from models.errors import ConfigError, DataError
from models.tasks.arrays import SAME, Units, shown
from models.tasks.base import Groups, TaskData
from models.tasks.base import Task as Base
from models.training.interface import Arrays, Run

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

    In a hierarchy every row is a number of *sites*. Each has parameters of its own beside those
    that all of them share, and observations of its own; a row of fewer sites than the largest
    misses those of the others.

    Attributes:
        parameters: The role that is inferred, ``[P]`` a row.
        local: The role of what each site has of its own, ``[S, L]`` a row, inferred as well;
            None without sites.
        observations: The role that it is inferred from; with sites ``[S, …]``.
        inputs: The role of what is known of every observation before it is made, such as its
            time, ``[…, F]`` beside observations ``[…, C]``; None for nothing.
        draws: Draws a row in prediction.
        scored_draws: Draws a row in scoring; the score's expectation is the same for any
            number of them. 0 scores draws of the test part alone, for flows whose draws cost
            more than their training; an objective is then another metric, such as
            ``loss.velocity``.
        ranked: Rows of the test part whose truths are ranked among draws, at most.
        compared: Draws that are held against as many from an exact posterior, at most.
    """

    KINDS: ClassVar[tuple[str, ...]] = KINDS
    OBJECTIVE = ("energy_score", "minimize")
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"draws": 16}
    APPRAISED: ClassVar[tuple[str, ...]] = ("rank_p", "coverage_50", "tarp", "tarp_p")

    parameters: str = static("theta")
    local: str | None = static(None)
    observations: str = static("x")
    inputs: str | None = static(None)
    draws: int = static(64, low=2)
    scored_draws: int = static(2, low=0)
    ranked: int = static(500, low=10)
    compared: int = static(2000, low=50)

    def validate(self) -> None:
        """Refuse a single draw: a score needs pairs of them."""
        if self.scored_draws == 1:
            raise ConfigError(
                "`scored_draws` must be 0 or at least 2, got 1: a score needs pairs of draws",
                hint="2 are enough, 0 leaves the score to the test part",
            )

    @property
    def takes(self) -> tuple[str, ...]:
        """The observations, NaN where there are none, and what is known of each."""
        return (self.observations, *((self.inputs,) if self.inputs else ()))

    @property
    def gives(self) -> tuple[str, ...]:
        """Draws of the parameters, shared ones first."""
        return (self.parameters, *((self.local,) if self.local else ()))

    def check(self, dataset: Dataset) -> None:
        """Refuse what has other axes than parameters, sites and observations have.

        Raises:
            DataError: The kind is another, a role is missing, or shapes do not fit together.
        """
        super().check(dataset)
        shapes = dataset.part("train").shapes
        of = {role: shapes[role] for role in (*self.gives, *self.takes)}
        named = ", ".join(f"`{role}` {list(shape)}" for role, shape in of.items())
        x = of[self.observations]
        if len(of[self.parameters]) != 1:
            raise DataError(
                f"a row of parameters is one vector, got {named}",
                hint="parameters of every site are the role `local` of the task",
            )
        if self.parameters in dataset.reference.gaps:
            raise DataError(
                f"every row needs the parameters it was simulated from, but values of "
                f"`{self.parameters}` in `{dataset.reference.name}` are missing (NaN)",
                hint="leave those rows out; only observations may be missing, and sites",
            )
        if self.local and (len(of[self.local]) != 2 or of[self.local][0] != x[0]):
            raise DataError(
                "with sites, parameters of each are [site, parameter] and observations "
                f"[site, …] of as many sites, got {named}",
                hint="pad rows of fewer sites with NaN",
            )
        if self.inputs and of[self.inputs][:-1] != x[:-1]:
            raise DataError(
                f"what is known of observations has their shape but for the last axis, got "
                f"{named}",
                hint="write one vector of inputs beside every vector of observations",
            )

    def groups(self, part: Part, *, lead: int = 0, dtype: Any = None) -> Groups:
        """Every row of the part, one group."""
        from models.data.feeding import rows

        return rows(part, dtype=dtype)

    def given(self, batch: Batch, data: TaskData) -> Batch:
        """The observations, with the mask ``given.ROLE`` of those that there are.

        A row with a ``number`` is drawn for with randomness of its own.
        """
        found = {"number": batch["number"]} if "number" in batch else {}
        for role in self.takes:
            values = batch[role]
            arrays = values.__array_namespace__()
            mask = batch.get(f"seen.{role}")
            mask = arrays.ones(values.shape, dtype=bool) if mask is None else mask
            found[role] = shown(values, mask, data.statistics.mean[role])
            found[f"given.{role}"] = mask
        return found

    def vector(self, arrays: Mapping[str, Any]) -> Any:
        """All parameters side by side: shared ones, then those of site after site.

        Args:
            arrays: By role ``[…, P]`` and, with sites, ``[…, S, L]``, JAX or numpy.

        Returns:
            ``[…, P + S·L]``.
        """
        shared = arrays[self.parameters]
        if self.local is None:
            return shared
        own = arrays[self.local]
        flat = own.reshape(*own.shape[:-2], own.shape[-2] * own.shape[-1])
        return shared.__array_namespace__().concatenate([shared, flat], axis=-1)

    def parted(self, vector: Any, data: TaskData) -> dict[str, Any]:
        """The inverse of `vector`, by role.

        Args:
            vector: ``[…, P + S·L]``.
            data: Of the task.
        """
        if self.local is None:
            return {self.parameters: vector}
        shared = data.shapes[self.parameters][0]
        own = vector[..., shared:]
        shape = (*own.shape[:-1], *data.shapes[self.local])
        return {
            self.parameters: vector[..., :shared],
            self.local: own.reshape(shape),
        }

    def there(self, batch: Mapping[str, Any]) -> Any:
        """Which of `vector` a row has ``[B, P + S·L]``: a site that is missing has none."""
        arrays = batch[self.parameters].__array_namespace__()
        whole = {r: arrays.ones(batch[r].shape, dtype=bool) for r in self.gives}
        return self.vector({r: batch.get(f"seen.{r}", m) for r, m in whole.items()})

    def scale(self, data: TaskData) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of `vector` in the train part ``[P + S·L]``."""
        statistics = data.statistics
        shapes = {role: data.shapes[role] for role in self.gives}
        mean, std = (
            self.vector({r: np.broadcast_to(of[r], s) for r, s in shapes.items()})
            for of in (statistics.mean, statistics.std)
        )
        return np.asarray(mean), np.asarray(std)

    def metrics(self, data: TaskData) -> tuple[Metric, ...]:
        """The energy score, in standard deviations of the parameters."""
        if not self.scored_draws:
            return ()
        import jax.numpy as jnp

        from models.metrics.accumulators import Average
        from models.metrics.energy import energy_score

        _, std = self.scale(data)

        def score(outputs: Mapping[str, Array], batch: Mapping[str, Array]) -> Array:
            truth, draws, there = (
                self.vector(batch),
                self.vector(outputs),
                self.there(batch),
            )
            unit = jnp.asarray(std, truth.dtype)
            truth = jnp.where(there, truth / unit[None], 0)
            draws = jnp.where(there[:, None], draws / unit[None, None], 0)
            return energy_score(draws, truth)

        return (Average(name="energy_score", function=score),)

    def appraise(self, run: Run, data: TaskData) -> dict[str, float]:
        """Is it calibrated, and can it be told from the exact posterior?

        See `models.tasks.appraisal`.
        """
        from models.tasks.appraisal import appraise

        return appraise(run, task=self, data=data)

    def batch(self, arrays: Arrays, data: TaskData) -> dict[str, np.ndarray]:
        """The observations and what is known of them; NaN is none."""
        found = {}
        for role in self.takes:
            values = np.asarray(arrays[role])
            mask = np.isfinite(values)
            found |= {role: np.where(mask, values, 0.0), f"seen.{role}": mask}
        return found

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

    def write_sites(self, folder: Path, *, units: Units = SAME) -> Mapping[str, Any]:
        """One to three sites, each a normal variable whose mean is drawn around a shared one.

        Three observations of each, with a standard deviation that is known of every one.
        """
        assert self.local and self.inputs, "a task with sites and inputs"
        path = folder / "sites.hdf5"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng(0)
            with h5py.File(path, "w") as file:
                for part, count in {"train": 256, "valid": 64, "test": 64}.items():
                    shared = random.normal(size=(count, 1))
                    own = shared[:, None] + 0.5 * random.normal(size=(count, 3, 1))
                    spread = random.uniform(0.1, 1.0, size=(count, 3, 3, 1))
                    x = own[:, :, None] + spread * random.normal(size=spread.shape)
                    sites = random.integers(1, 4, size=count)
                    for array in (own, spread, x):
                        array[np.arange(3)[None] >= sites[:, None]] = np.nan
                    for role, values in (
                        (self.parameters, shared),
                        (self.local, own),
                        (self.observations, x),
                        (self.inputs, spread),
                    ):
                        file[f"{part}/{role}"] = units.of(role, values)
        return {"path": str(path)}
