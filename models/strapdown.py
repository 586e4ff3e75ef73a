"""Orientation in closed form, of one sensor: what every other estimate must beat.

The gyroscope alone is integrated, ``q[t+1] = q[t] ⊗ exp(½ Δt (ω[t] + ω[t+1]) / 2)``, from the
inclination of the first accelerometer sample on, heading unknown: exact for a while, then it
drifts. The accelerometer alone takes what it measures for gravity at every sample: it never
drifts, and is wrong whenever the body accelerates. The sensor's constant error over the train
part is taken out, which is all that is solved for.

Source: Titterton and Weston 2004, "Strapdown Inertial Navigation Technology", section 3.6 (the
attitude), chapter 11.2.5 (quaternions); Kok, Hol and Schön 2017, section 3.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from models.config import Config as BaseConfig
from models.config import static
from models.data.kinds.base import Part
from models.example import Example
from models.family import creator
from models.layers.quaternion import conjugate, level, multiply, rotate
from models.tasks.base import TaskData
from models.tasks.orientation import SENSORS, time_step
from models.training.closed_form import ClosedForm, Solution

TASKS = ("orientation",)
CLOSED_FORM = True
CAUSAL = True

_UP = np.array([0.0, 0.0, 1.0])
_ACCELEROMETER = slice(SENSORS["accelerometer"][0], SENSORS["accelerometer"][-1] + 1)
_GYROSCOPE = slice(SENSORS["gyroscope"][0], SENSORS["gyroscope"][-1] + 1)
_CHANNELS = {"accelerometer": _ACCELEROMETER, "gyroscope": _GYROSCOPE}


@dataclass(frozen=True, kw_only=True)
class Strapdown(BaseConfig):
    """Which sensor is believed.

    Attributes:
        sensor: The gyroscope (and the accelerometer's first sample), or the accelerometer.
        offset: Whether the constant error that the sensor has over the train part is taken
            out.
    """

    sensor: Literal["gyroscope", "accelerometer"] = static("gyroscope")
    offset: bool = static(True)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `strapdown`."""

    model: Strapdown = field(default_factory=Strapdown)


def problem(config: Config, data: TaskData) -> ClosedForm:
    """The thing to be solved: constant errors, and which way the accelerometer points.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        DataError: The data does not tell how fast it was sampled, or comes at several rates.
    """
    model = config.model
    step = time_step(data)

    def solve(part: Part) -> tuple[Solution, float]:
        gravity, offset, error = _gravity(part)
        if model.sensor == "gyroscope":
            offset, error = _drift(part, step)
        return {"gravity": np.asarray(gravity), "offset": offset}, error

    def outputs(
        solution: Solution, batch: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        u = np.asarray(batch["u"], np.float64)
        sign = np.sign(solution["gravity"])
        own = u[..., _CHANNELS[model.sensor]]
        if model.offset:
            own = own - solution["offset"]
        if model.sensor == "accelerometer":
            return {"y": level(sign * own)}
        return {"y": integrated(level(sign * u[:, :1, _ACCELEROMETER]), own, step)}

    return ClosedForm(
        signature=("strapdown", config.static_signature(), data.identity),
        solve=solve,
        outputs=outputs,
        parameters=4,
    )


def integrated(first: np.ndarray, rates: np.ndarray, step: float) -> Any:
    """Turns at some rates, from a first orientation on.

    Args:
        first: ``[B, 1, 4]``, unit quaternions.
        rates: ``[B, T, 3]`` in the turning axes, in rad/s; straight lines between samples.
        step: Seconds between two samples.

    Returns:
        ``[B, T, 4]``, unit quaternions.
    """
    half = 0.25 * step * (rates[:, 1:] + rates[:, :-1])
    angle = np.linalg.norm(half, axis=-1, keepdims=True)
    turns = np.concatenate([np.cos(angle), half * np.sinc(angle / np.pi)], axis=-1)
    found: Any = np.concatenate([first, turns], axis=1)
    shift = 1
    while shift < found.shape[1]:  # products of 2, 4, 8, … that follow one another
        later = multiply(found[:, :-shift], found[:, shift:])
        found = np.concatenate([found[:, :shift], np.asarray(later)], axis=1)
        shift *= 2
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def _records(part: Part) -> Any:
    """Inputs and orientations of every record, double precision."""
    for index in range(len(part.lengths)):
        record = part.load(index)
        yield tuple(np.asarray(record[role], np.float64) for role in "uy")


def _gravity(part: Part) -> tuple[float, np.ndarray, float]:
    """Gravity and the accelerometer's offset, by least squares, and the mean square left.

    ``a = g q⁻¹ e_z + offset``; an accelerometer of the other sign has a negative g.
    """
    rows, measured = [], []
    for u, y in _records(part):
        whole = np.isfinite(y).all(axis=1) & np.isfinite(u).all(axis=1)
        turned: Any = conjugate(y[whole])
        up = rotate(turned, np.tile(_UP, (len(turned), 1)))  # type: ignore[arg-type]
        rows.append(np.asarray(up).reshape(-1, 1))
        measured.append(u[whole, _ACCELEROMETER].reshape(-1))
    up, target = np.concatenate(rows), np.concatenate(measured)
    matrix = np.concatenate([up, np.tile(np.eye(3), (len(up) // 3, 1))], axis=1)
    found, *_ = np.linalg.lstsq(matrix, target)
    return float(found[0]), found[1:], float(np.mean((matrix @ found - target) ** 2))


def _drift(part: Part, step: float) -> tuple[np.ndarray, float]:
    """The gyroscope's offset: its mean distance from the rates of the measured turns."""
    apart = []
    for u, y in _records(part):
        turn: Any = np.asarray(multiply(conjugate(y[:-1]), y[1:]))  # type: ignore[arg-type]
        turn = np.where(turn[:, :1] < 0, -turn, turn)
        length = np.linalg.norm(turn[:, 1:], axis=1, keepdims=True)
        angle = 2.0 * np.arctan2(length, turn[:, :1])
        rate = turn[:, 1:] * angle / np.where(length > 0, length, 1.0) / step
        mean = 0.5 * (u[1:, _GYROSCOPE] + u[:-1, _GYROSCOPE])
        apart.append((mean - rate)[np.isfinite(mean - rate).all(axis=1)])
    found = np.concatenate(apart)
    offset = found.mean(axis=0)
    return offset, float(np.mean((found - offset) ** 2))


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(task=task, config={"model.sensor": "gyroscope"}, epochs=1)
