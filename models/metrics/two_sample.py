"""Can a network tell two samples apart? The accuracy of a classifier, ½ where it cannot.

The classifier is that of the benchmark of simulation-based inference: two hidden layers of ten
times the dimension, trained as scikit-learn trains its ``MLPClassifier`` with the settings it
has by itself, until the training loss stands still. One program trains the folds of all pairs,
one after the other: ten classifiers of 2 · 2,000 rows of two columns take 1.5 s of a core,
against 4.1 s side by side, where small products are slow and all wait for the last.

Sources: Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests"; Lueckmann et al.
2021, "Benchmarking simulation-based inference", section 2.3.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from models.errors import DataError

FOLDS = 5
# Of scikit-learn's MLPClassifier.
_BATCH, _RATE, _B1, _B2, _EPSILON = 200, 1e-3, 0.9, 0.999, 1e-8
_DECAY, _TOLERANCE, _PATIENCE, _EPOCHS = 1e-4, 1e-4, 10, 10_000

Weights = tuple[tuple[Array, Array], ...]


class _Fit(NamedTuple):
    """A classifier in training."""

    weights: Weights
    first: Weights
    second: Weights
    steps: Int[Array, ""]
    best: Float[Array, ""]
    waited: Int[Array, ""]
    epoch: Int[Array, ""]


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

    Raises:
        DataError: The samples differ in shape, or have fewer rows than there are folds.
    """
    if first.shape != second.shape or first.shape[1] < FOLDS:
        raise DataError(
            f"two samples of equal shape with {FOLDS} rows at least can be told apart, got "
            f"{first.shape} and {second.shape}"
        )
    mean = first.mean(axis=1, keepdims=True)
    std = first.std(axis=1, ddof=1, keepdims=True)
    std = np.where(std > 0, std, 1.0)
    both = np.concatenate([(first - mean) / std, (second - mean) / std], axis=1)
    rows = both.shape[1]
    order = np.random.default_rng(seed).permutation(rows)
    test = np.array_split(order, FOLDS)
    train = [np.setdiff1d(order, out, assume_unique=True) for out in test]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = _accuracies(
            jnp.asarray(both, jnp.float32),
            jnp.asarray(np.repeat([0.0, 1.0], rows // 2), jnp.float32),
            _padded(train),
            _padded(test),
            jax.random.key(seed),
        )
    return np.asarray(found, np.float64).mean(axis=1)


def _padded(sets: list[np.ndarray]) -> tuple[Array, Array]:
    """Sets of row numbers as one array, with 1 for what is a number and 0 for padding."""
    longest = max(map(len, sets))
    rows = [np.pad(s, (0, longest - len(s))) for s in sets]
    there = [np.arange(longest) < len(s) for s in sets]
    return jnp.asarray(np.stack(rows)), jnp.asarray(np.stack(there), jnp.float32)


@jax.jit
def _accuracies(
    data: Float[Array, "pair row column"],
    target: Float[Array, " row"],
    train: tuple[Int[Array, "fold row"], Float[Array, "fold row"]],
    test: tuple[Int[Array, "fold row"], Float[Array, "fold row"]],
    key: Key[Array, ""],
) -> Float[Array, "pair fold"]:
    def fold(item: tuple[Array, Any, Any, Any]) -> Array:
        data, train, test, key = item
        rows, there = train
        weights = _fitted(data[rows], target[rows], there, key)
        rows, there = test
        right = (_logits(weights, data[rows]) > 0) == (target[rows] > 0)
        return jnp.sum(right * there) / jnp.sum(there)

    def pair(item: tuple[Array, Any]) -> Array:
        data, keys = item
        return jax.lax.map(lambda f: fold((data, *f)), (train, test, keys))

    keys = jax.random.split(key, (len(data), len(train[0])))
    found: Array = jax.lax.map(pair, (data, keys))
    return found


def _fitted(data: Array, target: Array, there: Array, key: Any) -> Weights:
    """The weights of one classifier once its loss stands still."""
    rows, columns = data.shape
    size = min(_BATCH, rows)
    batches = math.ceil(rows / size)
    count = jnp.sum(there)
    # One more row that does not count fills the last batch.
    data, target, there = (
        jnp.concatenate([a, jnp.zeros_like(a[:1])]) for a in (data, target, there)
    )

    def step(fit: _Fit, taken: Array) -> tuple[_Fit, Array]:
        weight = there[taken]
        share = jnp.maximum(jnp.sum(weight), 1.0)

        def loss(weights: Weights) -> Array:
            logits = _logits(weights, data[taken])
            signed = jnp.where(target[taken] > 0, -logits, logits)
            likelihood = jnp.sum(weight * jax.nn.softplus(signed)) / share
            squares = sum(jnp.sum(jnp.square(w)) for w, _ in weights)
            return likelihood + 0.5 * _DECAY * squares / share

        value, gradient = jax.value_and_grad(loss)(fit.weights)
        return _adam(fit, gradient), value * jnp.sum(weight)

    def epoch(fit: _Fit) -> _Fit:
        order = jax.random.permutation(jax.random.fold_in(key, fit.epoch + 1), rows)
        order = order[jnp.argsort(1 - there[order], stable=True)]  # padding comes last
        order = jnp.pad(order, (0, batches * size - rows), constant_values=rows)
        fit, losses = jax.lax.scan(step, fit, order.reshape(batches, size))
        mean = jnp.sum(losses) / count
        still = mean > fit.best - _TOLERANCE
        return fit._replace(
            best=jnp.minimum(mean, fit.best),
            waited=jnp.where(still, fit.waited + 1, 0),
            epoch=fit.epoch + 1,
        )

    def goes_on(fit: _Fit) -> Bool[Array, ""]:
        return (fit.waited <= _PATIENCE) & (fit.epoch < _EPOCHS)

    return jax.lax.while_loop(goes_on, epoch, _new(columns, key)).weights


def _new(columns: int, key: Key[Array, ""]) -> _Fit:
    """A classifier before its first step; weights and biases after Glorot and Bengio."""
    widths = (columns, 10 * columns, 10 * columns, 1)
    keys = jax.random.split(jax.random.fold_in(key, 0), 3)
    weights = []
    for own, a, b in zip(keys, widths[:-1], widths[1:], strict=True):
        bound = math.sqrt(6 / (a + b))
        drawn = jax.random.uniform(own, (a + 1, b), minval=-bound, maxval=bound)
        weights.append((drawn[:a], drawn[a]))
    zeros = jax.tree.map(jnp.zeros_like, tuple(weights))
    zero = jnp.zeros((), jnp.int32)
    return _Fit(tuple(weights), zeros, zeros, zero, jnp.asarray(jnp.inf), zero, zero)


def _adam(fit: _Fit, gradient: Weights) -> _Fit:
    """One step of Adam in scikit-learn's form, ε beside the root that is not corrected."""
    step = fit.steps + 1
    first = jax.tree.map(lambda m, g: _B1 * m + (1 - _B1) * g, fit.first, gradient)
    second = jax.tree.map(
        lambda v, g: _B2 * v + (1 - _B2) * g * g, fit.second, gradient
    )
    rate = _RATE * jnp.sqrt(1 - _B2**step) / (1 - _B1**step)
    weights = jax.tree.map(
        lambda w, m, v: w - rate * m / (jnp.sqrt(v) + _EPSILON),
        fit.weights,
        first,
        second,
    )
    return fit._replace(weights=weights, first=first, second=second, steps=step)


def _logits(weights: Weights, data: Array) -> Array:
    *hidden, (last, bias) = weights
    for matrix, shift in hidden:
        data = jax.nn.relu(data @ matrix + shift)
    return (data @ last + bias)[:, 0]
