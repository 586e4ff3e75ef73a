"""Orientation: from a body's inertial and magnetic sensors to how it is turned.

Inputs are the nine signals of a sensor: specific force (accelerometer), rate of turn
(gyroscope), magnetic field, three axes each in the axes of the sensor and in units of one's own.
The output is a unit quaternion ``[w, x, y, z]`` that turns vectors from the sensor's axes into
the world's, whose z points up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from models.data.kinds import kind
from models.data.kinds.base import Dataset, Part
from models.data.rates import require_one_rate
from models.data.reference import Reference
from models.errors import DataError
from models.tasks import simulation
from models.tasks.arrays import SAME, Units, accumulated
from models.tasks.base import Direction, Groups, TaskData
from models.tasks.base import Task as AnyTask
from models.training.excerpts import Comparison
from models.training.interface import Arrays

if TYPE_CHECKING:
    from models.metrics.accumulators import Metric
    from models.training.problem import Batch

KINDS = ("records",)
SENSORS = {
    "accelerometer": (0, 1, 2),
    "gyroscope": (3, 4, 5),
    "magnetometer": (6, 7, 8),
}
"""The channels of u that each sensor has."""
_UNIT = 1e-3
"""How far from 1 the length of a measured quaternion may be."""


@dataclass(frozen=True, kw_only=True)
class Task(simulation.Task):
    """Whole records are told from their sensors alone.

    Only samples count in which the body moves (the role ``movement``, where the data has it)
    and all of whose quaternion was measured. Scores are root mean squares in degrees;
    `inclination`, which ranks, is blind to the heading, that a magnetometer alone can tell.
    """

    KINDS: ClassVar[tuple[str, ...]] = KINDS
    OBJECTIVE: ClassVar[tuple[str, Direction]] = ("inclination", "minimize")

    def check(self, dataset: Dataset) -> None:
        """Refuse signals that are no sensor's, and orientations that are no quaternions.

        Raises:
            DataError: As any task; or there are not nine inputs and four outputs, or a
                measured quaternion is not of unit length.
        """
        super().check(dataset)
        widths = dataset.part("train").channels
        names = dataset.reference.roles
        for role, width, what in (
            ("u", 9, "accelerometer, gyroscope and magnetometer, three axes each"),
            ("y", 4, "a quaternion [w, x, y, z]"),
            ("movement", 1, "true where the body moves"),
        ):
            if widths.get(role, width) != width:
                raise DataError(
                    f"the task `{self.name}` needs {width} channels of role `{role}` "
                    f"({what}), got {widths[role]}: {', '.join(names[role])}",
                    hint="name the signals in this order in the request for data: "
                    '`"inputs": […]`, `"outputs": […]`',
                )
        for name in ("train", "valid"):
            _check_length(dataset.part(name))

    def groups(self, part: Part, *, lead: int = 0, dtype: Any = None) -> Groups:
        """Every record in full, grouped by length.

        Raises:
            DataError: A measured quaternion of the test part is not of unit length, or
                nothing of a record can be scored.
        """
        if part.name == "test":  # read by nobody before it is scored
            _check_length(part)
        return super().groups(part, lead=lead, dtype=dtype)

    def metrics(self, data: TaskData) -> tuple[Metric, ...]:
        """The angles in degrees."""
        from models.metrics.orientation import angle_metrics

        start, _ = self.scored_from(data)
        return angle_metrics(start=start)

    def scores(
        self,
        found: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]],
        *,
        data: TaskData,
    ) -> dict[str, float]:
        """The metrics, by their own accumulators."""
        return AnyTask.scores(self, found, data=data)

    def scored(self, batch: Batch, data: TaskData) -> np.ndarray:
        """The samples that count."""
        from models.metrics.orientation import scored_samples

        start, _ = self.scored_from(data)
        counts = np.asarray(scored_samples(batch, start=start))
        return np.broadcast_to(counts[..., None], np.shape(batch["y"]))

    def comparison(
        self, outputs: Mapping[str, Any], batch: Batch, data: TaskData
    ) -> Comparison | None:
        """As any task, of predictions that are turned to the measured heading.

        A quaternion and its negative are the same turn, and the objective is blind to the
        heading: what is shown beside the measurement differs from it by that alone which is
        scored.
        """
        if "y" not in outputs:
            return None
        y = _of_heading(np.asarray(outputs["y"], float), np.asarray(batch["y"], float))
        return super().comparison({**outputs, "y": y}, batch, data)

    def from_file(
        self, path: Path, *, data: Mapping[str, Any]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """As any task; measured orientations are NaN where the file says that nothing moves."""
        given, measured = super().from_file(path, data=data)
        reference = Reference.from_json(data)
        if "y" in measured and reference.roles.get("movement"):
            roles = ("movement",)
            read = kind(reference.kind).read
            found = read(path, reference=reference, roles=roles, optional=roles)
            if found:
                moves = found["movement"] > 0.5
                measured = {**measured, "y": np.where(moves, measured["y"], np.nan)}
        return given, measured

    def errors(
        self, predicted: Arrays, measured: Arrays, *, data: Mapping[str, Any]
    ) -> dict[str, float]:
        """The angles of one whole record; empty where nothing of it can be scored."""
        from models.metrics.orientation import angle_metrics

        start, _ = self.protocol(data)
        if "y" not in measured:
            return {}
        seen = ~np.isnan(measured["y"])
        if not seen.all(axis=-1)[start:].any():
            return {}
        batch = {"y": np.where(seen, measured["y"], 0.0)[None], "seen.y": seen[None]}
        pair = {"y": np.asarray(predicted["y"])[None]}, batch
        return accumulated(angle_metrics(start=start), [pair])

    def unit(self, metric: str, *, data: Mapping[str, Any]) -> str:
        """Degrees."""
        return "deg" if metric in ("inclination", "total", "heading") else ""

    def measured_in(self, metric: str) -> str | None:
        """Angles are in degrees, whatever the units of the data are."""
        return None

    def write_example(self, folder: Path, *, units: Units = SAME) -> Mapping[str, Any]:
        """A body that turns for some seconds, and rests before; orientations have no unit.

        Every 13th was not measured, so that every window has a gap.
        """
        from models.data.simulators.inertial.body import Sensor, record, write

        if not (folder / "test").is_dir():
            for number, (part, seconds) in enumerate(
                (("train", 8.0), ("train", 6.0), ("valid", 3.0), ("test", 3.0))
            ):
                signals = record(
                    np.random.default_rng([0, number]),
                    samples=round(seconds * 20),
                    rate=20.0,
                    sensor=Sensor(),
                )
                changed = {
                    name: units.of("u", values) if name.startswith("u") else values
                    for name, values in signals.items()
                }
                for axis in range(4):
                    changed[f"y{axis}"][::13] = np.nan
                write(folder / part / f"{part}_{number}.hdf5", changed, rate=20.0)
        return {"path": str(folder), "movement": "movement", "gaps": True}


def time_step(data: TaskData) -> float:
    """Seconds between two samples, for those who integrate rates of turn.

    Raises:
        DataError: The files do not tell how fast they were sampled, or records come at
            several rates.
    """
    require_one_rate(data.reference, what="a gyroscope that is integrated")
    if data.sampling_rate is None:
        raise DataError(
            "a gyroscope is integrated over time, and the files of "
            f"`{data.reference.name}` do not tell their sampling rate",
            hint="write it into them as the attribute `fs`, in Hz",
        )
    return 1.0 / data.sampling_rate


def _check_length(part: Part) -> None:
    """Every quaternion that was measured in full has length 1.

    Raises:
        DataError: One has not; file, sample and length are told.
    """
    for index in range(len(part.lengths)):
        y = np.asarray(
            part.slice(index, 0, part.lengths[index], roles=("y",))["y"], np.float64
        )
        length = np.sqrt(np.sum(y * y, axis=-1))
        for sample in np.flatnonzero(np.abs(length - 1.0) > _UNIT)[:1].tolist():
            what, where = part.locate("y", index, (sample, 0))
            raise DataError(
                f"an orientation is a quaternion of length 1, and that of {what} has "
                f"length {length[sample]:.4g} at {where}",
                hint="divide quaternions by their length; where none was measured, write "
                "NaN",
            )


def _of_heading(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Predictions ``[…, 4]`` turned about the vertical to the heading of what was measured.

    The difference of both is a turn about the vertical after one about a horizontal axis
    (swing and twist), of which the first is undone; signs are those of the measurement.
    """
    from models.layers.quaternion import NO_TURN, conjugate, multiply

    apart = multiply(predicted, conjugate(measured))
    twist = apart * np.array([1.0, 0.0, 0.0, 1.0])
    length = np.linalg.norm(twist, axis=-1, keepdims=True)
    twist = np.where(length > 0, twist, NO_TURN)
    turned = multiply(conjugate(twist / np.where(length > 0, length, 1.0)), predicted)
    product = np.sum(turned * measured, axis=-1, keepdims=True)
    return np.asarray(np.where(product < 0, -turned, turned))
