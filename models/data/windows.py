"""How sequences are cut into windows and batches: the `data.*` keys of every family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.config import Config, static
from models.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Windows(Config):
    """Windows and batches of the train part.

    Attributes:
        window: Samples per window.
        stride: Samples between the starts of neighbouring windows of a file.
        batch_size: Windows per batch.
        batches: Batches per epoch; None means every window once, without the last batch
            where it is incomplete. More than one pass draws every window once per pass.
        feeding: ``resident`` keeps the data on the device and gathers batches inside the
            compiled epoch, ``streaming`` reads them from the files; ``auto`` is resident
            when the part takes at most `models.data.feeding.RESIDENT_BYTES`.
        order: ``shuffled``, or ``consecutive``: as many parallel streams as the batch has
            rows, each cut into windows that follow one another (truncated
            back-propagation through time); windows then never overlap.

    Raises:
        ConfigError: A value breaks a rule, or `stride` is given for a consecutive order.
    """

    window: int = static(200, low=1)
    stride: int = static(1, low=1)
    batch_size: int = static(64, low=1)
    batches: int | None = static(None, low=1)
    feeding: Literal["auto", "resident", "streaming"] = static("auto")
    order: Literal["shuffled", "consecutive"] = static("shuffled")

    def require_shuffled(self) -> None:
        """Refuse windows in a row; for families that hand nothing on from one to the next.

        Raises:
            ConfigError: They follow one another.
        """
        if self.order == "consecutive":
            raise ConfigError(
                "`data.order` is `consecutive`, but this family carries no state from one "
                "window to the next",
                hint="leave `data.order` out: windows are then shuffled",
            )

    def validate(self) -> None:
        """Windows in consecutive order follow one another, so a stride has no meaning."""
        if self.order == "consecutive" and self.stride not in (1, self.window):
            raise ConfigError(
                "windows in consecutive order do not overlap and leave nothing out, "
                f"got `stride` {self.stride} for `window` {self.window}",
                hint="leave `data.stride` out, or set `data.order` to `shuffled`",
            )
