"""What a linear map can tell of a recorded truth from a code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

FOLDS = 10
"""Of 40 windows, halves fit 17 weights to 20 rows: of a truth that 16 numbers tell to 80 % they
found −0.3 (median of 200 draws), ten folds 0.6."""
RIDGE = 1e-5
"""Of the regression, with all channels of a code in their standard deviations."""
_FLAT = 1e-5  # a deviation below this share of the mean is rounding


class FoldMoments(NamedTuple):
    """Moments of code and truth beside one another, fold by fold.

    Kept around each fold's mean, for sums of products cancel in float32.

    Attributes:
        rows: Of all folds, so that a row's fold does not depend on how batches were cut.
        count: Rows of each fold whose truth was seen.
        mean: Of code and, last, truth.
        products: Sums over rows of products of deviations from the mean.
    """

    rows: Int[Array, ""]
    count: Float[Array, " fold"]
    mean: Float[Array, "fold column"]
    products: Float[Array, "fold column column"]


class Probe:
    """R² of a linear regression, with intercept, from a code to a channel of a truth.

    Every tenth row is a fold. Each is predicted by least squares over the other nine, so that
    no row is judged by a map that was fitted to it, and R² is that of all predictions
    together: 1 for a code that has the truth in it, about 0 for one that knows nothing of it,
    below 0 where there are too few rows for as many numbers.

    Args:
        name: What the value is reported as.
        code: Outputs of a model → its code ``[B, L]``.
        truth: Batch → the truth ``[B]``, and the mask ``[B]`` of where it was seen.

    Source: Alain and Bengio 2016, "Understanding intermediate layers using linear classifier
    probes".
    """

    def __init__(
        self,
        *,
        name: str,
        code: Callable[[Mapping[str, Any]], Float[Array, "row latent"]],
        truth: Callable[[Mapping[str, Array]], tuple[Array, Array]],
    ) -> None:
        self.name, self.code, self.truth = name, code, truth

    def init(
        self, outputs: Mapping[str, Any], batch: Mapping[str, Array]
    ) -> FoldMoments:
        """The empty accumulator."""
        code = self.code(outputs)
        columns, dtype = code.shape[1] + 1, code.dtype
        return FoldMoments(
            jnp.zeros((), jnp.int32),
            jnp.zeros((FOLDS,), dtype),
            jnp.zeros((FOLDS, columns), dtype),
            jnp.zeros((FOLDS, columns, columns), dtype),
        )

    def update(
        self,
        state: FoldMoments,
        outputs: Mapping[str, Any],
        batch: Mapping[str, Array],
    ) -> FoldMoments:
        """Add the rows of one batch."""
        truth, seen = self.truth(batch)
        values = jnp.concatenate([self.code(outputs), truth[:, None]], axis=1)
        number = state.rows + jnp.arange(len(values), dtype=jnp.int32)
        folds = jnp.arange(FOLDS, dtype=jnp.int32)
        member = (number[None] % FOLDS == folds[:, None]) & seen[None]
        member = member.astype(values.dtype)
        count = jnp.sum(member, axis=1)
        mean = (member @ values) / _some(count)[:, None]
        apart = (values[None] - mean[:, None]) * member[..., None]
        products = jnp.einsum("fbi,fbj->fij", apart, apart)
        stacked = [
            jnp.stack(pair, axis=1)
            for pair in (
                (state.count, count),
                (state.mean, mean),
                (state.products, products),
            )
        ]
        return FoldMoments(state.rows + len(values), *_together(*stacked))

    def finish(self, state: FoldMoments) -> Float[Array, ""]:
        """The share of the truth's variance that is told; NaN of nothing."""
        others = ~jnp.eye(FOLDS, dtype=bool)
        whole = jnp.ones((1, FOLDS), bool)
        moments = state.count, state.mean, state.products
        fitted = _together(*(_chosen(others, each) for each in moments))
        total = _together(*(_chosen(whole, each) for each in moments))
        weights, offset = _regression(*fitted)
        # Minus one for the truth itself: deviations of what is left.
        column = jnp.full_like(offset[:, None], -1.0)
        map_ = jnp.concatenate([weights, column], axis=1)
        spread = jnp.einsum("fi,fij,fj->f", map_, state.products, map_)
        bias = jnp.sum(map_ * state.mean, axis=1) + offset
        left = jnp.sum(spread + state.count * jnp.square(bias))
        return 1.0 - left / total[2][0, -1, -1]


def _regression(
    count: Float[Array, " fold"],
    mean: Float[Array, "fold column"],
    products: Float[Array, "fold column column"],
) -> tuple[Float[Array, "fold latent"], Float[Array, " fold"]]:
    """Weights of the code and the intercept, from moments of what they are fitted to."""
    within = products / _some(count)[:, None, None]
    deviation = jnp.sqrt(jnp.diagonal(within, axis1=1, axis2=2)[:, :-1])
    varies = deviation > _FLAT * jnp.abs(mean[:, :-1])
    scale = jnp.where(varies, 1.0 / jnp.where(varies, deviation, 1.0), 0.0)
    correlation = within[:, :-1, :-1] * scale[:, :, None] * scale[:, None]
    ridge = RIDGE * jnp.eye(scale.shape[1], dtype=scale.dtype)
    towards = (within[:, :-1, -1] * scale)[..., None]
    weights = jnp.linalg.solve(correlation + ridge[None], towards)[..., 0] * scale
    return weights, mean[:, -1] - jnp.sum(weights * mean[:, :-1], axis=1)


def _chosen(choice: Array, values: Array) -> Array:
    """``[choice, fold, …]``: what each choice takes of the folds, 0 for the rest."""
    shape = (*choice.shape, *(1 for _ in values.shape[1:]))
    return jnp.where(choice.reshape(shape), values[None], jnp.zeros_like(values)[None])


def _together(
    count: Float[Array, "set part"],
    mean: Float[Array, "set part column"],
    products: Float[Array, "set part column column"],
) -> tuple[Array, Array, Array]:
    """Moments of the parts of each set in one; see `models.metrics.accumulators.merge`."""
    total = jnp.sum(count, axis=1)
    middle = jnp.sum(count[..., None] * mean, axis=1) / _some(total)[:, None]
    apart = mean - middle[:, None]
    between = jnp.einsum("sp,spi,spj->sij", count, apart, apart)
    return total, middle, jnp.sum(products, axis=1) + between


def _some(count: Array) -> Array:
    """Counts to divide by."""
    return jnp.maximum(count, 1.0)
