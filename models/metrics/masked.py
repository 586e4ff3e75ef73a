"""Errors over the entries that a mask chooses, pooled over rows, times and channels."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from models.errors import ConfigError, near_matches
from models.losses.elementwise import (
    absolute_error,
    only,
    squared_error,
)
from models.metrics.accumulators import Mean

_ERRORS = {"mse": squared_error, "rmse": squared_error, "mae": absolute_error}


class MaskedMetric:
    """One error of ``outputs[output]`` against ``batch[signal]`` where ``batch[mask]``.

    Every chosen entry counts once: ``mse`` the mean squared error, ``rmse`` its root,
    ``mae`` the mean absolute error. What the mask leaves out may hold anything.

    Args:
        kind: One of these names.
        signal: Name in the outputs and in the batch, ``[B, …, C]``.
        mask: Name in the batch; of a shape that broadcasts to the signal's.
        unit: What 1 is, per channel, in physical units; one for physical units.
        output: Name in the outputs, where it is another than in the batch.
        channel: The only one that counts; all by default.
        name: What the value is reported as; the kind by default.

    Raises:
        ConfigError: The kind is unknown.
    """

    def __init__(
        self,
        *,
        kind: str,
        signal: str,
        mask: str,
        unit: np.ndarray | float = 1.0,
        output: str | None = None,
        channel: int | None = None,
        name: str | None = None,
    ) -> None:
        if kind not in _ERRORS:
            raise ConfigError(
                f"unknown metric `{kind}`", hint=near_matches(kind, _ERRORS)
            )
        self.kind = kind
        self.signal = signal
        self.mask = mask
        self.unit = unit
        self.output = signal if output is None else output
        self.channel = channel
        self.name = kind if name is None else name

    def init(self, outputs: Mapping[str, Array], batch: Mapping[str, Array]) -> Mean:
        """The empty accumulator."""
        return Mean(jnp.zeros((), jnp.int32), jnp.zeros((1,), batch[self.signal].dtype))

    def update(
        self, state: Mean, outputs: Mapping[str, Array], batch: Mapping[str, Array]
    ) -> Mean:
        """Add one batch.

        Raises:
            ValueError: Prediction and target differ in shape.
        """
        target = batch[self.signal]
        mask = jnp.broadcast_to(batch[self.mask], target.shape)
        if self.channel is not None:
            only_this = jnp.arange(target.shape[-1]) == self.channel
            mask = mask & jnp.broadcast_to(only_this, mask.shape)
        prediction, target = only(mask, outputs[self.output], target)
        unit = jnp.broadcast_to(jnp.asarray(self.unit, target.dtype), target.shape)
        error = _ERRORS[self.kind](prediction / unit, target / unit)
        count = jnp.sum(mask, dtype=jnp.int32)
        return Mean(state.count + count, state.total + jnp.sum(error))

    def finish(self, state: Mean) -> Float[Array, ""]:
        """The error; NaN when nothing was added."""
        value = state.value[0]
        return jnp.sqrt(value) if self.kind == "rmse" else value
