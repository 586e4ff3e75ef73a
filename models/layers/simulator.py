"""The part that the networks on sequences share: everything around their own layers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from models.data.statistics import Statistics
from models.errors import UserError
from models.layers import rate
from models.layers.encoder import measured
from models.layers.frames import Frames
from models.layers.linear import Linear
from models.layers.normalization import Scaling, Standardize

BEGIN = ()
"""The state of a stream of pieces before its first one."""


class Simulator(nnx.Module):
    """Standardize, a family's own layers, a linear head, back to physical units.

    A family's constructor calls this one, adds its layers for `inputs` channels, and ends
    with ``initialize(self, key)``; `features` applies them.

    Args:
        statistics: Mean and standard deviation of the train part.
        known: Whether outputs are given up to some sample: the layers then read
            ``[u, y·given, given]`` instead of u alone.
        width: Channels that `features` gives.
        skip: Whether the inputs also reach the outputs directly, through a linear map.
        scaling: How signals are scaled.
        scale_outputs: Whether the head gives scaled outputs; else physical ones.
        decimation: At every how many samples the layers read and answer. Between them the
            outputs are lines, so that the model reads and gives signals as they were recorded.
        frames: What the layers read instead of the inputs themselves, and answer for: frame
            by frame, with lines between the samples that frames are about.
    """

    def __init__(
        self,
        *,
        statistics: Statistics,
        known: bool,
        width: int,
        skip: bool,
        scaling: Scaling = "standard",
        scale_outputs: bool = True,
        decimation: int = 1,
        frames: Frames | None = None,
    ) -> None:
        self.normalize_u = Standardize.of(statistics, "u", scaling=scaling)
        self.normalize_y = Standardize.of(statistics, "y", scaling=scaling)
        self.scale_outputs = scale_outputs
        self.frames = frames
        self.factor = decimation if frames is None else frames.hop
        self.known = known
        outputs = self.normalize_y.channels
        self.head = Linear(inputs=width, outputs=outputs)
        self.skip = (
            Linear(inputs=self._channels(None), outputs=outputs, bias=False)
            if skip
            else None
        )

    @property
    def inputs(self) -> int:
        """Channels that the layers read."""
        return self._channels(self.frames)

    def _channels(self, frames: Frames | None) -> int:
        known = self.normalize_y.channels + 1 if self.known else 0
        own = self.normalize_u.channels if frames is None else frames.channels
        return own + known

    @abstractmethod
    def features(
        self, inputs: Float[Array, "batch time input"], *, key: Key[Array, ""] | None
    ) -> Float[Array, "batch time feature"]:
        """The channels that the head maps to outputs; a key switches dropout on."""

    def __call__(
        self, given: Mapping[str, Array], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "batch time output"]:
        """The outputs in physical units.

        Args:
            given: ``u`` ``[B, T, n_u]``, and where outputs are known ``y`` ``[B, T, n_y]``
                with the mask ``given.y`` ``[B, T, 1]``.
            key: Switches dropout on.
        """
        return self.with_features(given, key=key)[0]

    def with_features(
        self, given: Mapping[str, Array], *, key: Key[Array, ""] | None = None
    ) -> tuple[Float[Array, "batch time output"], Float[Array, "batch time feature"]]:
        """The outputs of a call, and the `features` that they are made of.

        Args:
            given: As for a call.
            key: Switches dropout on.
        """
        inputs = self._read(given)
        if self._at_every_sample:
            features = self.features(inputs, key=key)
            return self._outputs(inputs, self.head(features)), features
        features = self.features(self._coarse(inputs), key=key)
        outputs = self._outputs(inputs, self._fine(self.head(features), inputs))
        return outputs, self._fine(features, inputs)

    def initial_state(self, batch_size: int) -> Any:
        """What the layers remember before anything was seen.

        Raises:
            UserError: The family remembers nothing from one piece to the next.
        """
        raise UserError(
            f"`{type(self).__module__}` holds no state from one piece to the next",
            hint="predict whole sequences",
        )

    def advance(
        self,
        inputs: Float[Array, "batch time input"],
        state: Any,
        *,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch time feature"], Any]:
        """`features` from what the layers remember, and what they remember after."""
        raise NotImplementedError("a family with `initial_state` has this too")

    def stream(
        self,
        given: Mapping[str, Array],
        state: Any,
        *,
        key: Key[Array, ""] | None = None,
    ) -> tuple[dict[str, Array], Any]:
        """A piece of a sequence, and the state after it.

        Args:
            given: As for a call.
            state: After the piece before; `BEGIN` before the first.
            key: Switches dropout on.

        Returns:
            ``y`` ``[B, T, n_y]`` and the `features` that it is made of; the state.

        Raises:
            UserError: The layers do not answer at every sample.
        """
        if not self._at_every_sample:
            asked = "decimation" if self.frames is None else "spectrogram.hop"
            raise UserError(
                "a model whose layers work at a lower rate looks ahead and cannot go on from "
                f"piece to piece (`model.{asked}` is {self.factor})",
                hint="predict whole sequences",
            )
        inputs = self._read(given)
        if state == BEGIN:
            state = self.initial_state(inputs.shape[0])
        features, state = self.advance(inputs, state, key=key)
        outputs = self._outputs(inputs, self.head(features))
        return {"y": outputs, "features": features}, state

    @property
    def _at_every_sample(self) -> bool:
        return self.frames is None and self.factor == 1

    def _coarse(
        self, inputs: Float[Array, "batch time input"]
    ) -> Float[Array, "batch coarse input"]:
        """The inputs as the layers read them: u is filtered, what is known stays as it is."""
        own = self.normalize_u.channels
        fine = inputs[..., :own]
        u = self.frames(fine) if self.frames else rate.decimate(fine, self.factor)
        if not self.known:
            return u
        known = rate.every(inputs[..., own:], self.factor)
        return jnp.concatenate([u, known], axis=-1)

    def _fine(
        self,
        values: Float[Array, "batch coarse channel"],
        inputs: Float[Array, "batch time input"],
    ) -> Float[Array, "batch time channel"]:
        return rate.interpolate(values, self.factor, inputs.shape[1])

    def _outputs(
        self,
        inputs: Float[Array, "batch time input"],
        outputs: Float[Array, "batch time output"],
    ) -> Float[Array, "batch time output"]:
        """The outputs of the head in physical units, with the linear path beside it."""
        if self.skip is not None:
            outputs = outputs + self.skip(inputs)
        return self.normalize_y.inverse(outputs) if self.scale_outputs else outputs

    def _read(self, given: Mapping[str, Array]) -> Float[Array, "batch time input"]:
        """The input of the layers, standardized."""
        u = self.normalize_u(given["u"])
        if not self.known:
            return u
        return measured(u, self.normalize_y(given["y"]), given["given.y"])
