"""How a sequence network reads and answers: the scale and rate of its signals, as a block."""

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
        decimation: At every how many samples the layers work: inputs are filtered first, and
            outputs are lines between the samples that the layers give. The model still reads
            and gives signals as they were recorded, and is scored there, so that trials of
            different rates can be compared. Above 1 it looks ahead.
    """

    scaling: Scaling = static("standard")
    scale_outputs: bool = static(True)
    decimation: int = static(1, low=1)

    def unused(self) -> frozenset[str]:
        """What is as it was before there was a choice: signatures are as they were."""
        usual = {
            "scaling": self.scaling == "standard",
            "scale_outputs": self.scale_outputs,
            "decimation": self.decimation == 1,
        }
        return frozenset(name for name, same in usual.items() if same)
