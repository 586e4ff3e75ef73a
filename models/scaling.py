"""How a sequence network is told of units: the scale of its inputs and outputs, as a block."""

from __future__ import annotations

from dataclasses import dataclass

from models.config import Config, static
from models.layers.normalization import Scaling


@dataclass(frozen=True, kw_only=True)
class Scaled(Config):
    """A network that reads and gives scaled signals; inherited by the networks' own blocks.

    Attributes:
        scaling: What maps a channel of the train part to numbers around 1: its mean and
            ``standard`` deviation; ``minmax``, so that its values lie from -1 to 1; or
            ``maxabs``, which keeps its zero where it is. Outputs are mapped likewise.
        scale_outputs: Whether the network gives scaled outputs; else physical ones, of its
            linear head.
    """

    scaling: Scaling = static("standard")
    scale_outputs: bool = static(True)

    def unused(self) -> frozenset[str]:
        """What is as it was before there was a choice: signatures are as they were."""
        usual = {
            "scaling": self.scaling == "standard",
            "scale_outputs": self.scale_outputs,
        }
        return frozenset(name for name, same in usual.items() if same)
