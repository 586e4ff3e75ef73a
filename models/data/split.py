"""A file's rows split into parts: by a seed and shares, or by row ranges."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.data.reference import PARTS
from models.data.requests import share_borders, shares_of, whole_numbers
from models.errors import DataError, near_matches

_NEEDED = ("train", "valid")


def checked_split(asked: Any) -> dict[str, Any]:
    """A request's split with checked values.

    Args:
        asked: ``{"seed": …, "shares": […]}``, or part to ``[first row, first row after]``.

    Raises:
        DataError: It is neither, or parts share rows.
    """
    known = ("seed", "shares", *PARTS)
    if not isinstance(asked, Mapping) or not asked:
        raise DataError(
            f"`split` must be a mapping with `seed` and `shares` or row ranges, got "
            f"{asked!r}",
            hint='for example {"seed": 0, "shares": [0.7, 0.1, 0.2]}',
        )
    for key in asked:
        if key not in known:
            raise DataError(
                f"unknown key `{key}` in `split`", hint=near_matches(str(key), known)
            )
    by_share = "shares" in asked or "seed" in asked
    return _by_share(asked) if by_share else _by_range(asked)


def _by_share(asked: Mapping[str, Any]) -> dict[str, Any]:
    seed = asked.get("seed", 0)
    whole = isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0
    if set(asked) & set(PARTS) or not whole:
        raise DataError(
            f"`split` is by a whole number `seed` and `shares`, or by row ranges, got "
            f"{dict(asked)}",
            hint='for example {"seed": 0, "shares": [0.7, 0.1, 0.2]}',
        )
    return {"seed": seed, "shares": shares_of(asked.get("shares"), "shares")}


def _by_range(asked: Mapping[str, Any]) -> dict[str, Any]:
    missing = [part for part in _NEEDED if part not in asked]
    if missing:
        raise DataError(
            f"`split` must give the rows of part `{missing[0]}`, got {dict(asked)}",
            hint='for example {"train": [0, 70], "valid": [70, 100]}',
        )
    ranges = {p: whole_numbers(asked[p], p, counts=(2,)) for p in PARTS if p in asked}
    ordered = sorted(ranges.items(), key=lambda item: item[1])
    for (one, (_, stop)), (other, (start, _)) in zip(
        ordered, ordered[1:], strict=False
    ):
        if start < stop:
            raise DataError(
                f"parts must not share rows: {one} ends before row {stop}, {other} begins "
                f"at row {start}",
                hint="the second number of a range is the first row left out",
            )
    return dict(ranges)


def split_parts(split: Mapping[str, Any]) -> list[str]:
    """The parts that a split makes."""
    if "shares" in split:
        return list(PARTS[: len(split["shares"])])
    return [part for part in PARTS if part in split]


def split_rows(
    split: Mapping[str, Any], part: str, length: int, *, path: Path
) -> np.ndarray:
    """The rows of a part, in the order of the file.

    Args:
        split: What `checked_split` gave.
        part: A part that it makes.
        length: Rows of the file.
        path: The file, for messages.

    Raises:
        DataError: A range goes beyond the file, or a part would have no row.
    """
    if "shares" in split:
        borders = share_borders(length, split["shares"], path=path)
        at = PARTS.index(part)
        drawn = np.random.default_rng(split["seed"]).permutation(length)
        return np.sort(drawn[borders[at] : borders[at + 1]])
    start, stop = split[part]
    if stop > length:
        raise DataError(
            f"`split` must not go beyond the file: `{part}` is rows {start} to {stop}, and "
            f"{path} has {length}",
            hint=f"let it end at row {length} at most",
        )
    return np.arange(start, stop)
