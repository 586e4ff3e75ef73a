"""The options of the simulators, known without loading any of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import DataError, near_matches

EXCITATIONS = ("multisine", "steps")
_LIMITS = {"samples": (512, 10_000_000), "seed": (0, 2**32 - 1)}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a simulator is run.

    Attributes:
        samples: Samples of the train part; valid has a quarter, test half as many.
        seed: Every realisation follows from it.
        noise: Standard deviation of white measurement noise on the outputs of every part,
            relative to the standard deviation of the noiseless train output.
        excitation: ``multisine`` (random phases) or ``steps`` (random levels and times).
        truth: Whether hidden states are stored as well, without noise; u and y are the same.

    Raises:
        DataError: A value breaks a rule.
    """

    samples: int
    seed: int = 0
    noise: float = 0.0
    excitation: str = "multisine"
    truth: bool = False

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or not low <= value <= high:
                raise DataError(
                    f"`{name}` must be a whole number from {low} to {high}, "
                    f"got {value!r}"
                )
        number = isinstance(self.noise, (int, float)) and not isinstance(
            self.noise, bool
        )
        if not number or not (math.isfinite(self.noise) and 0 <= self.noise <= 10):
            raise DataError(f"`noise` must be from 0 to 10, got {self.noise!r}")
        if self.excitation not in EXCITATIONS:
            raise DataError(
                f"`excitation` must be one of {', '.join(EXCITATIONS)}, "
                f"got {self.excitation!r}",
                hint=near_matches(str(self.excitation), EXCITATIONS),
            )
        object.__setattr__(self, "noise", float(self.noise))

    def updated(self, values: Mapping[str, Any]) -> Options:
        """The same options with some values replaced.

        Raises:
            DataError: A value breaks a rule.
        """
        return dataclasses.replace(self, **values)


OPTION_NAMES = tuple(
    field.name for field in dataclasses.fields(Options) if field.name != "truth"
)
"""Keys of a request that only simulated data knows; all records can have a ``truth``."""


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A simulated dataset as lists show it, and its default options.

    Attributes:
        truth: Signals of hidden states that it can hold.
    """

    summary: str
    units: tuple[str, ...]
    options: Options
    score_from: int = 50
    also_score_from: tuple[int, ...] = ()
    truth: tuple[str, ...] = ()
    source: str


SIMULATED = {
    "simulated_wiener_hammerstein": Simulated(
        summary="diode circuit between two filters, voltage to voltage, 51.2 kHz",
        units=("V",),
        options=Options(samples=16384),
        source="after Schoukens, Suykens and Ljung, SYSID 2009",
    ),
    "duffing": Simulated(
        summary="oscillator with a hardening spring, force to displacement, 20 Hz",
        units=("m",),
        options=Options(samples=8192),
        source="Duffing, 1918",
    ),
    "simulated_cascaded_tanks": Simulated(
        summary="pump voltage to level of the lower tank, with overflow, 0.25 Hz",
        units=("V",),
        options=Options(samples=2048),
        truth=("x0",),  # the level of the upper tank, in cm
        source="after Schoukens, Mattsson, Wigren and Noël, 2016",
    ),
    "mass_spring_damper": Simulated(
        summary="linear oscillator, force to displacement, 20 Hz",
        units=("m",),
        options=Options(samples=8192, excitation="steps"),
        source="second-order linear system, closed form",
    ),
    "simulated_bouc_wen": Simulated(
        summary="hysteretic oscillator, force to displacement, 750 Hz",
        units=("m",),
        options=Options(samples=8192),
        source="after Noël and Schoukens, 2016",
    ),
}
