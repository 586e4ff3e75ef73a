"""The protocol of a metric, and the moments it accumulates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Metric(Protocol):
    """Accumulates over batches; the result does not depend on how they were cut.

    ``init()`` gives the empty accumulator, a pytree of arrays; ``update`` adds a batch;
    ``finish`` gives the scalar. All three are pure and run inside compiled code.
    """

    @property
    def name(self) -> str:
        """The name that the value is reported under."""
        ...

    def init(self, outputs: Mapping[str, Array], batch: Mapping[str, Array]) -> Any:
        """The empty accumulator for outputs and batches of these shapes."""
        ...

    def update(
        self, state: Any, outputs: Mapping[str, Array], batch: Mapping[str, Array]
    ) -> Any:
        """The accumulator after one more batch."""
        ...

    def finish(self, state: Any) -> Float[Array, ""]:
        """The metric's value."""
        ...


class Mean(NamedTuple):
    """Count and sum per channel, of values that do not cancel (errors, say)."""

    count: Int[Array, ""]
    total: Float[Array, " channel"]

    @property
    def value(self) -> Float[Array, " channel"]:
        """The mean; NaN of nothing."""
        return self.total / self.count.astype(self.total.dtype)


def empty_mean(channels: int, dtype: Any) -> Mean:
    """The mean of nothing, for `channels` channels."""
    return Mean(jnp.zeros((), jnp.int32), jnp.zeros((channels,), dtype))


def add(state: Mean, values: Float[Array, "*rows channel"]) -> Mean:
    """The mean with more values, over every axis but the last."""
    rows = values.reshape(-1, values.shape[-1])
    return Mean(state.count + rows.shape[0], state.total + jnp.sum(rows, axis=0))


class Moments(NamedTuple):
    """Count, mean and sum of squared deviations from the mean, per channel.

    Kept in this shifted form because ``sum(x²) - sum(x)²/n`` cancels in float32.
    """

    count: Int[Array, ""]
    mean: Float[Array, " channel"]
    deviation: Float[Array, " channel"]


def empty_moments(channels: int, dtype: Any) -> Moments:
    """Moments of nothing, for `channels` channels."""
    zero = jnp.zeros((channels,), dtype)
    return Moments(jnp.zeros((), jnp.int32), zero, zero)


def moments(values: Float[Array, "*rows channel"]) -> Moments:
    """Moments over every axis but the last, by two passes."""
    rows = values.reshape(-1, values.shape[-1])
    mean = jnp.mean(rows, axis=0)
    deviation = jnp.sum(jnp.square(rows - mean[None]), axis=0)
    return Moments(jnp.asarray(rows.shape[0], jnp.int32), mean, deviation)


def merge(first: Moments, second: Moments) -> Moments:
    """Moments of two sets together.

    Source: Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for
    computing sample variances".
    """
    dtype = first.mean.dtype
    count = first.count + second.count
    total = jnp.maximum(count, 1).astype(dtype)
    share = second.count.astype(dtype) / total
    step = second.mean - first.mean
    between = jnp.square(step) * first.count.astype(dtype) * share
    return Moments(
        count, first.mean + step * share, first.deviation + second.deviation + between
    )


class Average:
    """The mean of a function's values over everything it is shown.

    Args:
        name: What the value is reported as.
        function: ``(outputs, batch) -> array``; every element counts once.
    """

    def __init__(
        self,
        *,
        name: str,
        function: Callable[[Mapping[str, Array], Mapping[str, Array]], Array],
    ) -> None:
        self.name = name
        self.function = function

    def init(self, outputs: Mapping[str, Array], batch: Mapping[str, Array]) -> Mean:
        """The empty accumulator."""
        return empty_mean(1, self.function(outputs, batch).dtype)

    def update(
        self, state: Mean, outputs: Mapping[str, Array], batch: Mapping[str, Array]
    ) -> Mean:
        """Add the values of one batch."""
        return add(state, self.function(outputs, batch).reshape(-1, 1))

    def finish(self, state: Mean) -> Float[Array, ""]:
        """The mean; NaN when nothing was added."""
        return state.value[0]
