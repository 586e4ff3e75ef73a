"""Short-time Fourier transforms: a signal as frames of its spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Array, Complex, Float

from models.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Spectrogram:
    """Power of the frequencies of windows that begin `hop` samples apart.

    Frames are centred: the signal is mirrored by half a window at both ends, so that frame k
    is about sample ``k hop``, and there are ``1 + time // hop`` of them. Each is weighed by
    the periodic Hann window.

    Attributes:
        window: Samples of a frame, even.
        hop: Samples between frames, at most `window`, or samples would be seen by none.
        power: 1 for magnitudes, 2 for powers.
        normalised: Whether frames are divided by the window's length in the root of its
            sum of squares, so that white noise of variance 1 has power 1 at every frequency.

    Raises:
        ConfigError: The hop is longer than the window, or a value is out of range.
    """

    window: int
    hop: int
    power: float = 2.0
    normalised: bool = False

    def __post_init__(self) -> None:
        if self.window < 2 or self.window % 2:
            raise ConfigError(
                f"`window` is an even number of samples, 2 or more, got {self.window}"
            )
        if not 1 <= self.hop <= self.window:
            raise ConfigError(
                f"`hop` must be from 1 to `window` {self.window}, or samples between two "
                f"frames are seen by none, got {self.hop}",
                hint=f"half a window is usual: {self.window // 2}",
            )
        if not self.power > 0:
            raise ConfigError(f"`power` must be positive, got {self.power}")

    @property
    def frequencies(self) -> int:
        """Channels that each channel becomes: from 0 to half the rate."""
        return self.window // 2 + 1

    def frames(self, time: int) -> int:
        """How many frames a signal of so many samples has."""
        return 1 + time // self.hop

    def rate(self, rate: float) -> float:
        """Frames a second of a signal with so many samples a second."""
        return rate / self.hop

    def centres(self, time: int) -> np.ndarray:
        """The sample that each frame is about ``[frames]``: where a loss holds it against."""
        return np.arange(self.frames(time)) * self.hop

    def transform(
        self, signal: Float[Array, "batch time channel"]
    ) -> Complex[Array, "batch frame frequency channel"]:
        """The complex short-time Fourier transform, one-sided; NumPy in, NumPy out.

        Raises:
            ConfigError: The signal is too short to be mirrored by half a window.
        """
        half, time = self.window // 2, signal.shape[1]
        if time <= half:
            raise ConfigError(
                f"a signal of {time} samples cannot be mirrored by half a window, {half}",
                hint=f"choose `window` below {2 * time}",
            )
        arrays: Any = signal.__array_namespace__()
        padded = arrays.pad(signal, ((0, 0), (half, half), (0, 0)), mode="reflect")
        place = self.centres(time)[:, None] + np.arange(self.window)[None]
        angle = 2 * np.pi * np.arange(self.window) / self.window
        hann = 0.5 - 0.5 * np.cos(angle)
        if self.normalised:
            hann = hann / np.sqrt(np.sum(hann**2))
        weights = arrays.asarray(hann, signal.dtype)[None, None, :, None]
        found: Complex[Array, "batch frame frequency channel"] = arrays.fft.rfft(
            padded[:, place] * weights, axis=2
        )
        return found

    def __call__(
        self, signal: Float[Array, "batch time channel"]
    ) -> Float[Array, "batch frame feature"]:
        """``|transform|^power``; the frequencies of one channel lie side by side.

        Args:
            signal: In physical units.

        Returns:
            ``[B, frames, channels · frequencies]``, in the signal's unit to the power.
        """
        arrays: Any = signal.__array_namespace__()
        found = arrays.moveaxis(self.transform(signal), 3, 2)
        square = arrays.square(found.real) + arrays.square(found.imag)
        if self.power != 2.0:
            # Slope 0 where nothing is, instead of none.
            there = square > 0
            root = arrays.where(there, square, 1.0) ** (self.power / 2.0)
            square = arrays.where(there, root, 0.0)
        frames: Float[Array, "batch frame feature"] = square.reshape(
            *square.shape[:2], -1
        )
        return frames
