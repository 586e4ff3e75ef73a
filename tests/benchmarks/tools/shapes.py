"""The models and batches whose training throughput is compared: six plain ones, and families."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

P_STATE_ENCODER = 0.3
"""Probability that a batch of a PIRNN begins with its state encoder, here and there."""

INFORMED = ("residual", "collocation", "consistency", "transition")
"""The terms beside the data loss that a PIRNN is trained with, here and there."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One model on one kind of batch; one input and one output channel.

    Attributes:
        name: Short, for the command line.
        cell: ``gru``, ``lstm`` or ``tcn``; ``ar``, a GRU that is fed its own last output;
            ``fransys`` and ``pirnn``, whose windows have their first quarter of outputs
            known; ``pirnn`` is told a linear equation of two states, one of them unmeasured.
        width: Hidden size or channels.
        layers: Recurrent layers, or depth of the TCN.
        window: Samples in a window.
        batch_size: Windows in a batch.
        batches: Batches in an epoch; chosen so that torch takes one to two seconds.
        kernel: Taps of a convolution.
    """

    name: str
    cell: str
    width: int
    layers: int
    window: int
    batch_size: int
    batches: int
    kernel: int = 3

    @property
    def plain(self) -> bool:
        """Whether it counts for the mean over shapes that docs and bars speak of."""
        return self.cell in ("gru", "lstm", "tcn")

    @property
    def known(self) -> int:
        """Outputs at the start of a window that are known."""
        return self.window // 4 if self.cell in ("fransys", "pirnn") else 0

    @property
    def windows(self) -> int:
        """Windows in an epoch."""
        return self.batches * self.batch_size

    @property
    def title(self) -> str:
        """As tables print it."""
        what = f"{self.cell.upper()} {self.width}×{self.layers}"
        if self.cell == "tcn":
            what = f"TCN {self.width} depth {self.layers} kernel {self.kernel}"
        return f"{what}, window {self.window}, batch {self.batch_size}"

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(
            name="gru-32",
            cell="gru",
            width=32,
            layers=1,
            window=200,
            batch_size=16,
            batches=64,
        ),
        Shape(
            name="gru-64x2",
            cell="gru",
            width=64,
            layers=2,
            window=200,
            batch_size=64,
            batches=10,
        ),
        Shape(
            name="gru-32-long",
            cell="gru",
            width=32,
            layers=1,
            window=500,
            batch_size=64,
            batches=12,
        ),
        Shape(
            name="lstm-64",
            cell="lstm",
            width=64,
            layers=1,
            window=200,
            batch_size=64,
            batches=16,
        ),
        Shape(
            name="tcn-6",
            cell="tcn",
            width=32,
            layers=6,
            window=200,
            batch_size=16,
            batches=80,
        ),
        Shape(
            name="tcn-8",
            cell="tcn",
            width=32,
            layers=8,
            window=500,
            batch_size=64,
            batches=8,
        ),
        Shape(
            name="ar-64",
            cell="ar",
            width=64,
            layers=1,
            window=200,
            batch_size=16,
            batches=12,
        ),
        Shape(
            name="fransys-64",
            cell="fransys",
            width=64,
            layers=1,
            window=200,
            batch_size=16,
            batches=32,
        ),
        Shape(
            name="pirnn-64",
            cell="pirnn",
            width=64,
            layers=1,
            window=200,
            batch_size=16,
            batches=16,
        ),
    )
}
