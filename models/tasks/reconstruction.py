"""Reconstruction: rows with gaps, of which some entries may be hidden, are given back whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import h5py
import numpy as np

from models.config import static
from models.data.kinds.base import Part
from models.errors import DataError
from models.tasks.arrays import SAME, Units, shown, without
from models.tasks.base import Groups, TaskData
from models.tasks.base import Task as Base
from models.training.interface import Arrays

if TYPE_CHECKING:
    from jaxtyping import Array, Key

    from models.metrics.accumulators import Metric
    from models.training.problem import Batch, Transforms

KINDS = ("samples", "windows")
HOLES = ("entries", "blocks")
"""What is hidden of scored windows beside, to see how well it is filled in."""
_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Task(Base):
    """Independent rows or windows, given with their gaps and reconstructed.

    With `hidden` at 0 every seen entry is given and scored: how much of the row survives a
    model's bottleneck. With a fraction of entries hidden, drawn anew in every training step
    and frozen in scoring, those alone are scored: imputation.

    Attributes:
        role: The array that is reconstructed.
        hidden: Fraction of the entries that a model is not given, and is scored on.
        block: Time steps of a block.
    """

    KINDS: ClassVar[tuple[str, ...]] = KINDS
    OBJECTIVE = ("mse", "minimize")
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"hidden": 0.25}

    role: str = static("values")
    hidden: float = static(0.0, low=0.0, high=0.9)
    block: int = static(6, low=1)

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
        """Every row of the part, or every window with the masks of its holes; one group."""
        from models.data.feeding import full_sequences, rows

        if part.reference.kind != "windows":
            return rows(part, dtype=dtype)
        (group,) = full_sequences(part, dtype=dtype)
        return (group | self._holes(part, group),)

    def _holes(self, part: Part, group: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """``entries.ROLE`` and ``blocks.ROLE``: which seen entries are hidden in turn."""
        values = group[self.role]
        _, length, channels = values.shape
        if length <= self.block:
            raise DataError(
                f"a hidden block must be shorter than a window, got {self.block} time steps "
                f"and windows of {length}",
                hint='lower it: task={"name": "reconstruction", "block": …}',
            )
        count = max(1, round(_SHARE * length / self.block))
        seen = group.get(f"seen.{self.role}", np.ones(values.shape, bool))
        entries, blocks = [], []
        for name, mask in zip(part.names, seen, strict=True):
            digest = hashlib.sha256(name.encode() + np.packbits(mask).tobytes())
            random = np.random.default_rng(list(digest.digest()))
            entries.append(random.random((length, channels)) < _SHARE)
            starts = random.integers(0, length - self.block + 1, (count, 1, channels))
            when = np.arange(length)[None, :, None]
            inside = (when >= starts) & (when < starts + self.block)
            blocks.append(inside.any(axis=0))
        found = zip(HOLES, (entries, blocks), strict=True)
        return {f"{hole}.{self.role}": np.stack(masks) & seen for hole, masks in found}

    def tries(
        self, given: Mapping[str, Any], data: TaskData
    ) -> dict[str, dict[str, Any]]:
        """A given batch by the name of what becomes of it: as it is, and with every hole.

        Args:
            given: What `given` left of a batch; of a prediction it has no holes.
            data: Of the task.
        """
        values, mask = given[self.role], given[f"given.{self.role}"]
        found = {self.role: dict(given)}
        for hole in HOLES:
            name = f"{hole}.{self.role}"
            if name in given:
                left = mask & ~given[name]
                mean = data.statistics.mean[self.role]
                shown_ = shown(values, left, mean)
                found[name] = {self.role: shown_, f"given.{self.role}": left}
        return found

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
        """Errors over the scored entries, in standard deviations of each channel.

        Of windows also ``rmse.CHANNEL`` in physical units, and ``mae`` and ``mse`` over the
        entries of holes: ``mae_entries``, ``mse_blocks``, ….
        """
        from models.metrics.masked import MaskedMetric

        std = data.statistics.std[self.role]
        found = [
            MaskedMetric(kind=kind, signal=self.role, mask=self.scored_mask, unit=std)
            for kind in ("mse", "mae")
        ]
        if data.reference.kind != "windows":
            return tuple(found)
        found += [
            MaskedMetric(
                kind="rmse",
                signal=self.role,
                mask=self.scored_mask,
                channel=channel,
                name=f"rmse.{name}",
            )
            for channel, name in enumerate(_channel_names(data, self.role))
        ]
        found += [
            MaskedMetric(
                kind=kind,
                signal=self.role,
                mask=f"{hole}.{self.role}",
                output=f"{hole}.{self.role}",
                unit=std,
                name=f"{kind}_{hole}",
            )
            for hole in HOLES
            for kind in ("mae", "mse")
        ]
        return tuple(found)

    def measured_in(self, metric: str) -> str | None:
        """The errors of single channels are in physical units."""
        return self.role if metric.startswith("rmse.") else None

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

    def write_groups(self, folder: Path, *, units: Units = SAME) -> Mapping[str, Any]:
        """The rows of `write_example`, their columns in three groups of unequal size."""
        request = self.write_example(folder, units=units)
        groups = {"few": [0, 7], "some": [1, 3, 5, 9], "many": [2, 4, 6, 8, 10, 11]}
        return {**request, "arrays": {self.role: self.role}, "groups": groups}

    def write_windows(self, folder: Path, *, units: Units = SAME) -> Mapping[str, Any]:
        """Windows of 24 time steps and 2 channels: noisy waves, one in ten values missing.

        Those of train follow one another, eight in each of ten series. As `write_example`.
        """
        path = folder / "windows.hdf5"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng(0)
            with h5py.File(path, "w") as file:
                for part, count in {"train": 80, "valid": 24, "test": 24}.items():
                    long = 8 if part == "train" else 1
                    waves = [_wave(random, 24 * long) for _ in range(count // long)]
                    values = np.concatenate(waves).reshape(count, 24, 2)
                    values[random.random(values.shape) < 0.1] = np.nan
                    file[f"{part}/{self.role}"] = units.of(self.role, values)
                    file[f"{part}/series"] = np.arange(count) // long
                    file[f"{part}/start"] = np.arange(count) % long * 24
        joined = {"kind": "windows", "series": "series", "start": "start"}
        return {"path": str(path), "arrays": {self.role: self.role}, **joined}


def _wave(random: np.random.Generator, length: int) -> np.ndarray:
    """``[length, 2]``: two waves of one period, of random phase and size."""
    when = np.arange(length) / random.uniform(8.0, 16.0)
    waves = [np.sin(2 * np.pi * (when + random.random())) for _ in range(2)]
    sizes = random.normal(size=2) + np.array([0.0, 1.0])
    return np.stack(waves, axis=1) * sizes + 0.1 * random.normal(size=(length, 2))


def _channel_names(data: TaskData, role: str) -> tuple[str, ...]:
    """As the data names its channels, else their numbers."""
    numbers = tuple(map(str, range(data.channels[role])))
    names: tuple[str, ...] = data.reference.settings.get("channels", numbers)
    return names


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
