"""Prediction: u throughout and the first y are known; the y behind them are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from models.config import static
from models.data.kinds.base import Dataset, Part
from models.data.reference import Reference
from models.errors import DataError, UserError
from models.tasks.arrays import shown, without
from models.tasks.base import Groups, TaskData
from models.tasks.sequences import SequenceTask, same_times
from models.training.interface import Arrays

if TYPE_CHECKING:
    from models.training.problem import Batch

KINDS = ("records",)
GIVEN = "given.y"
"""Name of the mask ``[B, T, 1]`` that says which outputs a model is given."""


@dataclass(frozen=True, kw_only=True)
class Task(SequenceTask):
    """Windows of a record, each with its first outputs known.

    Valid and test are cut into windows that begin every `horizon` samples; within each, y
    behind the known samples is scored, in physical units. Training windows have the length
    that the family's ``data.window`` says.

    Attributes:
        known: Outputs at the start of a window that a model is given.
        horizon: Samples behind them that it has to predict, and between two windows.
    """

    KINDS: ClassVar[tuple[str, ...]] = KINDS
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"known": 8, "horizon": 24}

    known: int = static(50, low=1)
    horizon: int = static(100, low=1)

    @property
    def takes(self) -> tuple[str, ...]:
        """The inputs, and the known outputs."""
        return ("u", "y")

    @property
    def window(self) -> int:
        """Samples of a scored window."""
        return self.known + self.horizon

    @property
    def known_outputs(self) -> int:
        """How many outputs at the start of a window a model is given."""
        return self.known

    def check(self, dataset: Dataset) -> None:
        """Refuse data whose valid part has no record as long as a window.

        Raises:
            DataError: It has none, or the data does not fit a task on sequences.
        """
        super().check(dataset)
        longest = max(dataset.part("valid").lengths)
        if longest < self.window:
            raise DataError(
                f"a window has {self.known} known samples and {self.horizon} to predict, "
                f"but the longest record of part `valid` of `{dataset.reference.name}` "
                f"has {longest}",
                hint='set `task={"name": "prediction", "known": …, "horizon": …}` lower',
            )

    def groups(self, part: Part, *, lead: int = 0, dtype: Any = None) -> Groups:
        """Every window of the part, one group."""
        from models.data.feeding import cut_windows

        return cut_windows(part, self.window, self.horizon, dtype=dtype)

    def given(self, batch: Batch, data: TaskData) -> Batch:
        """The inputs, and the outputs up to the last known one."""
        y = batch["y"]
        mask = batch.get(GIVEN)
        if mask is None:
            early = (np.arange(y.shape[1]) < self.known)[None, :, None]
            mask = y.__array_namespace__().broadcast_to(early, (*y.shape[:2], 1))
        if "seen.y" in batch:
            mask = mask & batch["seen.y"].all(axis=-1, keepdims=True)
        return {
            **without(self.given_inputs(batch, data), "y", "x", "movement"),
            "y": shown(y, mask, data.statistics.mean["y"]),
            GIVEN: mask,
        }

    def protocol(self, data: Mapping[str, Any]) -> tuple[int, tuple[int, ...]]:
        """Behind the known outputs."""
        return self.known, ()

    def batch(self, arrays: Arrays, data: TaskData) -> dict[str, np.ndarray]:
        """The inputs as they are, y filled up to their length, and the mask of what is known."""
        same_times(arrays)
        known, length = arrays["y"].shape[1], arrays["u"].shape[1]
        if not 1 <= known < length:
            raise UserError(
                "a prediction needs at least one known output and fewer than inputs, got "
                f"`y` of {known} and `u` of {length} samples",
                hint="pass the first samples of y, and u over all that is to be predicted",
            )
        return self._filled(arrays["u"], arrays["y"], data)

    def piece(self, arrays: Arrays, data: TaskData) -> dict[str, np.ndarray]:
        """As `batch`, with any number of outputs known at its start: none, or all of them."""
        same_times(arrays)
        u = arrays["u"]
        y = arrays.get("y", np.zeros((len(u), 0, data.channels["y"]), u.dtype))
        if y.shape[1] > u.shape[1]:
            raise UserError(
                "a piece has no more known outputs than inputs, got "
                f"`y` of {y.shape[1]} and `u` of {u.shape[1]} samples"
            )
        return self._filled(u, y, data)

    def _filled(
        self, u: np.ndarray, y: np.ndarray, data: TaskData
    ) -> dict[str, np.ndarray]:
        """The inputs, y filled up to their length, and the mask of what is known."""
        known = y.shape[1]
        seen = np.ones((*y.shape[:2], 1), bool)
        if "y" in data.reference.gaps:
            seen = ~np.isnan(y).any(axis=-1, keepdims=True)
        whole = np.zeros((*u.shape[:2], y.shape[2]), y.dtype)
        whole[:, :known] = np.where(seen, y, 0.0)
        mask = np.zeros((*u.shape[:2], 1), bool)
        mask[:, :known] = seen
        return {**self.inputs(u, data), "y": whole, GIVEN: mask}

    def arrays(self, outputs: Any, batch: Any) -> dict[str, np.ndarray]:
        """All of y: the known samples as they were given, then predictions."""
        return {"y": np.where(batch[GIVEN], batch["y"], np.asarray(outputs["y"]))}

    def from_file(
        self, path: Path, *, data: Mapping[str, Any]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """As any task; outputs behind the known ones may be missing.

        Raises:
            DataError: Nothing is left to predict, or an output that is to be known is missing.
        """
        given, measured = super().from_file(path, data=data)
        length = len(given["u"])
        if self.known >= length:
            raise DataError(
                f"the first {self.known} outputs of {path} are to be known, which must be "
                f"fewer than inputs, got {length} samples",
                hint="`--known N` takes fewer of them as known, or give a longer file",
            )
        missing = np.isnan(given["y"]).any(axis=-1)
        if missing.any() and "y" not in Reference.from_json(data).gaps:
            raise DataError(
                f"the first {self.known} outputs of {path} are to be known, but there is none "
                f"at sample {int(missing.argmax())}",
                hint="`--known N` takes fewer of them as known, or fill what is missing",
            )
        return given, measured

    def given_of(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """The inputs, and the first outputs."""
        return {"u": arrays["u"], "y": arrays["y"][: self.known]}
