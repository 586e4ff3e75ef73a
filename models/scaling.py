"""How a sequence network reads and answers: the scale, rate and form of its signals, as a block."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.config import Config, static
from models.data.statistics import Statistics
from models.errors import ConfigError
from models.layers.frames import Frames, Scale
from models.layers.normalization import Scaling
from models.layers.spectrogram import Spectrogram


@dataclass(frozen=True, kw_only=True)
class Scaled(Config):
    """A network that reads and gives scaled signals; inherited by the networks' own blocks.

    Attributes:
        scaling: What maps a channel of the train part to numbers around 1: its mean and
            ``standard`` deviation; ``minmax``, so that its values lie from -1 to 1; or
            ``maxabs``, which keeps its zero where it is. Outputs are mapped likewise.
        scale_outputs: Whether the network gives scaled outputs; else physical ones, of its
            linear head.
        decimation: At every how many samples the layers work: inputs are filtered first, and
            outputs are lines between the samples that the layers give. The model still reads
            and gives signals as they were recorded, and is scored there, so that trials of
            different rates can be compared. Above 1 it looks ahead.
    """

    scaling: Scaling = static("standard")
    scale_outputs: bool = static(True)
    decimation: int = static(1, low=1)

    @property
    def ahead(self) -> str:
        """What makes the layers look ahead, key and value; nothing if they do not."""
        return f"`model.decimation` {self.decimation}" if self.decimation > 1 else ""

    def require_room(self, window: int) -> None:
        """Refuse windows that are too short for what the layers read.

        Raises:
            ConfigError: They are.
        """

    def unused(self) -> frozenset[str]:
        """What is as it was before there was a choice: signatures are as they were."""
        usual = {
            "scaling": self.scaling == "standard",
            "scale_outputs": self.scale_outputs,
            "decimation": self.decimation == 1,
        }
        return frozenset(name for name, same in usual.items() if same)


@dataclass(frozen=True, kw_only=True)
class Spectra(Config):
    """Frames of their spectrum that layers read instead of the inputs; off by default.

    Attributes:
        window: Samples of a frame, even; 0 for none: the layers read the inputs themselves.
        hop: Samples between frames, at most a window; 0 for half a window.
        scale: What of a frequency is read: the natural logarithm of its power (``log``),
            its ``power``, or its ``magnitude``.
    """

    window: int = static(0, low=0)
    hop: int = static(0, low=0)
    scale: Scale = static("log")

    @property
    def between(self) -> int:
        """Samples between frames."""
        return self.hop or self.window // 2

    def validate(self) -> None:
        """Refuse frames that cannot be made."""
        if self.window:
            Spectrogram(window=self.window, hop=self.between)

    def unused(self) -> frozenset[str]:
        """All of it where there are no frames; signatures are as before there were any."""
        return frozenset() if self.window else frozenset(self.keys())


@dataclass(frozen=True, kw_only=True)
class Framed(Scaled):
    """A network that may read its inputs frame by frame; inherited by rnn, tcn and crnn.

    Attributes:
        spectrogram: Frames that the layers read. They answer once a frame, about its middle,
            and outputs are lines between these samples: the model is scored at the recorded
            rate, as with `decimation`, and looks ahead.
    """

    spectrogram: Spectra = field(default_factory=Spectra)

    @property
    def ahead(self) -> str:
        """What makes the layers look ahead, key and value; nothing if they do not."""
        window = self.spectrogram.window
        return f"`model.spectrogram.window` {window}" if window else super().ahead

    def require_room(self, window: int) -> None:
        """Refuse windows that cannot be mirrored by half a frame.

        Raises:
            ConfigError: They are too short.
        """
        if self.spectrogram.window // 2 >= window:
            raise ConfigError(
                "a frame is at most twice as long as what it is cut from, got "
                f"`model.spectrogram.window` {self.spectrogram.window} for windows of "
                f"{window} samples",
                hint=f"set `model.spectrogram.window` below {2 * window}, or "
                "`data.window` higher",
            )

    def validate(self) -> None:
        """Refuse frames of a decimated signal: they have a rate of their own."""
        if self.spectrogram.window and self.decimation > 1:
            raise ConfigError(
                "frames of a spectrogram have a rate of their own, got `model.decimation` "
                f"{self.decimation} with `model.spectrogram.window` "
                f"{self.spectrogram.window}",
                hint="set `model.decimation` to 1, or `model.spectrogram.window` to 0",
            )

    def frames(self, statistics: Statistics) -> Frames | None:
        """The layer of ``u``; None where the inputs are read themselves.

        Args:
            statistics: Of the train part.
        """
        if not self.spectrogram.window:
            return None
        return Frames.of(
            statistics,
            "u",
            window=self.spectrogram.window,
            hop=self.spectrogram.between,
            scale=self.spectrogram.scale,
            scaling=self.scaling,
        )
