"""How independent samples are drawn: the `data.*` keys of families that learn from rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.config import Config, static


@dataclass(frozen=True, kw_only=True)
class Rows(Config):
    """Batches of the train part's rows, in a new random order each epoch.

    Attributes:
        batch_size: Rows per batch.
        batches: Batches per epoch; None means every row once, without the last batch where
            it is incomplete. More than one pass draws every row once per pass.
        feeding: ``resident`` keeps the data on the device and gathers batches inside the
            compiled epoch, ``streaming`` reads them from the file; ``auto`` is resident
            when the part takes at most `models.data.device.RESIDENT_BYTES`.
        replacement: Whether rows are drawn one by one whatever was drawn before.
    """

    batch_size: int = static(64, low=1)
    batches: int | None = static(None, low=1)
    feeding: Literal["auto", "resident", "streaming"] = static("auto")
    replacement: bool = static(False)

    def unused(self) -> frozenset[str]:
        """What is not asked for: signatures are as before it could be."""
        return frozenset() if self.replacement else frozenset({"replacement"})
