"""Values of a study's request for data, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from models.errors import DataError


def names_of(request: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of different names; a single one may stand alone.

    Raises:
        DataError: It is something else.
    """
    return different_names(request[key], key) if request.get(key) else ()


def different_names(values: Any, key: str) -> tuple[str, ...]:
    """One name, or a list of different ones, as a tuple.

    Raises:
        DataError: They are something else.
    """
    listed = isinstance(values, (list, tuple))
    texts = tuple(values) if listed else (values,)
    if (
        not texts
        or not all(isinstance(v, str) and v for v in texts)
        or len(set(texts)) < len(texts)
    ):
        raise DataError(
            f"`{key}` must be a list of different names, got {values!r}",
            hint=f'for example "{key}": ["a", "b"]',
        )
    return texts


def units_of(request: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Units by role; a text or a list alone are those of ``y``."""
    units = request.get("units", {})
    by_role = units if isinstance(units, Mapping) else {"y": units}
    return {
        str(role): (texts,) if isinstance(texts, str) else tuple(map(str, texts))
        for role, texts in by_role.items()
    }


def flag(request: Mapping[str, Any], key: str) -> bool:
    """True or false, by default false.

    Raises:
        DataError: It is something else.
    """
    value = request.get(key, False)
    if not isinstance(value, bool):
        raise DataError(
            f"`{key}` must be true or false, got {value!r}",
            hint="leave it out where nothing is missing",
        )
    return value


def whole_numbers(values: Any, key: str, *, counts: tuple[int, ...]) -> tuple[int, ...]:
    """A list of whole numbers from 0 that grow.

    Args:
        values: What was given.
        key: Its key.
        counts: How many there may be.

    Raises:
        DataError: They are something else.
    """
    listed = isinstance(values, (list, tuple)) and len(values) in counts
    if not (
        listed
        and all(isinstance(v, int) and not isinstance(v, bool) for v in values)
        and values[0] >= 0
        and all(a < b for a, b in zip(values, values[1:], strict=False))
    ):
        many = " or ".join(map(str, counts))
        raise DataError(
            f"`{key}` must be {many} row numbers from 0, each above the one before, got "
            f"{values!r}",
            hint="rows are counted from 0, and the last number is the first row left out",
        )
    return tuple(values)


def shares_of(values: Any, key: str) -> tuple[float, ...]:
    """Shares of train, valid and, where there is a third, test.

    Raises:
        DataError: They are not two or three positive numbers that add up to 1.
    """
    listed = isinstance(values, (list, tuple)) and len(values) in (2, 3)
    numbers = listed and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and v > 0
        for v in values
    )
    if not numbers or not math.isclose(sum(values), 1, abs_tol=1e-9):
        raise DataError(
            f"`{key}` must be two or three positive numbers that add up to 1, got "
            f"{values!r}",
            hint=f'for example "{key}": [0.7, 0.1, 0.2]',
        )
    return tuple(map(float, values))


def share_borders(
    rows: int, shares: tuple[float, ...], *, path: Any
) -> tuple[int, ...]:
    """Where parts of these shares begin and end, from 0 to `rows`.

    Raises:
        DataError: A part would have no row.
    """
    ends = [round(rows * sum(shares[: i + 1])) for i in range(len(shares))]
    borders = (0, *ends)
    if any(a >= b for a, b in zip(borders, borders[1:], strict=False)):
        raise DataError(
            f"{rows} rows of {path} cannot be parted by shares of {list(shares)}: a part "
            f"would be empty",
            hint="give more rows or other shares",
        )
    return borders
