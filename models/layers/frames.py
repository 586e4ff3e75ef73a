"""Signals as a network reads them in frames: their spectrum, on a scale, around 0 and 1."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from models.data.statistics import Statistics
from models.layers.normalization import Scaling, Standardize
from models.layers.rate import coarse_length
from models.layers.spectrogram import Spectrogram

Scale: TypeAlias = Literal["log", "power", "magnitude"]
POWERS: dict[str, float] = {"log": 2.0, "power": 2.0, "magnitude": 1.0}
FLOOR = 1e-6
"""Power below which a logarithm tells nothing: 60 dB under white noise as loud as the signal."""


class Frames(nnx.Module):
    """The spectrum of every channel in frames `hop` samples apart, each frequency standardized.

    Args:
        spectrogram: The frames; of signals that are scaled.
        scale: The natural logarithm of powers, powers, or magnitudes.
        normalize: Of what comes then, per channel and frequency.
    """

    def __init__(
        self, *, spectrogram: Spectrogram, scale: Scale, normalize: Standardize
    ) -> None:
        self.spectrogram, self.scale, self.normalize = spectrogram, scale, normalize

    @classmethod
    def of(
        cls,
        statistics: Statistics,
        signal: str,
        *,
        window: int,
        hop: int,
        scale: Scale,
        scaling: Scaling = "standard",
    ) -> Frames:
        """Frames whose statistics are those of the train part's frames.

        Args:
            statistics: Of the train part, which is read once more.
            signal: A role.
            window: Samples of a frame; see `Spectrogram`.
            hop: Samples between frames.
            scale: Of the spectrum.
            scaling: Of the signal before it; what a frame reads is then around 0 and 1.

        Raises:
            ConfigError: `window` or `hop` is out of range.
            DataError: No record is long enough for a frame.
        """
        spectrogram = Spectrogram(
            window=window, hop=hop, power=POWERS[scale], normalised=True
        )
        middle, reach = Standardize.constants(statistics, signal, scaling=scaling)

        def made(block: np.ndarray) -> np.ndarray | None:
            if len(block) <= window // 2:
                return None
            scaled = (np.asarray(block, np.float64) - middle) / reach
            return np.asarray(_scaled(spectrogram(scaled[None]), scale)[0])

        key = (window, hop, scale, scaling)
        mean, std = statistics.made_of(signal, made, key=key)
        return cls(
            spectrogram=spectrogram,
            scale=scale,
            normalize=Standardize(mean=mean, std=std),
        )

    @property
    def hop(self) -> int:
        """Samples between frames."""
        return self.spectrogram.hop

    @property
    def channels(self) -> int:
        """Channels of a frame: of all signals all frequencies."""
        return self.normalize.channels

    def __call__(
        self, signal: Float[Array, "batch time channel"]
    ) -> Float[Array, "batch frame feature"]:
        """As many frames as `coarse_length` says; what lies behind the last one repeats it.

        Args:
            signal: Scaled as `of` was told.

        Raises:
            ConfigError: There is less signal than half a frame.
        """
        values = self.normalize(_scaled(self.spectrogram(signal), self.scale))
        count = coarse_length(signal.shape[1], self.hop)
        behind = max(0, count - values.shape[1])
        padded = jnp.pad(values, ((0, 0), (0, behind), (0, 0)), mode="edge")
        return padded[:, :count]


def _scaled(frames: Any, scale: Scale) -> Any:
    arrays = frames.__array_namespace__()
    return arrays.log(frames + FLOOR) if scale == "log" else frames
