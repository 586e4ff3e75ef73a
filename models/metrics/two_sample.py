"""Can a network tell two samples apart? The accuracy of a classifier, ½ where it cannot.

The classifier is that of the benchmark of simulation-based inference: two hidden layers of ten
times the dimension, trained as scikit-learn trains its ``MLPClassifier`` with the settings it
has by itself, until the training loss stands still. One program trains the folds of all pairs,
one after the other: ten classifiers of 2 · 2,000 rows of two columns take 1.5 s of a core,
against 4.1 s side by side, where small products are slow and all wait for the last. All that is
random is drawn by numpy: random numbers would be most of what XLA has to compile.

Sources: Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests"; Lueckmann et al.
2021, "Benchmarking simulation-based inference", section 2.3.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from models.errors import DataError

FOLDS = 5
# Of scikit-learn's MLPClassifier.
_BATCH, _RATE, _B1, _B2, _EPSILON = 200, 1e-3, 0.9, 0.999, 1e-8
_DECAY, _TOLERANCE, _PATIENCE, _EPOCHS = 1e-4, 1e-4, 10, 10_000
_ORDERS = 128
"""Orders of the rows that are drawn; then they come again."""


class _Fit(NamedTuple):
    """A classifier in training; its weights are one vector."""

    weights: Float[Array, " weight"]
    first: Float[Array, " weight"]
    second: Float[Array, " weight"]
    steps: Int[Array, ""]
    best: Float[Array, ""]
    waited: Int[Array, ""]
    epoch: Int[Array, ""]


class _Folds(NamedTuple):
    """Row numbers of every fold, padded, and 1 for what is no padding."""

    rows: Int[np.ndarray, "fold row"]
    there: Float[np.ndarray, "fold row"]

    @classmethod
    def of(cls, sets: list[np.ndarray]) -> _Folds:
        longest = max(map(len, sets))
        rows = np.stack([np.pad(s, (0, longest - len(s))) for s in sets])
        there = np.stack([np.arange(longest) < len(s) for s in sets])
        return cls(rows.astype(np.int32), there.astype(np.float32))


def c2st(
    first: Float[np.ndarray, "pair row column"],
    second: Float[np.ndarray, "pair row column"],
    *,
    seed: int = 0,
) -> Float[np.ndarray, " pair"]:
    """The cross-validated accuracy of a classifier between two samples, for several pairs.

    Args:
        first: The samples that the columns of both are standardized by.
        second: As many rows.
        seed: Of folds, weights and the order of batches.

    Returns:
        NaN for a pair that holds NaN or infinity: a network that learned of it would tell
        nothing apart, as if the samples were of one distribution.

    Raises:
        DataError: The samples differ in shape, or have fewer rows than there are folds.
    """
    if first.shape != second.shape or first.shape[1] < FOLDS:
        raise DataError(
            f"two samples of equal shape with {FOLDS} rows at least can be told apart, got "
            f"{first.shape} and {second.shape}"
        )
    finite = np.isfinite(first).all(axis=(1, 2)) & np.isfinite(second).all(axis=(1, 2))
    known = finite[:, None, None]
    first, second = np.where(known, first, 0.0), np.where(known, second, 0.0)
    mean = first.mean(axis=1, keepdims=True)
    std = first.std(axis=1, ddof=1, keepdims=True)
    std = np.where(std > 0, std, 1.0)
    both = np.concatenate([(first - mean) / std, (second - mean) / std], axis=1)
    pairs, rows, columns = both.shape
    random = np.random.default_rng(seed)
    order = random.permutation(rows)
    test = np.array_split(order, FOLDS)
    train = _Folds.of([np.setdiff1d(order, out, assume_unique=True) for out in test])
    found = _accuracies(
        both.astype(np.float32),
        np.repeat(np.float32([0.0, 1.0]), rows // 2),
        train,
        _Folds.of(test),
        _new(random, (pairs, FOLDS), columns),
        _batches(random, train.rows.shape[1]),
    )
    return np.where(finite, np.asarray(found, np.float64).mean(axis=1), np.nan)


def _shapes(columns: int) -> list[tuple[int, int]]:
    """Inputs and outputs of the three layers."""
    widths = (columns, 10 * columns, 10 * columns, 1)
    return list(zip(widths[:-1], widths[1:], strict=True))


def _new(
    random: np.random.Generator, count: tuple[int, int], columns: int
) -> Float[np.ndarray, "pair fold weight"]:
    """Weights and biases before the first step, after Glorot and Bengio."""
    found = [
        random.uniform(-1, 1, size=(*count, (a + 1) * b)) * math.sqrt(6 / (a + b))
        for a, b in _shapes(columns)
    ]
    return np.concatenate(found, axis=-1).astype(np.float32)


def _batches(
    random: np.random.Generator, rows: int
) -> Int[np.ndarray, "order batch row"]:
    """Rows batch by batch, in many orders; the last batch is filled with a row that is none."""
    size = min(_BATCH, rows)
    orders = [random.permutation(rows) for _ in range(_ORDERS)]
    filled = np.pad(orders, ((0, 0), (0, -rows % size)), constant_values=rows)
    return filled.reshape(_ORDERS, -1, size).astype(np.int32)


@jax.jit
def _accuracies(
    data: Float[Array, "pair row column"],
    target: Float[Array, " row"],
    train: _Folds,
    test: _Folds,
    weights: Float[Array, "pair fold weight"],
    orders: Int[Array, "order batch row"],
) -> Float[Array, "pair fold"]:
    def fold(item: tuple[Array, Array, _Folds, _Folds, Array]) -> Array:
        number, data, train, test, weights = item
        fit = _fitted(
            data[train.rows], target[train.rows], train.there, weights, orders, number
        )
        right = (_logits(fit, data[test.rows]) > 0) == (target[test.rows] > 0)
        return jnp.sum(jnp.where(right, test.there, 0)) / jnp.sum(test.there)

    def pair(item: tuple[Array, Array, Array]) -> Array:
        number, data, weights = item
        numbers = number * FOLDS + jnp.arange(FOLDS, dtype=jnp.int32)
        return jax.lax.map(
            lambda f: fold((f[0], data, *f[1:])), (numbers, train, test, weights)
        )

    numbers = jnp.arange(len(data), dtype=jnp.int32)
    found: Array = jax.lax.map(pair, (numbers, data, weights))
    return found


def _fitted(
    data: Float[Array, "row column"],
    target: Float[Array, " row"],
    there: Float[Array, " row"],
    weights: Float[Array, " weight"],
    orders: Int[Array, "order batch row"],
    number: Int[Array, ""],
) -> Float[Array, " weight"]:
    """The weights of one classifier once its loss stands still."""
    count = jnp.sum(there)
    # One more row that does not count fills the last batch.
    data, target, there = (
        jnp.concatenate([a, jnp.zeros_like(a[:1])]) for a in (data, target, there)
    )
    biases = _biases(data.shape[1])

    def step(fit: _Fit, taken: Array) -> tuple[_Fit, Array]:
        weight = there[taken]
        share = jnp.maximum(jnp.sum(weight), 1.0)

        def loss(weights: Array) -> Array:
            logits = _logits(weights, data[taken])
            signed = jnp.where(target[taken] > 0, -logits, logits)
            likelihood = jnp.sum(weight * jax.nn.softplus(signed))
            squares = jnp.sum(jnp.where(biases, 0.0, jnp.square(weights)))
            return (likelihood + 0.5 * _DECAY * squares) / share

        value, gradient = jax.value_and_grad(loss)(fit.weights)
        return _adam(fit, gradient), value * jnp.sum(weight)

    def epoch(fit: _Fit) -> _Fit:
        order = orders[jnp.mod(fit.epoch + 7 * number, len(orders))]
        fit, losses = jax.lax.scan(step, fit, order)
        mean = jnp.sum(losses) / count
        still = mean > fit.best - _TOLERANCE
        return fit._replace(
            best=jnp.minimum(mean, fit.best),
            waited=jnp.where(still, fit.waited + 1, 0),
            epoch=fit.epoch + 1,
        )

    def goes_on(fit: _Fit) -> Bool[Array, ""]:
        return (fit.waited <= _PATIENCE) & (fit.epoch < _EPOCHS)

    none, zero = jnp.zeros_like(weights), jnp.zeros((), jnp.int32)
    begin = _Fit(weights, none, none, zero, jnp.full((), jnp.inf), zero, zero)
    return jax.lax.while_loop(goes_on, epoch, begin).weights


def _biases(columns: int) -> Bool[np.ndarray, " weight"]:
    """Which of the weights are biases, whose size costs nothing."""
    found = [np.arange((a + 1) * b) >= a * b for a, b in _shapes(columns)]
    return np.concatenate(found)


def _adam(fit: _Fit, gradient: Float[Array, " weight"]) -> _Fit:
    """One step of Adam in scikit-learn's form, ε beside the root that is not corrected."""
    step = fit.steps + 1
    first = _B1 * fit.first + (1 - _B1) * gradient
    second = _B2 * fit.second + (1 - _B2) * jnp.square(gradient)
    count = step.astype(first.dtype)
    rate = _RATE * jnp.sqrt(1 - _B2**count) / (1 - _B1**count)
    weights = fit.weights - rate * first / (jnp.sqrt(second) + _EPSILON)
    return fit._replace(weights=weights, first=first, second=second, steps=step)


def _logits(
    weights: Float[Array, " weight"], data: Float[Array, "row column"]
) -> Float[Array, " row"]:
    start = 0
    for place, (a, b) in enumerate(_shapes(data.shape[1])):
        matrix = weights[start : start + a * b].reshape(a, b)
        bias = weights[start + a * b : start + (a + 1) * b]
        data = data @ matrix + bias[None]
        data = jax.nn.relu(data) if place < 2 else data
        start += (a + 1) * b
    return data[:, 0]
