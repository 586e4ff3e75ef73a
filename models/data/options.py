"""The options of the simulators, known without loading any of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.errors import DataError, near_matches

EXCITATIONS = ("multisine", "steps")
_SEEDS = (0, 2**32 - 1)
_LIMITS = {"samples": (512, 10_000_000), "seed": _SEEDS}
_DRAWN_LIMITS = {"samples": (100, 10_000_000), "seed": _SEEDS}


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
        _check_limits(self, _LIMITS)
        _check_noise(self)
        if self.excitation not in EXCITATIONS:
            raise DataError(
                f"`excitation` must be one of {', '.join(EXCITATIONS)}, "
                f"got {self.excitation!r}",
                hint=near_matches(str(self.excitation), EXCITATIONS),
            )

    def updated(self, values: Mapping[str, Any]) -> Options:
        """The same options with some values replaced.

        Raises:
            DataError: A value breaks a rule.
        """
        return dataclasses.replace(self, **values)


@dataclass(frozen=True, kw_only=True)
class Draws:
    """How a simulator of `models.data.simulators.inference` is run.

    Attributes:
        samples: Simulations of train and valid together; a tenth of them is valid. The test
            part has 1,000 more.
        seed: Every draw follows from it.
        observations: A folder of published observations, each in a folder of its own with
            ``observation.csv``, ``true_parameters.csv`` and
            ``reference_posterior_samples.csv.bz2``: they become the first rows of the test
            part, and those samples its exact posterior. Empty for none.

    Raises:
        DataError: A value breaks a rule.
    """

    samples: int = 10_000
    seed: int = 0
    observations: str = ""

    def __post_init__(self) -> None:
        _check_limits(self, _DRAWN_LIMITS)
        if not isinstance(self.observations, str):
            raise DataError(
                f"`observations` must be a folder's path, got {self.observations!r}"
            )

    @property
    def rows(self) -> int:
        """Rows of train and valid together."""
        return self.samples

    def updated(self, values: Mapping[str, Any]) -> Draws:
        """The same options with some values replaced.

        Raises:
            DataError: A value breaks a rule.
        """
        return dataclasses.replace(self, **values)


@dataclass(frozen=True, kw_only=True)
class Sites(Draws):
    """How a simulator of rows that are made of sites is run.

    `samples` counts simulations of sites, so that data of few and of many sites cost the same.

    Attributes:
        sites: Most sites of a row, to which the others are padded with NaN.
        fewest: Fewest; a row has any number from this on. 0 for `sites` in every row.

    Raises:
        DataError: A value breaks a rule, or there are fewer than ten rows.
    """

    sites: int = 5
    fewest: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_limits(self, {"sites": (1, 1000), "fewest": (0, self.sites)})
        if self.rows < 10:
            raise DataError(
                f"{self.samples} simulations of sites are {self.rows} rows of "
                f"{self.sites} sites; there must be 10 rows",
                hint=f"raise `samples` to {10 * self.sites} or more, or lower `sites`",
            )

    @property
    def rows(self) -> int:
        """As many as hold `samples` sites, on average."""
        return round(self.samples / (0.5 * ((self.fewest or self.sites) + self.sites)))


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How a simulator of a table in time order is run.

    Attributes:
        samples: Rows of the train part; valid has a quarter behind them, test half as many.
        seed: Every draw follows from it.
        noise: Standard deviation of white noise of what measures, relative to the standard
            deviation of each column over train.

    Raises:
        DataError: A value breaks a rule.
    """

    samples: int
    seed: int = 0
    noise: float = 0.0

    def __post_init__(self) -> None:
        _check_limits(self, _LIMITS)
        _check_noise(self)

    @property
    def borders(self) -> list[int]:
        """Where the parts begin, and the last one ends."""
        return [round(self.samples * share) for share in (0, 1, 1.25, 1.75)]

    def updated(self, values: Mapping[str, Any]) -> Steps:
        """The same options with some values replaced.

        Raises:
            DataError: A value breaks a rule.
        """
        return dataclasses.replace(self, **values)


@dataclass(frozen=True, kw_only=True)
class Turns:
    """How a simulator of bodies that turn is run.

    Attributes:
        samples: Of every record.
        records: Of the train part; valid and test have one each.
        seed: Every realisation follows from it.
        noise: White noise of all sensors, relative to that of a cheap one.
        bias: Standard deviation of the gyroscope's offset, which every record draws, in
            rad/s.

    Raises:
        DataError: A value breaks a rule.
    """

    samples: int = 3000
    records: int = 4
    seed: int = 0
    noise: float = 1.0
    bias: float = 0.01

    def __post_init__(self) -> None:
        _check_limits(self, {**_DRAWN_LIMITS, "records": (1, 1000)})
        _check_noise(self)
        _check_noise(self, "bias")

    def updated(self, values: Mapping[str, Any]) -> Turns:
        """The same options with some values replaced.

        Raises:
            DataError: A value breaks a rule.
        """
        return dataclasses.replace(self, **values)


AnyOptions = Options | Draws | Steps | Turns


def _check_noise(options: Options | Steps | Turns, name: str = "noise") -> None:
    noise = getattr(options, name)
    number = isinstance(noise, (int, float)) and not isinstance(noise, bool)
    if not number or not (math.isfinite(noise) and 0 <= noise <= 10):
        raise DataError(f"`{name}` must be from 0 to 10, got {noise!r}")
    object.__setattr__(options, name, float(noise))


def _check_limits(options: Any, limits: Mapping[str, tuple[int, int]]) -> None:
    for name, (low, high) in limits.items():
        value = getattr(options, name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not low <= value <= high:
            raise DataError(
                f"`{name}` must be a whole number from {low} to {high}, got {value!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A simulated dataset as lists show it, and its default options.

    Attributes:
        truth: Signals of hidden states that it can hold.
        bounds: Role to the limits of its columns, beyond which a prior never goes; None
            where there is none.
    """

    summary: str
    units: tuple[str, ...]
    options: AnyOptions
    score_from: int = 50
    also_score_from: tuple[int, ...] = ()
    truth: tuple[str, ...] = ()
    bounds: Mapping[str, tuple[tuple[float | None, float | None], ...]] = field(
        default_factory=dict
    )
    source: str

    @property
    def kind(self) -> str:
        """The kind of data that is made: ``records``, ``samples`` or a ``series``."""
        kinds = {Options: "records", Turns: "records", Steps: "series"}
        return kinds.get(type(self.options), "samples")

    @property
    def option_names(self) -> tuple[str, ...]:
        """Keys of a request that set an option."""
        every = dataclasses.fields(self.options)
        return tuple(f.name for f in every if f.name != "truth")


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
    "simulated_load": Simulated(
        summary="electric load of six districts under one weather, hourly",
        units=("MW",),
        options=Steps(samples=4320),
        score_from=0,
        source="cycles, autoregression and drift, see its simulator",
    ),
    "simulated_imu": Simulated(
        summary="a body that turns: accelerometer, gyroscope, magnetometer to orientation",
        units=("",),
        options=Turns(),
        score_from=0,
        source="kinematics of a rigid body, see its simulator",
    ),
    "gaussian_linear": Simulated(
        summary="ten normal means, each seen once; exact posterior known",
        units=(),
        score_from=0,
        options=Draws(),
        source="Lueckmann et al., AISTATS 2021",
    ),
    "gaussian_mixture": Simulated(
        summary="two Gaussians around one mean; exact posterior known",
        units=(),
        score_from=0,
        options=Draws(),
        bounds={"theta": ((-10.0, 10.0),) * 2},
        source="Lueckmann et al., AISTATS 2021",
    ),
    "two_moons": Simulated(
        summary="a crescent that two places explain alike; exact posterior known",
        units=(),
        score_from=0,
        options=Draws(),
        bounds={"theta": ((-1.0, 1.0),) * 2},
        source="Lueckmann et al., AISTATS 2021",
    ),
    "slcp": Simulated(
        summary="four points of a Gaussian, five parameters; exact posterior known",
        units=(),
        score_from=0,
        options=Draws(),
        bounds={"theta": ((-3.0, 3.0),) * 5},
        source="Papamakarios et al., 2019; Lueckmann et al., AISTATS 2021",
    ),
    "hierarchical_gaussian": Simulated(
        summary="means around a mean, each seen five times with known errors; exact posterior",
        units=(),
        options=Sites(),
        source="after the examples of tfmpe, 2025",
    ),
    "hierarchical_gaussian_linear": Simulated(
        summary="one unknown error of all sites, each seen once; exact posterior known",
        units=(),
        options=Sites(),
        bounds={"theta": ((0.0, None),)},
        source="after the hierarchical benchmark of tfmpe, 2026",
    ),
    "hierarchical_brownian": Simulated(
        summary="Brownian paths that drift, seen at known times; exact posterior known",
        units=(),
        options=Sites(),
        source="after the examples of tfmpe, 2025",
    ),
    "seir": Simulated(
        summary="seasonal epidemics of one disease at several places, counted at known times",
        units=(),
        options=Sites(),
        bounds={
            "theta": ((1 / 30, 1 / 7), (1 / 21, 1 / 7)),
            "local": ((0.1, 2.0), (0.0, 1.0), (0.0, None), (0.0, 2 * math.pi)),
        },
        source="after the examples of tfmpe, 2025",
    ),
}

OPTION_NAMES = tuple(
    dict.fromkeys(name for known in SIMULATED.values() for name in known.option_names)
)
"""Keys of a request that only simulated data knows; all records can have a ``truth``."""
