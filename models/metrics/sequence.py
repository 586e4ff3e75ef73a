"""Scores of predicted sequences against measured ones, in physical units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.errors import ConfigError, DataError, near_matches
from models.losses.elementwise import only, require_same_shape
from models.metrics.accumulators import (
    Mean,
    Moments,
    add,
    empty_mean,
    empty_moments,
    merge,
    moments,
)


class SequenceState(NamedTuple):
    """The sums that every sequence metric accumulates, per channel.

    Attributes:
        squared: The squared error.
        absolute: The absolute error.
        target: Moments of the target.
    """

    squared: Mean
    absolute: Mean
    target: Moments


def _rmse(state: SequenceState) -> Array:
    return jnp.sqrt(state.squared.value)


def _target_std(state: SequenceState) -> Array:
    count = jnp.maximum(state.target.count, 1).astype(state.target.mean.dtype)
    return jnp.sqrt(state.target.deviation / count)


def _ratio(state: SequenceState) -> Array:
    return _rmse(state) / _target_std(state)


_KINDS = {
    "rmse": _rmse,
    "mae": lambda state: state.absolute.value,
    "nrmse": _ratio,
    "fit": lambda state: 100.0 * (1.0 - _ratio(state)),
    "r2": lambda state: 1.0 - jnp.square(_ratio(state)),
}


class SequenceMetric:
    """One score of ``outputs[signal]`` against ``batch[signal]``, both ``[B, T, C]``.

    Each is computed per channel over all samples of all sequences, then averaged over the
    channels:

    * ``rmse``: root mean squared error, in the target's units;
    * ``mae``: mean absolute error, in the target's units;
    * ``nrmse``: rmse over the (population) standard deviation of the scored target;
    * ``fit``: ``100 (1 - nrmse)``, percent;
    * ``r2``: ``1 - nrmse²``, the coefficient of determination.

    A constant target makes the last three infinite or NaN; that is reported, not hidden.
    Where the batch has a mask ``seen.<signal>``, only what was seen counts.

    Args:
        kind: One of the names above.
        start: Samples at the start of every sequence that are not scored.
        name: What the value is reported as; the kind by default.
        signal: Name in the outputs and in the batch.
        output: Name in the outputs where it is another one.

    Raises:
        ConfigError: The kind is unknown or `start` is negative.
    """

    def __init__(
        self,
        *,
        kind: str,
        start: int = 0,
        name: str | None = None,
        signal: str = "y",
        output: str | None = None,
    ) -> None:
        if kind not in _KINDS:
            raise ConfigError(
                f"unknown metric `{kind}`", hint=near_matches(kind, _KINDS)
            )
        if start < 0:
            raise ConfigError(f"`start` must be at least 0, got {start}")
        self.kind = kind
        self.start = start
        self.name = kind if name is None else name
        self.signal = signal
        self.output = signal if output is None else output

    def init(
        self, outputs: Mapping[str, Array], batch: Mapping[str, Array]
    ) -> SequenceState:
        """The empty accumulator."""
        target = batch[self.signal]
        channels, dtype = target.shape[-1], target.dtype
        masked = f"seen.{self.signal}" in batch
        empty = empty_mean(channels, dtype, masked=masked)
        return SequenceState(
            empty, empty, empty_moments(channels, dtype, masked=masked)
        )

    def update(
        self,
        state: SequenceState,
        outputs: Mapping[str, Array],
        batch: Mapping[str, Array],
    ) -> SequenceState:
        """Add one batch.

        Raises:
            ValueError: Prediction and target differ in shape.
            DataError: No sample is left to score.
        """
        prediction, target = outputs[self.output], batch[self.signal]
        require_same_shape(prediction, target)
        if target.shape[1] <= self.start:
            raise DataError(
                f"`{self.name}` scores from sample {self.start}, but a sequence has only "
                f"{target.shape[1]} samples"
            )
        seen = batch.get(f"seen.{self.signal}")
        if seen is not None:
            prediction, target = only(seen, prediction, target)
            seen = seen[:, self.start :]
        error = (prediction - target)[:, self.start :]
        return SequenceState(
            add(state.squared, jnp.square(error), seen),
            add(state.absolute, jnp.abs(error), seen),
            merge(state.target, moments(target[:, self.start :], seen)),
        )

    def finish(self, state: SequenceState) -> Float[Array, ""]:
        """The score; NaN when nothing was added to some channel."""
        value = jnp.mean(_KINDS[self.kind](state))
        return jnp.where(jnp.all(state.target.count > 0), value, math.nan)


def sequence_metrics(
    *, start: int = 0, also: tuple[int, ...] = (), signal: str = "y"
) -> tuple[SequenceMetric, ...]:
    """All sequence metrics from sample `start`, and the rmse from other samples too.

    Args:
        start: Samples at the start of every sequence that are not scored.
        also: Further starts, reported as ``rmse_from_5`` and so on.
        signal: Name in the outputs and in the batch.
    """
    main = tuple(SequenceMetric(kind=k, start=start, signal=signal) for k in _KINDS)
    return main + tuple(
        SequenceMetric(kind="rmse", start=s, name=f"rmse_from_{s}", signal=signal)
        for s in also
    )
