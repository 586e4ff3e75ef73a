"""How often windows of one record are drawn beside those of another, and which are drawn.

Weights are numbers of a record's windows, relative to those of the others'. Draws are pure
functions of a key; weights are whole numbers in them, so that expectations are exact.

Source: `uniform_p_of_category`, `uniform_p_of_float` and `uniform_p_of_float_with_gaps`, which
TSFast had up to 2026; systematic sampling: Madow and Madow 1944, "On the theory of systematic
sampling".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from models.data.name_patterns import name_pattern
from models.data.order import permutation
from models.errors import DataError

TOTAL = 2**30
"""About what the whole-number weights of all windows add up to."""


def uniform_by_file(windows: Sequence[int]) -> np.ndarray:
    """Every record alike, however long it is.

    Args:
        windows: Of every record.

    Returns:
        The weight of a window of each record ``[R]``.
    """
    return 1.0 / np.asarray(windows, float)


def uniform_by_category(
    windows: Sequence[int], categories: Sequence[str]
) -> np.ndarray:
    """Every category alike, however many windows are of it.

    Args:
        windows: Of every record.
        categories: Of every record.

    Returns:
        The weight of a window of each record ``[R]``.
    """
    _, place = np.unique(np.asarray(categories), return_inverse=True)
    return 1.0 / np.bincount(place, weights=np.asarray(windows, float))[place]


def uniform_by_value(
    windows: Sequence[int], values: Sequence[float], *, bins: int, gaps: bool = True
) -> np.ndarray:
    """Every part of a range of values alike, however many windows lie in it.

    Args:
        windows: Of every record.
        values: Of every record.
        bins: Into how many parts of equal width the range is cut.
        gaps: Whether a part also stands for the empty ones around it, half of a gap for
            each of its two neighbours: windows are then spread over the whole range evenly.
            Otherwise parts that hold something are drawn alike.

    Returns:
        The weight of a window of each record ``[R]``.

    Raises:
        DataError: A value is not finite.
    """
    values = np.asarray(values, float)
    if not np.isfinite(values).all():
        raise DataError(f"values that weigh records are finite, got {values.tolist()}")
    low, high = values.min(), values.max()
    share = (values - low) / (high - low) if high > low else np.zeros_like(values)
    place = np.minimum((share * bins).astype(int), bins - 1)
    counts = np.bincount(place, weights=np.asarray(windows, float), minlength=bins)
    spans = np.ones(bins)
    if gaps:
        taken = np.flatnonzero(counts)
        # Half of the empty bins between two neighbours goes to either.
        edges = [0.0, *((taken[:-1] + taken[1:] + 1) / 2), float(bins)]
        spans[taken] = np.diff(edges)
    return (spans / np.where(counts > 0, counts, 1.0))[place]


def read(names: Sequence[str], pattern: str) -> tuple[str, ...]:
    """What a pattern finds in the name of every record.

    Args:
        names: The records' names.
        pattern: A regular expression with one group.

    Raises:
        DataError: It is none, has another number of groups, or does not fit a name.
    """
    compiled = name_pattern(pattern, key="`data.balance_by`")
    found = [compiled.search(name) for name in names]
    for name, match in zip(names, found, strict=True):
        if match is None or match.group(1) is None:
            raise DataError(
                f"`data.balance_by` {pattern!r} finds nothing in the record `{name}`",
                hint="name a part that all records' names have",
            )
    return tuple(match.group(1) for match in found if match)


def numbers(texts: Sequence[str]) -> tuple[float, ...]:
    """Texts as numbers.

    Raises:
        DataError: One is none.
    """
    try:
        return tuple(float(text) for text in texts)
    except ValueError:
        raise DataError(
            "`data.balance` by `value` needs numbers in the records' names, got "
            f"{list(texts)[:5]}",
            hint="set `data.balance` to `category`, or another `data.balance_by`",
        ) from None


def whole(weights: Sequence[float], windows: Sequence[int]) -> tuple[int, ...]:
    """Weights as whole numbers, of which those of all windows add up to about `TOTAL`.

    Args:
        weights: Of a window of each record.
        windows: Of every record.

    Raises:
        DataError: A weight is negative or not finite, or all are zero.
    """
    given = np.asarray(weights, float)
    if given.shape != (len(windows),):
        raise DataError(
            f"a weight is given for each of {len(windows)} records, got {given.size}",
            hint="in the order of the files' names; records shorter than a window count",
        )
    if not np.isfinite(given).all() or (given < 0).any() or not given.any():
        raise DataError(
            "weights are finite, not negative, and not all zero, got "
            f"{given.tolist()[:10]}",
            hint="give each record that is to be trained on a positive number",
        )
    with np.errstate(over="ignore", divide="ignore"):
        scale = TOTAL / (given @ np.asarray(windows, float))
    if not 0 < scale < np.inf:
        raise DataError(
            f"weights are numbers of an ordinary size, got {given.tolist()[:10]}",
            hint="only their ratios count: divide all by the largest",
        )
    scaled = np.round(given * scale).astype(np.int64)
    # What is rare is rarer than a billionth then, but it is drawn.
    scaled = np.where(given > 0, np.maximum(scaled, 1), 0)
    if int(scaled @ np.asarray(windows, np.int64)) >= 2**31:
        raise DataError(
            f"at most {2**31 - TOTAL} windows can be weighed, got {sum(windows)}",
            hint="set `data.stride` higher",
        )
    return tuple(scaled.tolist())


def with_replacement(
    key: Key[Array, ""],
    *,
    first: Sequence[int],
    windows: int,
    weights: Sequence[int] | None,
    count: int,
) -> Int[Array, " count"]:
    """Draw windows one by one, whatever was drawn before.

    Args:
        key: Randomness of this epoch.
        first: Number of the first window of each record.
        windows: How many windows there are.
        weights: Of a window of each record; None for all alike.
        count: How many to draw.
    """
    if weights is None:
        return jax.random.randint(key, (count,), 0, windows, jnp.int32)
    sizes = np.diff([*first, windows])
    ends = np.cumsum(np.asarray(weights, np.int64) * sizes)
    drawn = jax.random.randint(key, (count,), 0, int(ends[-1]), jnp.int32)
    return _window(drawn, first, weights, ends)


def _window(
    place: Int[Array, " count"], first: Sequence[int], weights: Any, ends: np.ndarray
) -> Int[Array, " count"]:
    """The window at a place on the line on which each lies as long as its weight."""
    record = jnp.searchsorted(jnp.asarray(ends, jnp.int32), place, side="right")
    starts = jnp.asarray(np.concatenate([[0], ends[:-1]]), jnp.int32)
    # Of a weight of 0 no place is drawn, but what is divided by is an array of all.
    size = jnp.asarray(np.maximum(weights, 1), jnp.int32)
    within = (place - starts[record]) // size[record]
    return jnp.asarray(first, jnp.int32)[record] + within


def without_replacement(
    key: Key[Array, ""],
    *,
    first: Sequence[int],
    windows: int,
    weights: Sequence[int],
    count: int,
) -> Int[Array, " count"]:
    """Draw windows and records as often as expected, but for less than one, in random order.

    A window whose weight says 2.3 times is drawn twice or three times, one that says 0.1
    not at all or once, and so is a record as a whole: no luck beyond that, unlike
    `with_replacement`. An epoch sorts all windows for it (80,000 in 17 ms
    on one CPU core).

    Args:
        key: Randomness of this epoch.
        first: Number of the first window of each record.
        windows: How many windows there are.
        weights: Of a window of each record.
        count: How many to draw.
    """
    lay, start, mix = jax.random.split(key, 3)
    laid = permutation(lay, windows, windows)
    record = jnp.searchsorted(jnp.asarray(first, jnp.int32), laid, side="right")
    laid = laid[jnp.argsort(record, stable=True)]  # shuffled within each record
    sizes = np.diff([*first, windows])
    ends = np.cumsum(np.asarray(weights, np.int64) * sizes)
    total = int(ends[-1])
    # Equally far apart on the line on which the windows lie, from a random start.
    steps = (np.arange(count, dtype=np.int64) * total // count).astype(np.int32)
    begin = jax.random.randint(start, (), 0, max(total // count, 1), jnp.int32)
    chosen = laid[_window(jnp.asarray(steps) + begin, first, weights, ends)]
    return chosen[permutation(mix, count, count)]
