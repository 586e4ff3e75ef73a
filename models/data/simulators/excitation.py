"""Input signals: random-phase multisines and random steps."""

from __future__ import annotations

import numpy as np


def multisine(
    rng: np.random.Generator, samples: int, *, low: float, high: float
) -> np.ndarray:
    """A random-phase multisine of unit power: flat between two frequencies, zero outside.

    Args:
        rng: Randomness.
        samples: Length ``T``, which is one period.
        low: Lowest frequency, in cycles per sample.
        high: Highest frequency, in cycles per sample; at most 0.5.

    Returns:
        ``[T]`` with zero mean and mean square 1.

    Source: Pintelon and Schoukens, "System Identification: A Frequency Domain Approach",
    2nd edition, 2012, definition 3.2.
    """
    frequencies = np.fft.rfftfreq(samples)
    inside = (frequencies >= max(low, 1 / samples)) & (frequencies <= high)
    assert inside.any(), "options demand enough samples for every band"
    phases = rng.uniform(0, 2 * np.pi, len(frequencies))
    signal = np.fft.irfft(np.where(inside, np.exp(1j * phases), 0), samples)
    return signal / np.sqrt(np.mean(signal**2))


def steps(
    rng: np.random.Generator, samples: int, *, shortest: int, longest: int
) -> np.ndarray:
    """Levels drawn uniformly, each held for a random number of samples.

    Args:
        rng: Randomness.
        samples: Length ``T``.
        shortest: Fewest samples that a level is held.
        longest: Most samples that a level is held.

    Returns:
        ``[T]`` with values in [-√3, √3): unit variance over many levels.
    """
    holds = rng.integers(shortest, longest + 1, samples // shortest + 1)
    levels = rng.uniform(-np.sqrt(3), np.sqrt(3), len(holds))
    return np.repeat(levels, holds)[:samples]
