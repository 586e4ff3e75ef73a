"""CSV tables in time order, read and hashed by rows.

One line is one row: the first line names the columns, commas part cells, and a quoted cell
holds no line break. A cell without a value is empty or says so (`MISSING`). Files whose name
ends in ``.gz`` are unpacked while they are read.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import DataError, near_matches

SUFFIXES = (".csv", ".csv.gz")
TIMES = ("time", "date", "datetime", "timestamp", "t")
"""Names of a first column that says when rows are, in small letters."""
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""Texts of a cell without a value, in small letters."""
_EVEN = 1e-3
"""How far a time step may be from the first one, relative to it."""


def header(path: Path) -> tuple[str, ...]:
    """The names of the columns.

    Raises:
        DataError: The file is missing, damaged or empty, or names repeat.
    """
    first = next(_lines(path), b"")
    names = tuple(cell.strip() for cell in _cells(first, path, 1))
    if len(set(names)) < len(names) or not any(names):
        raise DataError(
            f"the first line of {path} must name its columns, each differently, got "
            f"{list(names)}",
            hint="put a line with names in front of the numbers",
        )
    return names


def count_rows(path: Path) -> int:
    """Rows of a table; empty lines at its end do not count.

    Raises:
        DataError: The file is missing or damaged.
    """
    last = 0
    for number, line in enumerate(_lines(path)):
        last = number if line else last
    return last


def hash_rows(path: Path, bounds: Sequence[tuple[int, int]]) -> list[str]:
    """SHA-256 over the header and the bytes of the rows ``start`` to ``stop`` of each part.

    Cells are not decoded. How a line ends does not count.

    Raises:
        DataError: The file is damaged.
    """
    digests = [hashlib.sha256() for _ in bounds]
    for number, line in enumerate(_lines(path), start=-1):
        for digest, (start, stop) in zip(digests, bounds, strict=True):
            if number < 0 or start <= number < stop:
                digest.update(line + b"\n")
    return [digest.hexdigest() for digest in digests]


def read_rows(path: Path, start: int, stop: int) -> list[list[str]]:
    """The cells of the rows ``start`` to ``stop``, as text.

    Raises:
        DataError: The file is damaged, ends before, or a row has another number of cells
            than there are columns.
    """
    width, rows = len(header(path)), []
    for number, line in enumerate(islice(_lines(path), start + 1, stop + 1), start + 2):
        cells = _cells(line, path, number)
        if len(cells) != width:
            raise DataError(
                f"every row of {path} must have {width} cells, got {len(cells)} in line "
                f"{number}",
                hint="write missing values as empty cells between commas",
            )
        rows.append(cells)
    if len(rows) < stop - start:
        raise DataError(
            f"{path} ends at row {start + len(rows)}, and row {stop - 1} is needed",
            hint="copy it again from its source, or prepare the data again",
        )
    return rows


def column_index(path: Path, names: Sequence[str], wanted: str) -> int:
    """Where a column is.

    Raises:
        DataError: There is none of this name.
    """
    if wanted not in names:
        raise DataError(
            f"column `{wanted}` is not in {path}", hint=near_matches(str(wanted), names)
        )
    return names.index(wanted)


def numbers(rows: Sequence[Sequence[str]], column: int) -> np.ndarray:
    """One column as float64, NaN where a value is missing.

    Raises:
        ValueError: A cell is neither a number nor missing; the second argument is its row.
    """
    values = np.empty(len(rows))
    for row, cells in enumerate(rows):
        try:
            values[row] = float(cells[column])
        except ValueError:
            if cells[column].strip().lower() not in MISSING:
                raise ValueError(cells[column], row) from None
            values[row] = np.nan
    return values


def times_of(
    path: Path, name: str | None, length: int, *, every: int = 1
) -> dict[str, list[str]]:
    """The cells of the column that says when rows are, by its name, to be taken over.

    Args:
        path: A table.
        name: The column; None for none.
        length: Rows that there must be.
        every: Every how many rows one is kept.

    Returns:
        Nothing where there is no such column, or it has other rows.

    Raises:
        DataError: The table is missing or damaged.
    """
    names, rows = header(path), count_rows(path)
    if name not in names or -(-rows // every) != length:
        return {}
    at = names.index(name)
    return {name: [cells[at] for cells in read_rows(path, 0, rows)[::every]]}


def write(
    path: Path, columns: Mapping[str, np.ndarray], *, before: Mapping[str, list[str]]
) -> None:
    """Write columns of numbers ``[rows]``; a value that is not finite stays empty.

    Args:
        path: A new file; packed where its name ends in ``.gz``.
        columns: By name, equally long.
        before: Columns of text that come first, by name.

    Raises:
        OSError: The file cannot be written.
    """
    cells = dict(before)
    for name, values in columns.items():
        cells[name] = [repr(float(v)) if np.isfinite(v) else "" for v in values]
    packed = path.name.lower().endswith(".gz")
    opened: Any = gzip.open if packed else open
    with opened(path, "wt", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(cells)
        writer.writerows(zip(*cells.values(), strict=True))


def seconds(rows: Sequence[Sequence[str]], column: int) -> np.ndarray | None:
    """One column as times in seconds: numbers, or dates in ISO 8601; else None.

    The first cell decides which; NaN stands for a later one that is none.
    """
    parse = next(
        (p for p in (float, _since) if _parsed(p, rows[0][column]) is not None), None
    )
    if parse is None:
        return None
    found = (_parsed(parse, cells[column]) for cells in rows)
    return np.array([np.nan if time is None else time for time in found])


def sampling_rate(
    times: np.ndarray,
    *,
    name: str,
    path: Path,
    start: int,
    otherwise: str = 'say `"time": None`',
) -> float:
    """The rate in Hz of times that must be evenly spaced.

    Args:
        times: In seconds.
        name: The column, for messages.
        path: The file, for messages.
        start: The row of the first time.
        otherwise: What to do where the spacing does not matter, for messages.

    Raises:
        DataError: Times are not evenly spaced, or do not grow.
    """
    steps = np.diff(times)
    if not len(steps):
        raise DataError(f"{path} has one row only", hint="give more rows")
    step = float(np.nanmedian(steps)) if np.isfinite(steps).any() else np.nan
    uneven = ~(np.abs(steps - step) <= _EVEN * abs(step)) | ~(steps > 0)
    if uneven.any():
        first = int(np.argmax(uneven))
        raise DataError(
            f"time column `{name}` of {path} must be evenly spaced and grow: row "
            f"{start + first + 1} (line {start + first + 3}) comes {steps[first]:g} s "
            f"after the one before, most come after {step:g} s",
            hint="put in rows of empty cells where some are missing, or "
            f"{otherwise} if the spacing does not matter",
        )
    # Of the whole stretch, because single steps are rounded.
    return float(len(steps) / (times[-1] - times[0]))


def require_rate(
    times: np.ndarray | None, rate: float, *, name: str, path: Path, start: int
) -> None:
    """Refuse rows that are not as far apart as those a model was trained on.

    Args:
        times: In seconds; None where the column holds none.
        rate: Of those rows, in Hz.
        name: The column, for messages.
        path: The file, for messages.
        start: The row of the first time.

    Raises:
        DataError: They are not, or are not evenly spaced.
    """
    if times is None:
        raise DataError(
            f"time column `{name}` of {path} must hold times from row {start} on",
            hint="write the time of every row, or leave the column out",
        )
    found = sampling_rate(
        times, name=name, path=path, start=start, otherwise="leave the column out"
    )
    if abs(found - rate) > _EVEN * rate:
        raise DataError(
            f"rows of {path} are {1 / found:g} s apart, and those that were trained on "
            f"{1 / rate:g} s",
            hint=f"give rows that are {1 / rate:g} s apart",
        )


def _since(text: str) -> float:
    moment = datetime.fromisoformat(text.strip())
    return (moment - datetime(1970, 1, 1, tzinfo=moment.tzinfo)).total_seconds()


def _parsed(parse: Callable[[str], float], text: str) -> float | None:
    try:
        return parse(text)
    except ValueError:
        return None


def _lines(path: Path) -> Iterator[bytes]:
    """Lines without their ends; a byte order mark is dropped."""
    try:
        packed = path.suffix.lower() == ".gz"
        with gzip.open(path) if packed else path.open("rb") as file:
            for number, line in enumerate(file):
                line = line.rstrip(b"\r\n")
                yield line if number else line.removeprefix(b"\xef\xbb\xbf")
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"cannot read {path}: {reason}",
            hint="check the path, or copy it again from its source",
        ) from error


def _cells(line: bytes, path: Path, number: int) -> list[str]:
    try:
        return next(csv.reader([line.decode()]), []) or [""]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"line {number} of {path} cannot be read: {error}",
            hint="save the table as CSV in UTF-8",
        ) from error
