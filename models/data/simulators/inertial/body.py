"""A rigid body that is turned and moved by hand, and the sensor that is fixed to it.

The body rests, then turns at rates and moves at accelerations that are smooth and random, and
rests again at the end. With ``q`` from the sensor's axes into the world's (east, north, up), rate
of turn ``ω`` in the sensor's axes, acceleration ``a``, gravity ``g`` and the earth's field ``m`` in
the world's::

    q̇ = ½ q ⊗ [0, ω]
    accelerometer = q⁻¹ (a + g)    gyroscope = ω + offset    magnetometer = q⁻¹ m

each with white noise. Source: Kok, Hol and Schön 2017, "Using Inertial Sensors for Position and
Orientation Estimation", sections 2.3 and 2.4, with gravity's sign as sensors measure it: up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from models.data.simulators.excitation import multisine
from models.data.simulators.writing import write_record

GRAVITY = np.array([0.0, 0.0, 9.81])
"""What an accelerometer at rest measures, in m/s², in the world's axes."""
FIELD = np.array([0.0, 19.0, -45.0])
"""The earth's magnetic field in the middle of Europe, in µT: north and down."""
OVERSAMPLING = 16
"""Steps of the integration between two samples."""
_REST = 0.15
"""Share of a record that the body rests at its beginning; half as much at its end."""
_RAMP = 0.05
"""Share of a record in which movement grows from nothing."""
_GAP = 0.04
"""Share of a record in which the orientation was not measured, in one piece."""


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """What is wrong with the signals of a sensor; the defaults are those of a cheap one.

    Attributes:
        accelerometer: Standard deviation of its white noise, in m/s².
        gyroscope: Likewise, in rad/s.
        magnetometer: Likewise, in µT.
        bias: Standard deviation of the gyroscope's offset, which a record draws, in rad/s.
    """

    accelerometer: float = 0.05
    gyroscope: float = 0.005
    magnetometer: float = 0.5
    bias: float = 0.01

    def louder(self, factor: float, *, bias: float) -> Sensor:
        """All noise times a factor, and another offset."""
        names = ("accelerometer", "gyroscope", "magnetometer")
        noise = {name: factor * getattr(self, name) for name in names}
        return dataclasses.replace(self, **noise, bias=bias)


def record(
    rng: np.random.Generator, *, samples: int, rate: float, sensor: Sensor
) -> dict[str, np.ndarray]:
    """One record of a body and its sensor.

    Args:
        rng: Randomness.
        samples: Length ``T``.
        rate: Samples per second.
        sensor: What noise and offset it adds.

    Returns:
        ``u0`` to ``u8`` ``[T]`` (accelerometer in m/s², gyroscope in rad/s, magnetometer in
        µT), ``y0`` to ``y3`` ``[T]`` (a unit quaternion, w first, NaN where it was not
        measured) and ``movement`` (bool ``[T]``).
    """
    fine, step = (samples - 1) * OVERSAMPLING + 1, 1.0 / (rate * OVERSAMPLING)
    envelope = _envelope(fine)
    rates = _smooth(rng, fine, step, highest=0.8) * envelope * rng.uniform(0.5, 2.0)
    shaking = _smooth(rng, fine, step, highest=2.0) * envelope * rng.uniform(0.5, 2.0)
    first = Rotation.random(rng=rng)
    # From one step to the next at the mean rate of both: of second order.
    turns = Rotation.from_rotvec(0.5 * (rates[1:] + rates[:-1]) * step)
    here = (first * accumulated(turns))[OVERSAMPLING - 1 :: OVERSAMPLING]
    turned = Rotation.concatenate([first, here])
    rates, shaking, moving = (
        a[::OVERSAMPLING] for a in (rates, shaking, envelope[:, 0])
    )
    offset = sensor.bias * rng.standard_normal(3)
    u = np.concatenate(
        [
            turned.inv().apply(shaking + GRAVITY),
            rates + offset,
            turned.inv().apply(np.tile(FIELD, (samples, 1))),
        ],
        axis=1,
    )
    noise = np.repeat([sensor.accelerometer, sensor.gyroscope, sensor.magnetometer], 3)
    u = u + noise * rng.standard_normal(u.shape)
    y = turned.as_quat(scalar_first=True)
    gap = round(_GAP * samples)
    start = int(rng.integers(samples // 4, samples - gap))
    y[start : start + gap] = np.nan
    return {
        **{f"u{i}": values for i, values in enumerate(u.T)},
        **{f"y{i}": values for i, values in enumerate(y.T)},
        "movement": moving > 0.0,
    }


def accumulated(turns: Rotation) -> Rotation:
    """Turns one after another, each in the axes of those before: ``r₀``, ``r₀ r₁``, ….

    Source: Hillis and Steele 1986, "Data parallel algorithms": as many products as the
    logarithm of the length, each of all at once.
    """
    found, shift = turns, 1
    while shift < len(turns):
        found = Rotation.concatenate([found[:shift], found[:-shift] * found[shift:]])
        shift *= 2
    return found


def write(path: Path, signals: Mapping[str, np.ndarray], *, rate: float) -> None:
    """A record as a file.

    Args:
        path: A new file.
        signals: As `record` gives them.
        rate: Samples per second.

    Raises:
        OSError: The disk is full or cannot be written, or the file is there.
    """
    write_record(path, signals, {"fs": rate, "y_unit": ""})


def _smooth(
    rng: np.random.Generator, samples: int, step: float, *, highest: float
) -> np.ndarray:
    """Three signals ``[T, 3]`` of unit power with nothing above some frequency in Hz."""
    highest = max(highest, 2.0 / (samples * step)) * step
    return np.stack([multisine(rng, samples, low=0, high=highest) for _ in range(3)], 1)


def _envelope(samples: int) -> np.ndarray:
    """``[T, 1]``: zero while the body rests, one while it moves, smooth in between."""
    time = np.linspace(0.0, 1.0, samples)
    inside = np.minimum(time - _REST, 1.0 - 0.5 * _REST - time) / _RAMP
    return (np.sin(0.5 * np.pi * np.clip(inside, 0.0, 1.0)) ** 2)[:, None]
