"""How sequences are cut into windows and batches: the `data.*` keys of every family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.config import Config, static
from models.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Windows(Config):
    r"""Windows and batches of the train part.

    Attributes:
        window: Samples per window.
        stride: Samples between the starts of neighbouring windows of a file.
        batch_size: Windows per batch.
        batches: Batches per epoch; None means every window once, without the last batch
            where it is incomplete, and in consecutive order so many that none is left out.
            More than one pass draws every window once per pass.
        feeding: ``resident`` keeps the data on the device and gathers batches inside the
            compiled epoch, ``streaming`` reads them from the files; ``auto`` is resident
            when the part takes at most `models.data.device.RESIDENT_BYTES`.
        order: ``shuffled``, or ``consecutive``: as many parallel streams as the batch has
            rows, each cut into windows that follow one another (truncated
            back-propagation through time); windows then never overlap, and the last one of
            a record may hold less. Streams are equally long: where windows cannot be shared
            out evenly, some streams end with the window that the next one begins with.
        balance: Which windows are drawn how often: ``windows`` all alike; ``files``, so that
            each record as a whole is drawn as often as any other; ``category`` and
            ``value``, so that categories or parts of a range of values are, by what
            `balance_by` finds in the records' names.
        balance_by: A regular expression with one group, such as ``speed_(\d+)``.
        balance_bins: Into how many parts of equal width values are cut; a part stands for
            the empty ones next to it too.
        weights: Weight of a window of each record, in the order of the files' names; instead
            of `balance`.
        replacement: Whether windows are drawn one by one whatever was drawn before. If not,
            every window and record comes as often as its weight says, but for less than one.

    Raises:
        ConfigError: A value breaks a rule, or `stride` is given for a consecutive order.
    """

    window: int = static(200, low=1)
    stride: int = static(1, low=1)
    batch_size: int = static(64, low=1)
    batches: int | None = static(None, low=1)
    feeding: Literal["auto", "resident", "streaming"] = static("auto")
    order: Literal["shuffled", "consecutive"] = static("shuffled")
    balance: Literal["windows", "files", "category", "value"] = static("windows")
    balance_by: str = static("")
    balance_bins: int = static(10, low=1)
    weights: tuple[float, ...] = static((), low=0.0)
    replacement: bool = static(False)

    @property
    def weighted(self) -> bool:
        """Whether some windows are drawn more often than others."""
        return self.balance != "windows" or bool(self.weights)

    @property
    def named(self) -> bool:
        """Whether the records' names say which."""
        return self.balance in ("category", "value")

    def unused(self) -> frozenset[str]:
        """What is not asked for: signatures are as before it could be."""
        silent = {
            "balance": self.balance == "windows",
            "balance_by": not self.named,
            "balance_bins": self.balance != "value",
            "weights": not self.weights,
            "replacement": not self.replacement,
        }
        return frozenset(name for name, off in silent.items() if off)

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
        """Refuse what has no meaning beside the rest: a stride of windows in a row, names."""
        if self.balance != "windows" and self.weights:
            raise ConfigError(
                f"`data.weights` are given, and `data.balance` is `{self.balance}`",
                hint="leave one of them out",
            )
        if self.named != bool(self.balance_by):
            raise ConfigError(
                "`data.balance_by` says what of a record's name is balanced by `category` or "
                f"`value`, got {self.balance_by!r} for `data.balance` `{self.balance}`",
                hint=r"give a regular expression with one group, such as `speed_(\d+)`",
            )
        if self.order == "consecutive" and (self.weighted or self.replacement):
            raise ConfigError(
                "windows in consecutive order are all drawn once, got `data.balance` "
                f"`{self.balance}`, `data.weights` {list(self.weights)} and "
                f"`data.replacement` {str(self.replacement).lower()}",
                hint="set `data.order` to `shuffled`",
            )
        if self.weighted and self.batches is None:
            raise ConfigError(
                "windows that are weighted are not all drawn once, so that an epoch has no "
                "natural end, got `data.batches` null",
                hint="set `data.batches`",
            )
        if self.order == "consecutive" and self.stride not in (1, self.window):
            raise ConfigError(
                "windows in consecutive order do not overlap and leave nothing out, "
                f"got `stride` {self.stride} for `window` {self.window}",
                hint="leave `data.stride` out, or set `data.order` to `shuffled`",
            )
