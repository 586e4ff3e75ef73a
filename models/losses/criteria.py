"""What is averaged to one number: an error over a batch, as a sum and a count.

A `Criterion` is called as a plain loss, ``mse(prediction, target)``, and gives a number. What
it is made of, a sum and how much was summed, lets a batch that is trained in parts weigh each
of them by what it holds (`models.losses.terms.Term.count`).

All arrays are ``[B, T, C]``. A weight beside them is a mask (what it hides may hold anything,
NaN too) or a number for every entry, zero for one that is hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from models.losses.elementwise import (
    absolute_error,
    huber_error,
    only,
    require_same_shape,
    squared_error,
)

Signal: TypeAlias = Float[Array, "batch time channel"]
Weight: TypeAlias = (
    Bool[Array, "batch time channel"] | Float[Array, "batch time channel"]
)


class SumCount(NamedTuple):
    """A sum and how much was summed.

    Attributes:
        total: The sum.
        count: Of the summed entries, or the sum of their weights.
    """

    total: Float[Array, ""]
    count: Int[Array, ""] | Float[Array, ""] | float

    @property
    def value(self) -> Float[Array, ""]:
        """The mean; 0 of nothing."""
        return self.total / divisor(self.count, self.total)


Sums: TypeAlias = Callable[[Signal, Signal, Weight | None], SumCount]


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """A loss of a prediction, made of a sum and a count.

    Attributes:
        sums: ``(prediction, target, weight or None) -> sum and count``. The count follows
            from target and weight alone, never from the prediction.
        whole: Whether this is no mean over rows (a root, a ratio): a batch is then never
            trained in parts.
    """

    sums: Sums
    whole: bool = False

    def __call__(
        self, prediction: Signal, target: Signal, weight: Weight | None = None
    ) -> Float[Array, ""]:
        """The loss; 0 where nothing counts.

        Raises:
            ValueError: Prediction and target differ in shape.
        """
        return self.sums(prediction, target, weight).value


def divisor(count: Array | float, like: Array) -> Array:
    """The count as what a sum is divided by: 1 where nothing was counted.

    Args:
        count: A number of entries, or a sum of weights.
        like: Gives the type.
    """
    if isinstance(count, Array) and jnp.issubdtype(count.dtype, jnp.integer):
        return jnp.maximum(count, 1).astype(like.dtype)
    number = jnp.asarray(count, like.dtype)
    return jnp.where(number > 0, number, jnp.ones_like(number))


def seen_only(
    prediction: Signal, target: Signal, weight: Weight | None
) -> tuple[Signal, Signal, Signal]:
    """Both arrays with zeros where nothing counts, and the weight as numbers.

    Raises:
        ValueError: The shapes differ.
    """
    require_same_shape(prediction, target)
    if weight is None:
        return prediction, target, jnp.ones_like(target)
    require_same_shape(weight, target)
    seen = weight if weight.dtype == bool else weight != 0
    return *only(seen, prediction, target), weight.astype(target.dtype)


def mean_error(error: Callable[[Signal, Signal], Signal]) -> Criterion:
    """The mean of an elementwise error over all that counts.

    Args:
        error: Such as `models.losses.squared_error`.
    """

    def sums(prediction: Signal, target: Signal, weight: Weight | None) -> SumCount:
        require_same_shape(prediction, target)
        if weight is None:
            return SumCount(jnp.sum(error(prediction, target)), float(target.size))
        prediction, target, size = seen_only(prediction, target, weight)
        if weight.dtype == bool:
            # What is hidden is 0 in both, so that its error is 0 without being weighed.
            count = jnp.sum(weight, dtype=jnp.int32)
            return SumCount(jnp.sum(error(prediction, target)), count)
        return SumCount(jnp.sum(size * error(prediction, target)), jnp.sum(size))

    return Criterion(sums=sums)


mse = mean_error(squared_error)
"""Mean squared error, in squared units of the target."""
mae = mean_error(absolute_error)
"""Mean absolute error, in units of the target."""
huber = mean_error(huber_error)
"""Mean Huber error: quadratic up to an error of 1, linear beyond."""


def root(values: Array) -> Array:
    """The square root with slope 0 at 0, where its own has none; NaN stays NaN."""
    positive = values > 0
    # Not 0 for what is not a number, or a model that diverged would have no error.
    other = jnp.where(jnp.isnan(values), values, jnp.zeros_like(values))
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, values, 1.0)), other)


def _by_channel(values: Signal, weight: Signal) -> Float[Array, " channel"]:
    """The weighted mean over rows and times; 0 of nothing."""
    total, count = jnp.sum(weight * values, (0, 1)), jnp.sum(weight, (0, 1))
    return total / jnp.where(count > 0, count, 1.0)


def _spread(values: Signal, weight: Signal) -> Float[Array, " channel"]:
    """The variance over rows and times, per channel."""
    mean = jnp.broadcast_to(_by_channel(values, weight)[None, None], values.shape)
    return _by_channel(jnp.square(values - mean), weight)


def _ratio(above: Array, below: Array) -> Array:
    """A ratio of variances; in squared units where a channel does not vary."""
    return above / jnp.where(below > 0, below, 1.0)


def _nrmse(prediction: Signal, target: Signal, weight: Weight | None) -> SumCount:
    prediction, target, size = seen_only(prediction, target, weight)
    error = _by_channel(jnp.square(prediction - target), size)
    return SumCount(jnp.mean(root(_ratio(error, _spread(target, size)))), 1.0)


def _unaccounted(prediction: Signal, target: Signal, weight: Weight | None) -> SumCount:
    prediction, target, size = seen_only(prediction, target, weight)
    error = _spread(prediction - target, size)
    return SumCount(jnp.mean(_ratio(error, _spread(target, size))), 1.0)


nrmse = Criterion(sums=_nrmse, whole=True)
"""Root mean squared error over the target's standard deviation, both per channel over the
batch; averaged over channels."""

unaccounted = Criterion(sums=_unaccounted, whole=True)
"""Variance of the error over that of the target, per channel, averaged: what is minimised
where the variance accounted for (`vaf`) is to be large. Blind to an offset."""


def vaf(
    prediction: Signal, target: Signal, weight: Weight | None = None
) -> Float[Array, ""]:
    """Variance accounted for, in percent: ``100 (1 - var(error) / var(target))``.

    Large is good; `unaccounted` is the loss.

    Raises:
        ValueError: The shapes differ.
    """
    return 100.0 * (1.0 - unaccounted(prediction, target, weight))


def _rmse(prediction: Signal, target: Signal, weight: Weight | None) -> SumCount:
    prediction, target, size = seen_only(prediction, target, weight)
    squares = _by_channel(jnp.square(prediction - target), size)
    return SumCount(jnp.mean(root(squares)), 1.0)


rmse = Criterion(sums=_rmse, whole=True)
"""Root mean squared error per channel over the batch, averaged over channels."""


def cosine(*, power: int = 1) -> Criterion:
    """``(1 - cos)^power`` of the angle between two signals over time, per row and channel.

    Blind to the size of a prediction, not to an offset. A row whose target is zero has no
    direction and does not count; a prediction of zero is at a right angle to everything.

    Args:
        power: 1, or 2 for small angles to matter less.
    """

    def sums(prediction: Signal, target: Signal, weight: Weight | None) -> SumCount:
        prediction, target, size = seen_only(prediction, target, weight)
        product = jnp.sum(size * prediction * target, 1)
        lengths = [root(jnp.sum(size * x * x, 1)) for x in (prediction, target)]
        both = lengths[0] * lengths[1]
        far = (1.0 - product / jnp.where(both > 0, both, 1.0)) ** power
        counts = lengths[1] > 0
        count = jnp.sum(counts, dtype=jnp.int32)
        return SumCount(jnp.sum(jnp.where(counts, far, 0.0)), count)

    return Criterion(sums=sums)
