"""The shipped systems: what excites each of them, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.data.simulators import circuit
from models.data.simulators.excitation import multisine, steps

Excite = Callable[[np.random.Generator, int, str], np.ndarray]
Respond = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class System:
    """One system with its excitation.

    Attributes:
        rate: Samples per second.
        input_unit: Unit of ``u``.
        output_unit: Unit of ``y``.
        excite: ``(rng, samples, kind) -> [T]``, physical units.
        respond: ``u [T] -> [T, 1 + S]``: y, then the S hidden states that can be stored as
            a truth; the input is a straight line between samples.
    """

    rate: float
    input_unit: str
    output_unit: str
    excite: Excite
    respond: Respond


def _duffing(force: np.ndarray) -> np.ndarray:
    from models.data.simulators.odes import Oscillator

    return Oscillator(cubic=400.0).simulate(force, rate=20.0)[:, None]


def _mass_spring_damper(force: np.ndarray) -> np.ndarray:
    from models.data.simulators.odes import Oscillator

    return Oscillator().simulate(force, rate=20.0)[:, None]


def _tanks(voltage: np.ndarray) -> np.ndarray:
    from models.data.simulators.odes import Tanks

    return Tanks().simulate(voltage, rate=0.25)[:, ::-1]  # the lower level is measured


def _bouc_wen(force: np.ndarray) -> np.ndarray:
    from models.data.simulators.odes import hysteresis

    return hysteresis(force, rate=750.0)[:, None]


def _circuit(voltage: np.ndarray) -> np.ndarray:
    times = np.arange((len(voltage) - 1) * circuit.OVERSAMPLING + 1)
    fine = np.interp(times / circuit.OVERSAMPLING, np.arange(len(voltage)), voltage)
    rate = circuit.SAMPLING_RATE * circuit.OVERSAMPLING
    return circuit.simulate(fine, rate)[:: circuit.OVERSAMPLING, None]


def _excite(
    *, mean: float, size: float, low: float, high: float, shortest: int, longest: int
) -> Excite:
    """Both kinds of excitation around a mean, with one standard deviation."""

    def make(rng: np.random.Generator, samples: int, kind: str) -> np.ndarray:
        if kind == "multisine":
            signal = multisine(rng, samples, low=low, high=high)
        else:
            signal = steps(rng, samples, shortest=shortest, longest=longest)
        return mean + size * signal

    return make


def _pump(rng: np.random.Generator, samples: int, kind: str) -> np.ndarray:
    """A pump does not run backwards: the voltage is cut at zero."""
    make = _excite(mean=3.2, size=1.5, low=0, high=0.03, shortest=10, longest=60)
    return np.maximum(make(rng, samples, kind), 0.0)


SYSTEMS = {
    "simulated_wiener_hammerstein": System(
        rate=circuit.SAMPLING_RATE,
        input_unit="V",
        output_unit="V",
        # Up to 10 kHz, as in the benchmark: past both filters.
        excite=_excite(
            mean=0.0, size=1.0, low=0, high=10e3 / 51.2e3, shortest=5, longest=100
        ),
        respond=_circuit,
    ),
    "duffing": System(
        rate=20.0,
        input_unit="N",
        output_unit="m",
        excite=_excite(mean=0.0, size=4.0, low=0, high=0.1, shortest=10, longest=60),
        respond=_duffing,
    ),
    "simulated_cascaded_tanks": System(
        rate=0.25, input_unit="V", output_unit="V", excite=_pump, respond=_tanks
    ),
    "mass_spring_damper": System(
        rate=20.0,
        input_unit="N",
        output_unit="m",
        excite=_excite(mean=0.0, size=4.0, low=0, high=0.1, shortest=10, longest=60),
        respond=_mass_spring_damper,
    ),
    "simulated_bouc_wen": System(
        rate=750.0,
        input_unit="N",
        output_unit="m",
        # 5 to 150 Hz with 50 N, as in the benchmark.
        excite=_excite(
            mean=0.0, size=50.0, low=5 / 750, high=0.2, shortest=5, longest=60
        ),
        respond=_bouc_wen,
    ),
}
