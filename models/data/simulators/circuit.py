"""The Wiener–Hammerstein circuit: filter, diode network, filter.

Built after the electronic circuit of the SYSID 2009 benchmark. The first filter is a
third-order Chebyshev low-pass (0.5 dB ripple, passband to 4.4 kHz), the second a third-order
inverse Chebyshev low-pass (40 dB stopband from 5 kHz), whose transmission zero lies within
the excited band. Between them a resistor and a diode to ground limit positive voltages.

Source: J. Schoukens, J. Suykens and L. Ljung, "Wiener-Hammerstein benchmark", 15th IFAC
Symposium on System Identification, 2009, section 2.
"""

from __future__ import annotations

import numpy as np
import scipy.signal
import scipy.special

SAMPLING_RATE = 51200.0
"""In Hz, of the samples that are kept."""
OVERSAMPLING = 8
"""Steps of the simulation per sample; the filters see straight lines in between."""
SERIES = 1e3
"""Resistor in front of the diode, in ohm."""
LOAD = 10e3
"""Resistor beside the diode, in ohm."""
SATURATION = 4e-9
"""Saturation current of the diode, in ampere (1N4148: a few nanoampere)."""
THERMAL = 1.9 * 0.02585
"""Emission coefficient times thermal voltage at 300 K, in volt."""


def first_filter() -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator in s of the Chebyshev filter."""
    return scipy.signal.cheby1(3, 0.5, 2 * np.pi * 4400, analog=True)


def second_filter() -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator in s of the inverse Chebyshev filter."""
    return scipy.signal.cheby2(3, 40, 2 * np.pi * 5000, analog=True)


def diode(voltage: np.ndarray) -> np.ndarray:
    """The voltage over diode and load, behind the series resistor.

    Kirchhoff's current law with Shockley's equation,
    ``(x - v) / SERIES = v / LOAD + SATURATION (exp(v / THERMAL) - 1)``, solved in closed form
    by the Wright omega function.

    Args:
        voltage: ``x`` in volt, of any shape.
    """
    slope = 1 + SERIES / LOAD
    offset = (voltage + SERIES * SATURATION) / slope
    scale = np.log(SERIES * SATURATION / (slope * THERMAL))
    return offset - THERMAL * scipy.special.wrightomega(scale + offset / THERMAL)


def filtered(
    coefficients: tuple[np.ndarray, np.ndarray], signal: np.ndarray, rate: float
) -> np.ndarray:
    """An analog filter's answer, from rest, to straight lines between samples.

    Args:
        coefficients: Numerator and denominator in s.
        signal: ``[T]``, sampled at `rate`; it rises from 0 within the sample before.
        rate: In Hz.
    """
    numerator, denominator, _ = scipy.signal.cont2discrete(
        coefficients, 1 / rate, method="foh"
    )
    return scipy.signal.lfilter(numerator.ravel(), denominator, signal)


def simulate(fine: np.ndarray, rate: float) -> np.ndarray:
    """Output voltage ``[T]`` for an input voltage ``[T]``, both sampled at `rate` in Hz."""
    inner = filtered(first_filter(), fine, rate)
    return filtered(second_filter(), diode(inner), rate)
