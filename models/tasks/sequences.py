"""Tasks on sequences of inputs and outputs: what they share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import h5py
import numpy as np

from models.errors import DataError, UserError
from models.tasks.arrays import SAME, Units, shown
from models.tasks.base import Task, TaskData
from models.training.interface import Arrays

if TYPE_CHECKING:
    from models.metrics.accumulators import Metric
    from models.training.problem import Batch

_EXAMPLE = {"train": (320, 270), "valid": (80,), "test": (80,)}


@dataclass(frozen=True, kw_only=True)
class SequenceTask(Task):
    """From inputs u, and perhaps some known outputs, to outputs y, file by file."""

    KINDS: ClassVar[tuple[str, ...]] = ("records",)
    INCOMPLETE: ClassVar[tuple[str, ...]] = ("y",)

    @property
    def gives(self) -> tuple[str, ...]:
        """The outputs."""
        return ("y",)

    @abstractmethod
    def protocol(self, data: Mapping[str, Any]) -> tuple[int, tuple[int, ...]]:
        """The first sample of a scored row that counts, and further starts to report.

        Args:
            data: The data reference in its JSON form.
        """

    def scored_from(self, data: TaskData) -> tuple[int, tuple[int, ...]]:
        """See `protocol`."""
        return self.protocol(data.reference.to_json())

    def read_out(self, outputs: Any) -> Any:
        """What counts of a model's outputs ``[B, T, n_y]``."""
        return outputs

    @property
    def known_outputs(self) -> int:
        """How many outputs at the start of a row a model is given."""
        return 0

    def metrics(self, data: TaskData) -> tuple[Metric, ...]:
        """Errors of y in physical units, from the first scored sample on."""
        from models.metrics import sequence_metrics

        start, also = self.scored_from(data)
        return sequence_metrics(start=start, also=also)

    def scores(
        self,
        found: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]],
        *,
        data: TaskData,
    ) -> dict[str, float]:
        """The metrics in float64."""
        start, also = self.scored_from(data)
        pairs = [
            pair
            for outputs, batch in found
            for pair in zip(np.asarray(outputs["y"]), _measured(batch), strict=True)
        ]
        return scores(pairs, start=start, also=also)

    def scored(self, batch: Batch, data: TaskData) -> np.ndarray:
        """The samples from the first one that counts."""
        start, _ = self.scored_from(data)
        shape = np.shape(batch["y"])
        late = (np.arange(shape[1]) >= start)[None, :, None]
        return np.broadcast_to(late, shape)

    def inputs(self, u: np.ndarray, data: TaskData) -> dict[str, np.ndarray]:
        """Inputs of a prediction; NaN was not seen where the data has such gaps."""
        if "u" not in data.reference.gaps:
            return {"u": u}
        seen = ~np.isnan(u)
        return {"u": np.where(seen, u, 0.0), "seen.u": seen}

    def given_inputs(self, batch: Batch, data: TaskData) -> Batch:
        """The batch with the mean of the train part where no input was seen."""
        if "seen.u" not in batch:
            return dict(batch)
        kept = {name: a for name, a in batch.items() if name != "seen.u"}
        u = shown(batch["u"], batch["seen.u"], data.statistics.mean["u"])
        return kept | {"u": u, "given.u": batch["seen.u"]}

    def errors(
        self, predicted: Arrays, measured: Arrays, *, data: Mapping[str, Any]
    ) -> dict[str, float]:
        """The metrics of one whole sequence; empty where nothing of it can be scored."""
        start, also = self.protocol(data)
        if "y" not in measured:
            return {}
        seen = ~np.isnan(measured["y"][max(start, *also, 0) :]).all(axis=0)
        if not seen.all():  # some channel was never measured where it would be scored
            return {}
        return scores([(predicted["y"], measured["y"])], start=start, also=also)

    def measured_in(self, metric: str) -> str | None:
        """Errors are in the unit of the outputs; ratios have none."""
        plain = metric in ("rmse", "mae") or metric.startswith("rmse_")
        return "y" if plain else None

    def write_example(self, folder: Path, *, units: Units = SAME) -> Mapping[str, Any]:
        """A stable second-order filter of white noise, squeezed by a tanh.

        Two train files of different length, so that mixing across files would show, and
        nothing that a linear model fits exactly.
        """
        if not (folder / "test").is_dir():
            random = np.random.default_rng(0)
            for part, lengths in _EXAMPLE.items():
                (folder / part).mkdir(parents=True, exist_ok=True)
                for number, length in enumerate(lengths):
                    u = random.normal(size=(length, 1))
                    y = _respond(u)
                    with h5py.File(
                        folder / part / f"{part}_{number}.hdf5", "w"
                    ) as file:
                        file.attrs["fs"] = 100.0
                        file["u0"] = units.of("u", u[:, 0])
                        file["y0"] = units.of("y", y)
        return {"path": str(folder)}


def same_times(arrays: Arrays) -> None:
    """Refuse arrays ``[B, T, …]`` of different batch sizes.

    Raises:
        UserError: The batch sizes differ.
    """
    sizes = {role: len(values) for role, values in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise UserError(
            "all arrays of a prediction have the same batch size, got "
            + ", ".join(f"`{role}` {size}" for role, size in sizes.items())
        )


def scores(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], *, start: int, also: tuple[int, ...]
) -> dict[str, float]:
    """The metrics of `models.metrics.sequence`, in float64 and without JAX.

    Args:
        pairs: Predicted and measured ``[T, n_y]`` of every sequence, in physical units;
            measured values that are NaN are left out.
        start: Samples at the start of every sequence that are not scored.
        also: Further starts, for ``rmse_from_5`` and so on.

    Raises:
        DataError: A sequence has no sample left to score.
    """
    pairs = list(pairs)
    shortest = min(len(y) for _, y in pairs)
    if shortest <= max(start, *also, 0):
        raise DataError(
            f"scores start at sample {max(start, *also, 0)}, but a sequence has only "
            f"{shortest} samples"
        )

    def errors(first: int) -> tuple[np.ndarray, np.ndarray]:
        seen = np.concatenate([~np.isnan(y[first:]) for _, y in pairs])
        return np.concatenate([(p - y)[first:] for p, y in pairs]), seen

    target = np.concatenate([y[start:] for _, y in pairs])
    with np.errstate(all="ignore"):  # an unstable model's infinities are its score
        error, seen = errors(start)
        rmse = np.sqrt(_mean(error**2, seen))
        ratio = rmse / np.sqrt(_mean((target - _mean(target, seen)) ** 2, seen))
        out = {
            "rmse": rmse.mean(),
            "mae": _mean(np.abs(error), seen).mean(),
            "nrmse": ratio.mean(),
            "fit": (100 * (1 - ratio)).mean(),
            "r2": (1 - ratio**2).mean(),
        }
        for first in also:
            error, seen = errors(first)
            out[f"rmse_from_{first}"] = np.sqrt(_mean(error**2, seen)).mean()
    return {name: float(value) for name, value in out.items()}


def _mean(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Per channel the mean of what was seen ``[T, C]``; NaN of nothing."""
    if seen.all():
        return np.asarray(values.mean(axis=0))
    return np.asarray(values.sum(axis=0, where=seen) / seen.sum(axis=0))


def _measured(batch: Mapping[str, Any]) -> np.ndarray:
    """The outputs of a scored batch ``[B, T, n_y]``, NaN where none was seen."""
    y = np.asarray(batch["y"])
    return np.where(batch["seen.y"], y, np.nan) if "seen.y" in batch else y


def _respond(u: np.ndarray) -> np.ndarray:
    """The system of the example: ``[T, 1]`` to ``[T]``."""
    y = np.zeros(len(u))
    before, earlier = 0.0, 0.0
    for t, value in enumerate(u[:, 0]):
        state = np.tanh(value) * 0.4 + 0.9 * before - 0.3 * earlier
        y[t] = np.tanh(state)
        before, earlier = state, before
    return y
