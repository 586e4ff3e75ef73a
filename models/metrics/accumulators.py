"""The protocol of a metric, and the moments it accumulates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


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
    """Count and sum per channel, of values that do not cancel (errors, say).

    The count is one number, or ``[channel]`` where masks leave values out.
    """

    count: Int[Array, "*channel"]
    total: Float[Array, " channel"]

    @property
    def value(self) -> Float[Array, " channel"]:
        """The mean; NaN of nothing."""
        return self.total / self.count.astype(self.total.dtype)


def empty_mean(channels: int, dtype: Any, *, masked: bool = False) -> Mean:
    """The mean of nothing, for `channels` channels."""
    return Mean(_no_count(channels, masked), jnp.zeros((channels,), dtype))


def add(
    state: Mean,
    values: Float[Array, "*rows channel"],
    mask: Bool[Array, "*rows channel"] | None = None,
) -> Mean:
    """The mean with more values, over every axis but the last.

    Args:
        state: Of what came before.
        values: To add.
        mask: Which of them count; for a mean that began as `masked`.
    """
    rows = values.reshape(-1, values.shape[-1])
    if mask is None:
        return Mean(state.count + rows.shape[0], state.total + jnp.sum(rows, axis=0))
    chosen = mask.reshape(rows.shape)
    count = jnp.sum(chosen, axis=0, dtype=jnp.int32)
    total = jnp.sum(jnp.where(chosen, rows, jnp.zeros_like(rows)), axis=0)
    return Mean(state.count + count, state.total + total)


class Moments(NamedTuple):
    """Count, mean and sum of squared deviations from the mean, per channel.

    Kept in this shifted form because ``sum(x²) - sum(x)²/n`` cancels in float32. The count
    is one number, or ``[channel]`` where masks leave values out.
    """

    count: Int[Array, "*channel"]
    mean: Float[Array, " channel"]
    deviation: Float[Array, " channel"]


def empty_moments(channels: int, dtype: Any, *, masked: bool = False) -> Moments:
    """Moments of nothing, for `channels` channels."""
    zero = jnp.zeros((channels,), dtype)
    return Moments(_no_count(channels, masked), zero, zero)


def moments(
    values: Float[Array, "*rows channel"],
    mask: Bool[Array, "*rows channel"] | None = None,
) -> Moments:
    """Moments over every axis but the last, by two passes.

    Args:
        values: All of them.
        mask: Which of them count.
    """
    rows = values.reshape(-1, values.shape[-1])
    if mask is None:
        mean = jnp.mean(rows, axis=0)
        deviation = jnp.sum(jnp.square(rows - mean[None]), axis=0)
        return Moments(jnp.asarray(rows.shape[0], jnp.int32), mean, deviation)
    chosen, zero = mask.reshape(rows.shape), jnp.zeros_like(rows)
    count = jnp.sum(chosen, axis=0, dtype=jnp.int32)
    total = jnp.sum(jnp.where(chosen, rows, zero), axis=0)
    mean = total / jnp.maximum(count, 1).astype(rows.dtype)
    apart = jnp.where(chosen, rows - mean[None], zero)
    return Moments(count, mean, jnp.sum(jnp.square(apart), axis=0))


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


def _no_count(channels: int, masked: bool) -> Int[Array, "*channel"]:
    return jnp.zeros((channels,) if masked else (), jnp.int32)


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
