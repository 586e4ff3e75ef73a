"""Forecast: of one long table in time order, the past is given and the next rows are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from models.config import static
from models.data.kinds.base import Dataset, Part
from models.errors import ConfigError, DataError, UserError
from models.tasks.arrays import SAME, Units, shown, without
from models.tasks.base import Groups, TaskData
from models.tasks.base import Task as Base
from models.training.interface import Arrays

if TYPE_CHECKING:
    from models.metrics.accumulators import Metric
    from models.training.problem import Batch, Transforms

KINDS = ("series",)
GIVEN, SCORED = "given.y", "scored.y"


@dataclass(frozen=True, kw_only=True)
class Task(Base):
    """The next `horizon` rows of every column.

    A family's ``data.window`` is its look-back and the horizon together. Scores are taken
    at every row behind which a whole horizon lies in the part, whatever the look-back: a
    model may look back into the rows before the part.

    Attributes:
        horizon: Rows that are predicted.
        calendar: Whether a model is told when every row is, those of the horizon included:
            role t of a series (`models.data.kinds.series`).

    Source of the protocol: Zhou et al. 2021, "Informer"; errors are in standard deviations
    of the train part.
    """

    KINDS: ClassVar[tuple[str, ...]] = KINDS
    OBJECTIVE = ("mse", "minimize")
    EXAMPLE: ClassVar[Mapping[str, Any]] = {"horizon": 4, "calendar": True}

    horizon: int = static(96, low=1)
    calendar: bool = static(False)

    @property
    def takes(self) -> tuple[str, ...]:
        """The rows before the forecast, and perhaps when they are."""
        return ("y", "t") if self.calendar else ("y",)

    @property
    def gives(self) -> tuple[str, ...]:
        """The rows of the forecast."""
        return ("y",)

    def check(self, dataset: Dataset) -> None:
        """Refuse data whose valid part is shorter than the horizon, or train no longer.

        Raises:
            DataError: It is, or the data does not fit.
        """
        if self.calendar and not dataset.reference.roles.get("t"):
            raise DataError(
                f"a forecast with `calendar` needs to know when rows are, and "
                f"`{dataset.reference.name}` was prepared without",
                hint='ask for it: data={"path": …, "calendar": true}, of a table with a '
                "column of dates",
            )
        super().check(dataset)
        # To learn from, a horizon needs a row before it.
        for part, least in (("valid", self.horizon), ("train", self.horizon + 1)):
            rows = dataset.part(part).lengths[0]
            if rows < least:
                raise DataError(
                    f"a forecast of {self.horizon} rows does not fit into the {rows} rows of "
                    f"part `{part}` of `{dataset.reference.name}`",
                    hint='set `task={"name": "forecast", "horizon": …}` lower',
                )

    def lead(self, batching: Any) -> int:
        """The look-back: a window less the horizon.

        Raises:
            ConfigError: Nothing is left of a window to look back on.
        """
        if batching.window <= self.horizon:
            raise ConfigError(
                f"`data.window` must be longer than the horizon of {self.horizon}, got "
                f"{batching.window}",
                hint="a window is the look-back and the horizon together",
            )
        look_back: int = batching.window - self.horizon
        return look_back

    def groups(self, part: Part, *, lead: int = 0, dtype: Any = None) -> Groups:
        """A window for every row of the part behind which a whole horizon lies.

        Of train, before which nothing may lie, those that have a whole look-back.

        Raises:
            DataError: No window fits, or the table has fewer rows before a part to be scored
                than are looked back on: other targets would be scored.
        """
        from models.data.feeding import cut_windows

        if part.name != "train" and lead > part.before:
            most = part.before + self.horizon
            raise DataError(
                f"a look-back of {lead} rows begins before the table does: part "
                f"`{part.name}` of `{part.reference.name}` has {part.before} before it",
                hint=f"set `data.window` to at most {most}",
            )
        return cut_windows(
            part,
            lead + self.horizon,
            1,
            before=lead,
            dtype=dtype,
        )

    def given(self, batch: Batch, data: TaskData) -> Batch:
        """The look-back, with the mask ``given.y`` ``[B, T, C]``, and all of t."""
        y = batch["y"]
        mask = ~self._late(y)
        if "seen.y" in batch:
            mask = mask & batch["seen.y"]
        hidden = ("y",) if self.calendar else ("y", "t")
        return without(batch, *hidden) | {
            "y": shown(y, mask, data.statistics.mean["y"]),
            GIVEN: mask,
        }

    def transforms(self, data: TaskData) -> Transforms:
        """Say what is scored: the horizon, as far as it was seen."""
        return (self._score,)

    def metrics(self, data: TaskData) -> tuple[Metric, ...]:
        """Errors over the horizon: in standard deviations of each column, and physical."""
        from models.metrics.masked import MaskedMetric

        std = data.statistics.std["y"]
        published = tuple(
            MaskedMetric(kind=kind, signal="y", mask=SCORED, unit=std)
            for kind in ("mse", "mae")
        )
        physical = tuple(
            MaskedMetric(kind=kind, signal="y", mask=SCORED, name=f"physical_{kind}")
            for kind in ("rmse", "mae")
        )
        return published + physical

    def measured_in(self, metric: str) -> str | None:
        """The physical ones are in the unit of the columns, where that is one."""
        return "y" if metric.startswith("physical_") else None

    def batch(self, arrays: Arrays, data: TaskData) -> dict[str, np.ndarray]:
        """The look-back and an empty horizon; NaN was not seen.

        The times of the horizon may be left out: they go on as those before.

        Raises:
            UserError: There are other times than of the look-back, or of both, or one is
                missing.
        """
        y = np.asarray(arrays["y"])
        rest = np.full((len(y), self.horizon, y.shape[2]), np.nan, y.dtype)
        whole = np.concatenate([y, rest], axis=1)
        seen = np.isfinite(whole)
        batch = {"y": np.where(seen, whole, 0.0), "seen.y": seen}
        if self.calendar:
            batch["t"] = self._times(np.asarray(arrays["t"]), y.shape[:2])
        return batch

    def arrays(self, outputs: Any, batch: Any) -> dict[str, np.ndarray]:
        """The horizon."""
        return {"y": np.asarray(outputs["y"])[:, -self.horizon :]}

    def write_example(self, folder: Path, *, units: Units = SAME) -> Mapping[str, Any]:
        """Two columns of daily cycles with noise, hour by hour, some values missing."""
        path = folder / "table.csv"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng(0)
            hours = np.arange(480)
            daily = 2 * np.pi * hours / 24
            clean = np.stack(
                [np.sin(daily), np.cos(daily) + 0.3 * np.sin(2 * daily)], 1
            )
            values = units.of("y", clean + 0.1 * random.normal(size=clean.shape))
            values[random.random(values.shape) < 0.02] = np.nan
            start = np.datetime64("2020-01-01T00:00:00")
            lines = ["date,first,second"]
            for hour, row in zip(hours, values, strict=True):
                when = str(start + np.timedelta64(int(hour), "h")).replace("T", " ")
                cells = ["" if np.isnan(v) else repr(float(v)) for v in row]
                lines.append(",".join([when, *cells]))
            path.write_text("\n".join(lines) + "\n")
        return {"path": str(path), "shares": [0.6, 0.2, 0.2], "calendar": True}

    def _times(self, times: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Times ``[B, T + horizon, 2]`` of rows that are given and wanted."""
        rows, length = shape
        if not np.isfinite(times).all():
            raise UserError(
                "`t` must tell when every row is, and holds what is no number",
                hint="give days since 1970 and seconds of the day, of rows without values too",
            )
        if times.shape[:2] == (rows, length + self.horizon):
            return times
        if times.shape[:2] != shape or length < 2:
            raise UserError(
                f"`t` must tell of the {length} rows of `y`, at least 2, and may of the "
                f"{self.horizon} of the horizon behind them, got shape {times.shape}",
                hint="give days since 1970 and seconds of the day, [time, 2]",
            )
        exact = times.astype(np.float64)
        seconds = exact[..., 0] * 86400 + exact[..., 1]
        step = seconds[:, -1:] - seconds[:, -2:-1]
        late = seconds[:, -1:] + step * np.arange(1, self.horizon + 1)
        days = np.floor(late / 86400)
        behind = np.stack([days, late - days * 86400], axis=-1)
        return np.concatenate([times, behind.astype(times.dtype)], axis=1)

    def _score(self, key: Any, batch: Batch, step: Any) -> Batch:
        del key, step
        y = batch["y"]
        mask = self._late(y)
        if "seen.y" in batch:
            mask = mask & batch["seen.y"]
        return batch | {SCORED: mask}

    def _late(self, y: Any) -> Any:
        """Which entries of ``[B, T, C]`` lie in the horizon.

        For compiled code behind a barrier: XLA would compute the mask of a whole batch, and
        all that follows from it, while it compiles (16 s for 597 windows of 192 rows).
        """
        late = (np.arange(y.shape[1]) >= y.shape[1] - self.horizon)[None, :, None]
        if isinstance(y, np.ndarray):
            return np.broadcast_to(late, y.shape)
        import jax

        late = jax.lax.optimization_barrier(jax.numpy.asarray(late))
        return jax.numpy.broadcast_to(late, y.shape)
