"""A file's rows split into parts: by a seed and shares, by row ranges, or by row numbers.

Row numbers stand in arrays of the file, whose names are given. Of a part that is given by name or
range, some rows may be drawn for another: ``{"of": "train", "rows": 640, "seed": 0}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.data.hdf5 import StoredArray
from models.data.reference import PARTS
from models.data.requests import share_borders, shares_of, whole_numbers
from models.errors import DataError, near_matches

_NEEDED = ("train", "valid")


def checked_split(asked: Any) -> dict[str, Any]:
    """A request's split with checked values.

    Args:
        asked: ``{"seed": …, "shares": […]}``, or part to ``[first row, first row after]``,
            an array's name, or ``{"of": …, "rows": …, "seed": …}``.

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
    found = {p: _checked_rows(asked[p], p) for p in PARTS if p in asked}
    for part, rows in found.items():
        if isinstance(rows, dict) and not isinstance(
            found.get(rows["of"]), (str, tuple)
        ):
            raise DataError(
                f"rows of `{part}` are drawn of a part with a range or an array, got "
                f"`of` {rows['of']!r}",
                hint=f"parts: {', '.join(found)}",
            )
    ranges = {p: rows for p, rows in found.items() if isinstance(rows, tuple)}
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
    return found


def _checked_rows(asked: Any, part: str) -> Any:
    """Of one part: a range, the name of an array, or how many are drawn of another part."""
    if isinstance(asked, str) and asked:
        return asked
    if not isinstance(asked, Mapping):
        return whole_numbers(asked, part, counts=(2,))
    numbers = [asked.get("rows"), asked.get("seed", 0)]
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
    if (
        set(asked) - {"of", "rows", "seed"}
        or not whole
        or min(numbers) < 0
        or not numbers[0]
    ):
        raise DataError(
            f"rows of `{part}` are drawn by `of`, `rows` and `seed`, got {dict(asked)}",
            hint='for example {"of": "train", "rows": 100, "seed": 0}',
        )
    return {"of": asked.get("of"), "rows": numbers[0], "seed": numbers[1]}


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
        DataError: Rows go beyond the file or are shared, or a part would have no row.
    """
    if "shares" in split:
        borders = share_borders(length, split["shares"], path=path)
        at = PARTS.index(part)
        drawn = np.random.default_rng(split["seed"]).permutation(length)
        return np.sort(drawn[borders[at] : borders[at + 1]])
    found = {p: _stated(split, p, length, path) for p in split_parts(split)}
    whole = np.concatenate(list(found.values()))
    if len(np.unique(whole)) < len(whole):
        values, counts = np.unique(whole, return_counts=True)
        raise DataError(
            f"parts must not share rows, and `split` gives row {values[counts > 1][0]} of "
            f"{path} more than once",
            hint="give every row to one part",
        )
    return np.sort(found[part])


def _stated(split: Mapping[str, Any], part: str, length: int, path: Path) -> np.ndarray:
    """The rows of one part, less those that are drawn of it for others."""
    asked = split[part]
    if isinstance(asked, Mapping):
        return _drawn(asked, part, _listed(split[asked["of"]], part, length, path))
    rows = _listed(asked, part, length, path)
    for other, draws in split.items():
        if isinstance(draws, Mapping) and draws["of"] == part:
            rows = np.setdiff1d(rows, _drawn(draws, other, rows))
    return rows


def _drawn(asked: Mapping[str, Any], part: str, rows: np.ndarray) -> np.ndarray:
    if asked["rows"] >= len(rows):
        raise DataError(
            f"`{part}` is {asked['rows']} rows of `{asked['of']}`, which has {len(rows)}",
            hint="draw fewer",
        )
    chosen = np.random.default_rng(asked["seed"]).permutation(len(rows))
    return rows[chosen[: asked["rows"]]]


def _listed(asked: Any, part: str, length: int, path: Path) -> np.ndarray:
    """Rows of a range, or those that an array lists."""
    if not isinstance(asked, str):
        start, stop = asked
        if stop > length:
            raise DataError(
                f"`split` must not go beyond the file: `{part}` is rows {start} to {stop}, "
                f"and {path} has {length}",
                hint=f"let it end at row {length} at most",
            )
        return np.arange(start, stop)
    array = StoredArray(path, asked)
    rows = np.asarray(array.read(0, array.shape[0] if array.shape else 0))
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows):
        raise DataError(
            f"`{asked}` in {path} must list row numbers, got {rows.dtype} of shape "
            f"{rows.shape}",
            hint="name an array of whole numbers",
        )
    if rows.min() < 0 or rows.max() >= length:
        raise DataError(
            f"`{asked}` in {path} must list rows from 0 to {length - 1}, got "
            f"{rows.min()} to {rows.max()}",
            hint="count rows from 0",
        )
    return rows.astype(np.int64)
