"""The part that networks simulating a system share: everything around their own layers."""

from __future__ import annotations

from abc import abstractmethod

from flax import nnx
from jaxtyping import Array, Float, Key

from models.data.statistics import Statistics
from models.layers.linear import Linear
from models.layers.normalization import Standardize


class Simulator(nnx.Module):
    """Standardize, a family's own layers, a linear head, back to physical units.

    A family's constructor calls this one, adds its layers for `inputs` channels, and ends
    with ``initialize(self, key)``; `features` applies them.

    Args:
        statistics: Mean and standard deviation of the train part.
        width: Channels that `features` gives.
        skip: Whether the inputs also reach the outputs directly, through a linear map.
    """

    def __init__(self, *, statistics: Statistics, width: int, skip: bool) -> None:
        self.normalize_u = Standardize.of(statistics, "u")
        self.normalize_y = Standardize.of(statistics, "y")
        outputs = self.normalize_y.channels
        self.head = Linear(inputs=width, outputs=outputs)
        self.skip = (
            Linear(inputs=self.inputs, outputs=outputs, bias=False) if skip else None
        )

    @property
    def inputs(self) -> int:
        """Input channels."""
        return self.normalize_u.channels

    @abstractmethod
    def features(
        self, inputs: Float[Array, "batch time input"], *, key: Key[Array, ""] | None
    ) -> Float[Array, "batch time feature"]:
        """The features the head maps to outputs; inputs are standardized, a key means dropout."""

    def __call__(
        self,
        u: Float[Array, "batch time input"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch time output"]:
        """Simulate from rest, in physical units; a key switches dropout on."""
        inputs = self.normalize_u(u)
        outputs = self.head(self.features(inputs, key=key))
        if self.skip is not None:
            outputs = outputs + self.skip(inputs)
        return self.normalize_y.inverse(outputs)
