"""Limits of columns that no value of theirs ever crosses, such as those of a prior."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from models.data.kinds.base import Part, Request
from models.errors import DataError, near_matches

Limits = tuple[tuple[float | None, float | None], ...]
"""Lowest and highest value of every column; None where there is none."""


def checked_bounds(request: Request, parts: Collection[Part]) -> dict[str, Any]:
    """What `bounds` of a request says, held against the data.

    Args:
        request: ``{"bounds": {role: [[low, high], …]}}``, one pair a column or one for all
            columns of the role; null for no limit on a side.
        parts: Train and valid.

    Returns:
        For ``Reference.settings``: role to `Limits`.

    Raises:
        DataError: They are something else, or a value lies beyond them.
    """
    asked = request.get("bounds", {})
    if not isinstance(asked, Mapping):
        raise DataError(
            f"`bounds` must be a mapping of roles to pairs of limits, got {asked!r}",
            hint='for example "bounds": {"theta": [[-3, 3], [0, null]]}',
        )
    found = {}
    for role, pairs in asked.items():
        for part in parts:
            if role not in part.channels:
                raise DataError(
                    f"`bounds` are given for role `{role}`, which the data does not have",
                    hint=near_matches(str(role), part.channels),
                )
            found[role] = _limits(role, pairs, part.channels[role])
            _check_inside(part, role, found[role])
    return {"bounds": found} if found else {}


def bounds_of(settings: Mapping[str, Any], role: str, columns: int) -> Limits:
    """The limits of a role's columns as a reference's settings hold them."""
    found: Limits = settings.get("bounds", {}).get(role, ((None, None),) * columns)
    return found


def _limits(role: str, pairs: Any, columns: int) -> Limits:
    listed = isinstance(pairs, (list, tuple)) and len(pairs) in (1, columns)
    if not listed or not all(map(_is_pair, pairs)):
        raise DataError(
            f"`bounds` of `{role}` must be {columns} pairs of a low and a higher limit, got "
            f"{pairs!r}",
            hint="null stands for no limit; one pair alone is that of every column",
        )
    every = pairs if len(pairs) == columns else list(pairs) * columns
    return tuple((_number(low), _number(high)) for low, high in every)


def _is_pair(pair: Any) -> bool:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        return False
    there = [v for v in pair if v is not None]
    if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in there):
        return False
    return len(there) < 2 or there[0] < there[1]


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _check_inside(part: Part, role: str, limits: Limits) -> None:
    low = np.array([-np.inf if low is None else low for low, _ in limits])
    high = np.array([np.inf if high is None else high for _, high in limits])
    start = 0
    for block in part.blocks(role):
        bad = (block < low) | (block > high)
        for row, *inner in np.argwhere(bad)[:1].tolist():
            what, where = part.locate(role, 0, (start + row, *inner))
            low_, high_ = limits[inner[-1]]
            raise DataError(
                f"{what} crosses its `bounds` of {low_} to {high_}: "
                f"{block[(row, *inner)]:g} at {where}",
                hint="widen `bounds` of the request, or mend the simulator",
            )
        start += len(block)
