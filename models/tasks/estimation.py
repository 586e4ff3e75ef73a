"""Estimation: from a window of inputs u to one vector y, such as a speed that is not measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from models.config import static
from models.data.kinds.base import Dataset, Part
from models.errors import DataError
from models.tasks.arrays import without
from models.tasks.base import Groups, TaskData
from models.tasks.sequences import SequenceTask
from models.training.excerpts import Comparison
from models.training.interface import Arrays

if TYPE_CHECKING:
    from models.training.problem import Batch, Transforms

KINDS = ("records",)


@dataclass(frozen=True, kw_only=True)
class Task(SequenceTask):
    """Windows of a record, for each of which a model gives one value of every output.

    Valid and test are cut into windows of `window` samples that begin every `step`; training
    windows have the length that the family's ``data.window`` says. What was measured is one
    value a window too: a model's outputs at the last sample are held against it.

    Attributes:
        window: Samples of a scored window.
        step: Samples between the starts of two of them.
        target: ``mean`` of y over a window, or its ``last`` sample; of what was seen. An output
            that is the same throughout a record (``constants``) is both.
    """

    KINDS: ClassVar[tuple[str, ...]] = KINDS
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"window": 20, "step": 10}
    SINGLE: ClassVar[bool] = True

    window: int = static(100, low=1)
    step: int = static(100, low=1)
    target: Literal["mean", "last"] = static("mean")

    @property
    def takes(self) -> tuple[str, ...]:
        """The inputs."""
        return ("u",)

    def check(self, dataset: Dataset) -> None:
        """Refuse data whose valid part has no record as long as a window.

        Raises:
            DataError: It has none, or the data does not fit a task on sequences.
        """
        super().check(dataset)
        longest = max(dataset.part("valid").lengths)
        if longest < self.window:
            raise DataError(
                f"a window has {self.window} samples, but the longest record of part "
                f"`valid` of `{dataset.reference.name}` has {longest}",
                hint='set `task={"name": "estimation", "window": …}` lower',
            )

    def groups(self, part: Part, *, lead: int = 0, dtype: Any = None) -> Groups:
        """Every window of the part, one group."""
        from models.data.feeding import cut_windows

        return cut_windows(part, self.window, self.step, dtype=dtype)

    def transforms(self, data: TaskData) -> Transforms:
        """One value of y a window instead of its samples ``[B, 1, n_y]``."""
        return (self._single,)

    def _single(self, key: Any, batch: Batch, step: Any) -> Batch:
        del key, step
        if "y" not in batch:  # a prediction has none
            return batch
        y, mask = self.value(batch["y"], batch.get("seen.y"))
        return batch | ({"y": y} if mask is None else {"y": y, "seen.y": mask})

    def value(self, y: Any, seen: Any = None) -> tuple[Any, Any]:
        """What is estimated of windows, and which of it was seen.

        Args:
            y: ``[B, T, n_y]``, JAX or numpy.
            seen: Of that shape; None for all of it.

        Returns:
            ``[B, 1, n_y]``, and a mask of that shape or None.
        """
        if self.target == "last":
            return y[:, -1:], None if seen is None else seen[:, -1:]
        if seen is None:
            return y.mean(axis=1, keepdims=True), None
        arrays = y.__array_namespace__()
        count = seen.sum(axis=1, keepdims=True)
        total = arrays.where(seen, y, arrays.zeros_like(y)).sum(axis=1, keepdims=True)
        some = arrays.where(count > 0, count, arrays.ones_like(count)).astype(y.dtype)
        return total / some, count > 0

    def given(self, batch: Batch, data: TaskData) -> Batch:
        """The inputs."""
        return without(self.given_inputs(batch, data), "y", "x")

    def read_out(self, outputs: Any) -> Any:
        """What the model says at the last sample ``[B, 1, n_y]``."""
        return outputs[:, -1:]

    def protocol(self, data: Mapping[str, Any]) -> tuple[int, tuple[int, ...]]:
        """Every window counts."""
        return 0, ()

    def batch(self, arrays: Arrays, data: TaskData) -> dict[str, np.ndarray]:
        """The inputs."""
        return self.inputs(arrays["u"], data)

    def arrays(
        self, outputs: Mapping[str, Any], batch: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """One vector a window: ``y`` ``[B, n_y]``."""
        return {"y": np.asarray(outputs["y"])[:, 0]}

    def comparison(
        self, outputs: Mapping[str, Any], batch: Batch, data: TaskData
    ) -> Comparison | None:
        """None: a single value is no picture."""
        return None

    def errors(
        self, predicted: Arrays, measured: Arrays, *, data: Mapping[str, Any]
    ) -> dict[str, float]:
        """The errors of a whole file, taken as one window."""
        if "y" not in measured or not len(measured["y"]):
            return {}
        y = np.asarray(measured["y"])[None]
        wanted, seen = self.value(np.nan_to_num(y), ~np.isnan(y))
        apart = (np.asarray(predicted["y"]) - wanted[0, 0])[seen[0, 0]]
        if not apart.size:
            return {}
        # Of one value a channel both are its size.
        return dict.fromkeys(("rmse", "mae"), float(np.abs(apart).mean()))

    def to_file(
        self, path: Path, predicted: Arrays, *, data: Mapping[str, Any], like: Path
    ) -> None:
        """Write the vector as signals of a single sample."""
        rows = {role: np.asarray(values)[None] for role, values in predicted.items()}
        super().to_file(path, rows, data=data, like=like)
