"""Nine kinds of excitation as pure functions of a key, drawn inside the compiled step.

Each kind is a waveform of amplitude 1 made from uniform numbers, so that all randomness of a
draw is one call of the generator (every call costs a third of a second of compiling). The kinds
and their ranges are those of TSFast's `pinn.signals`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, Key

from models.errors import ConfigError, near_matches

Row = Float[Array, " time"]
Number = Float[Array, ""] | float
SINES = 3
"""Sines of a multisine."""
_NUMBERS = 2 * SINES
"""Uniform numbers that a waveform may use beside those of its samples."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """When a waveform is sampled, and how fast it may change.

    Attributes:
        times: Of its samples, in s, from 0.
        rate: Samples per second.
        slowest: Lowest frequency, in Hz.
        fastest: Highest frequency, in Hz.
    """

    times: Row
    rate: float
    slowest: Number
    fastest: Number

    @property
    def length(self) -> float:
        """In s."""
        return self.times.shape[0] / self.rate

    def frequency(self, number: Array) -> Array:
        """A frequency in Hz, uniform between the two."""
        return self.slowest + (self.fastest - self.slowest) * number

    def onset(self, number: Array) -> Array:
        """When something begins, in s: within the first half."""
        return 0.5 * self.length * number


Waveform = Callable[[Clock, Float[Array, " number"], Row], Row]


def _sine(clock: Clock, numbers: Array, samples: Row) -> Row:
    """One frequency and phase."""
    return jnp.sin(_turns(clock.frequency(numbers[0]) * clock.times + numbers[1]))


def _multisine(clock: Clock, numbers: Array, samples: Row) -> Row:
    """Three sines, of the power of one."""
    frequencies = clock.frequency(numbers[:SINES])[:, None]
    turns = frequencies * clock.times[None] + numbers[SINES:][:, None]
    return jnp.sum(jnp.sin(_turns(turns)), axis=0) / SINES**0.5


def _step(clock: Clock, numbers: Array, samples: Row) -> Row:
    """From 0 to plus or minus 1 at a random time."""
    after = clock.times >= clock.onset(numbers[0])
    return _sign(numbers[1]) * after.astype(clock.times.dtype)


def _ramp(clock: Clock, numbers: Array, samples: Row) -> Row:
    """From 0 to plus or minus 1 within a random time, held from then on."""
    takes = jnp.maximum(0.5 * clock.length * numbers[2], 1 / clock.rate)
    risen = (clock.times - clock.onset(numbers[0])) / takes
    return _sign(numbers[1]) * jnp.clip(risen, 0.0, 1.0)


def _chirp(clock: Clock, numbers: Array, samples: Row) -> Row:
    """A sine whose frequency goes from one value to another, linearly."""
    first, last = clock.frequency(numbers[0]), clock.frequency(numbers[1])
    gone = clock.times / clock.length
    turns = (first + 0.5 * (last - first) * gone) * clock.times + numbers[2]
    return jnp.sin(_turns(turns))


def _noise(clock: Clock, numbers: Array, samples: Row) -> Row:
    """White and Gaussian."""
    return _gaussian(samples)


def _prbs(clock: Clock, numbers: Array, samples: Row) -> Row:
    """Plus or minus 1; changes sides at random, twice in a period on average."""
    likely = jnp.clip(2 * clock.frequency(numbers[0]) / clock.rate, 0.0, 0.5)
    changes = jnp.cumsum((samples < likely).astype(jnp.int32))
    side = 1 - 2 * (changes % 2)
    return _sign(numbers[1]) * side.astype(samples.dtype)


def _square(clock: Clock, numbers: Array, samples: Row) -> Row:
    """Plus 1 for 30 to 70 % of every period, else minus 1."""
    place = clock.frequency(numbers[0]) * clock.times + numbers[1]
    duty = 0.3 + 0.4 * numbers[2]
    return jnp.where(place % 1.0 < duty, 1.0, -1.0).astype(clock.times.dtype)


def _doublet(clock: Clock, numbers: Array, samples: Row) -> Row:
    """Half a period up, half a period down, 0 before and after (or the other way round)."""
    place = (clock.times - clock.onset(numbers[0])) * clock.frequency(numbers[2])
    up, down = (place >= 0) & (place < 0.5), (place >= 0.5) & (place < 1.0)
    dtype = clock.times.dtype
    return _sign(numbers[1]) * (up.astype(dtype) - down.astype(dtype))


EXCITATIONS: dict[str, Waveform] = {
    "sine": _sine,
    "multisine": _multisine,
    "step": _step,
    "ramp": _ramp,
    "chirp": _chirp,
    "noise": _noise,
    "prbs": _prbs,
    "square": _square,
    "doublet": _doublet,
}
"""The waveforms by name."""


@dataclass(frozen=True, kw_only=True)
class Excitation:
    """What is drawn.

    Attributes:
        kind: One of `EXCITATIONS`.
        rate: Samples per second.
        amplitude: Lowest and highest amplitude; uniform between them.
        frequency: Lowest and highest frequency in Hz; uniform between them.
        bias: Standard deviation of a constant that is added to every channel.
        noise: Standard deviation of white noise that is added to every sample.
        synchronized: Whether the inputs of a row share their frequencies, phases and times;
            amplitude, bias and noise are each input's own.

    Raises:
        ConfigError: The kind is unknown, or the rate is not positive.
    """

    kind: str
    rate: float
    amplitude: tuple[Number, Number] = (0.5, 2.0)
    frequency: tuple[Number, Number] = (0.1, 3.0)
    bias: Number = 0.0
    noise: Number = 0.0
    synchronized: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked before numbers are traced."""
        if self.kind not in EXCITATIONS:
            raise ConfigError(
                f"unknown excitation `{self.kind}`",
                hint=near_matches(self.kind, EXCITATIONS),
            )
        if not self.rate > 0:
            raise ConfigError(
                f"an excitation needs a positive sampling rate, got {self.rate!r}"
            )

    def draw(
        self, key: Key[Array, ""], *, rows: int, samples: int, inputs: int
    ) -> Float[Array, "row time input"]:
        """Rows of it.

        Args:
            key: The only randomness.
            rows: How many rows.
            samples: Of each row.
            inputs: Channels of each sample.
        """
        dtype = jnp.zeros(()).dtype
        clock = Clock(
            times=jnp.arange(samples, dtype=dtype) / self.rate,
            rate=self.rate,
            slowest=self.frequency[0],
            fastest=self.frequency[1],
        )
        whole = (rows, inputs, 2 + _NUMBERS + 2 * samples)
        # Never 0, where a Gaussian would be infinite.
        tiny = float(jnp.finfo(dtype).tiny)
        numbers = jax.random.uniform(key, whole, dtype, minval=tiny)
        own, shape, each, white = jnp.split(
            numbers, (2, 2 + _NUMBERS, 2 + _NUMBERS + samples), axis=-1
        )
        if self.synchronized:
            shape, each = (jnp.broadcast_to(a[:, :1], a.shape) for a in (shape, each))
        form = EXCITATIONS[self.kind]
        waves = jax.vmap(jax.vmap(lambda n, s: form(clock, n, s)))(shape, each)
        low, high = self.amplitude
        size = low + (high - low) * own[..., :1]
        signal = size * waves + self.bias * _gaussian(own[..., 1:])
        return jnp.swapaxes(signal + self.noise * _gaussian(white), 1, 2)


def _turns(turns: Array) -> Array:
    """Radians of a phase in turns; whole turns are taken off first, which costs no digits."""
    return 2 * jnp.pi * (turns % 1.0)


def _sign(number: Array) -> Array:
    """Plus or minus 1 with equal probability."""
    return jnp.where(number < 0.5, 1.0, -1.0).astype(number.dtype)


def _gaussian(number: Array) -> Array:
    """Standard Gaussian numbers from uniform ones."""
    return ndtri(number)
