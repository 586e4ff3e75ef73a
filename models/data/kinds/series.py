"""Series: one table in time order, parted by row borders.

Layout: a CSV file (``.csv`` or ``.csv.gz``, see `models.data.table`), or a folder that holds a
single one. Train comes before valid, valid before test.

Request: ``columns`` (role y; by default all columns of numbers that are no time and no
input), ``inputs`` (role u, by default none), ``borders`` (rows from 0: train begins, valid
begins, test begins, test ends; three have no test part) or ``shares`` (of train, valid and
test, by default 0.7, 0.1, 0.2), ``time`` (a column that must be evenly spaced where it holds
dates or seconds; by default the first if it looks like one, None for none), ``calendar``
(whether role t tells when each row is, as `CALENDAR`, of a time column of dates) and ``units``
(of y, or by role). Any value but a time may be missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from models.data import table
from models.data.check import checked
from models.data.files import new_file
from models.data.gaps import filled
from models.data.kinds.base import Dataset, Fills, Request, StoredPart, roles_there
from models.data.reference import PARTS, Reference
from models.data.requests import (
    names_of,
    share_borders,
    shares_of,
    units_of,
    whole_numbers,
)
from models.errors import DataError

KEYS = ("columns", "inputs", "borders", "shares", "time", "calendar", "units")
CUT: Literal["windows", "rows"] = "windows"
HIDDEN: tuple[str, ...] = ("x",)
LAYOUT = "a table in time order, .csv or .csv.gz"
SHARES = (0.7, 0.1, 0.2)
CALENDAR = ("day", "second")
"""Role t of a row: days since 1970, and seconds of that day; both exact in single precision."""
_DAY = 86400


class SeriesPart(StoredPart):
    """The rows of one part: a single record, read when first asked for.

    Args:
        reference: The dataset.
        name: ``train``, ``valid`` or ``test``.
        fills: Gives the train mean of roles with gaps.

    Raises:
        DataError: There is no such part.
    """

    def __init__(self, *, reference: Reference, name: str, fills: Fills = dict) -> None:
        super().__init__(reference=reference, name=name, fills=fills)
        bounds = _bounds(reference.settings["borders"])
        if name not in bounds:
            raise DataError(
                f"the dataset `{reference.name}` has no part `{name}`: it was prepared "
                f"with three borders",
                hint="give four `borders` or three `shares`",
            )
        start, stop = bounds[name]
        self.before = start
        self.lengths = (stop - start,)
        self.names = (name,)
        self.shapes = {role: (len(names),) for role, names in reference.roles.items()}
        self._read_from = start
        self._values: dict[str, np.ndarray] = {}

    def slice(
        self,
        index: int,
        start: int,
        stop: int,
        *,
        roles: Collection[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Rows ``start`` to ``stop``, counted from the part's first one.

        A negative `start` looks back into the rows of the part before.

        Raises:
            DataError: The rows do not lie inside the part, the table is damaged, or rows of
                test are not as far apart as those before.
        """
        if not -self.before <= start < stop <= self.lengths[index]:
            raise DataError(
                f"rows {start} to {stop} do not lie in part `{self.name}` of "
                f"{self.reference.path}, which has {self.lengths[index]}"
            )
        first = self.before + start
        if not self._values or first < self._read_from:
            end = self.before + self.lengths[index]
            path, reference = Path(self.reference.path), self.reference
            self._read_from = min(first, self._read_from)
            self._values = _read_roles(
                path,
                reference.roles,
                self._read_from,
                end,
                time=reference.settings.get("time"),
                # Times of the other parts were looked at before anything was trained.
                rate=reference.sampling_rate if self.name == "test" else None,
            )
        offset = self.before - self._read_from
        wanted = self.shapes if roles is None else roles
        return {r: self._values[r][offset + start : offset + stop] for r in wanted}

    def locate(self, role: str, index: int, entry: tuple[int, ...]) -> tuple[str, str]:
        """The column and its file, and the row."""
        row = self.before + entry[0]
        return _located(Path(self.reference.path), self.reference, role, row, entry[-1])


def find(path: Path) -> Path | None:
    """A CSV file, or the single one in a folder that holds no data of another kind."""
    if path.is_file():
        return path if path.name.lower().endswith(table.SUFFIXES) else None
    if not path.is_dir() or (path / "train").is_dir():
        return None
    found = [p for p in path.iterdir() if p.is_file() and find(p)]
    return found[0] if len(found) == 1 else None


def prepare(request: Request, *, name: str, path: Path) -> Reference:
    """Check and hash a table; see `models.data.kinds.base.Kind`."""
    columns = table.header(path)
    borders = _borders(request, path)
    bounds = _bounds(borders)
    rows = table.read_rows(path, borders[0], borders[2])
    time, rate = _time(request, path, columns, rows, borders[0])
    roles = _roles(request, path, columns, rows, time)
    if _asks_for_calendar(request, path, columns, rows, time):
        roles["t"] = CALENDAR
    hashes = table.hash_rows(path, list(bounds.values()))
    reference = Reference(
        name=name,
        path=str(path),
        kind="series",
        roles=roles,
        hashes=dict(zip(bounds, hashes, strict=True)),
        sampling_rate=rate,
        units=units_of(request),
        settings={"borders": borders, "time": time},
    )
    return checked(open(reference), allowed=reference.roles, whole=("t",))


def open(reference: Reference) -> Dataset:
    """Open a prepared table; its rows are read when they are needed."""
    return Dataset(reference=reference, opener=SeriesPart)


def read(
    path: Path,
    *,
    reference: Reference,
    roles: Collection[str],
    optional: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """The columns of a table: role to ``[T, channels]``; see `Kind.read`.

    Where it has the time column, its rows must be as far apart as those of train.
    """
    there = (*table.header(path), *CALENDAR)
    wanted = roles_there(reference, there, roles=roles, optional=optional)
    time = reference.settings.get("time")
    rows, rate = table.count_rows(path), reference.sampling_rate
    arrays = _read_roles(path, wanted, 0, rows, time=time, rate=rate)
    return filled(
        arrays,
        gaps=reference.gaps,
        fills=open(reference).part("train").fills if reference.gaps else {},
        locate=lambda role, entry: _located(path, reference, role, *entry),
    )


def write(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    *,
    reference: Reference,
    like: Path,
) -> None:
    """Write predicted columns ``[T, channels]``; a value that is not finite stays empty.

    The time column of `like` is taken over where it has as many rows.
    """
    columns: dict[str, np.ndarray] = {}
    (length, *others) = {len(values) for values in arrays.values()}
    for role, values in arrays.items():
        names = reference.roles.get(role, (role,))
        if others or values.ndim != 2 or values.shape[1] != len(names):
            raise DataError(
                f"a table holds {len(names)} columns of equal length for role `{role}`, "
                f"got an array of shape {values.shape} to write",
                hint="predict arrays [time, channel], or use `hpo.load_model` in Python",
            )
        columns |= dict(zip(names, values.T, strict=True))
    times = table.times_of(like, reference.settings.get("time"), length)
    with new_file(path, suffixes=table.SUFFIXES) as made:
        table.write(made, columns, before=times)


def _bounds(borders: tuple[int, ...]) -> dict[str, tuple[int, int]]:
    """Part to its first row and the first one after it."""
    return dict(zip(PARTS, zip(borders, borders[1:], strict=False), strict=False))


def _borders(request: Request, path: Path) -> tuple[int, ...]:
    """Row borders as asked for, or by shares of the rows there are."""
    if "borders" in request and "shares" in request:
        raise DataError(
            "a series is parted by either `borders` or `shares`, got both",
            hint="leave one of them out",
        )
    rows = table.count_rows(path)
    if "borders" not in request:
        shares = shares_of(request.get("shares", SHARES), "shares")
        return share_borders(rows, shares, path=path)
    borders = whole_numbers(request["borders"], "borders", counts=(3, 4))
    if borders[-1] > rows:
        raise DataError(
            f"`borders` must not go beyond the table: got {list(borders)}, and {path} has "
            f"{rows} rows",
            hint=f"let the last border be at most {rows}, or get the whole table",
        )
    return borders


def _time(
    request: Request,
    path: Path,
    columns: tuple[str, ...],
    rows: list[list[str]],
    start: int,
) -> tuple[str | None, float | None]:
    """The time column, and the sampling rate that it shows."""
    if "time" in request:
        name = request["time"]
        if name is None:
            return None, None
        times = table.seconds(rows, table.column_index(path, columns, name))
    else:
        name, times = columns[0], table.seconds(rows, 0)
        if times is None or (
            name.lower() not in table.TIMES and _is_number(rows[0][0])
        ):
            return None, None
    if times is None:
        return name, None
    return name, table.sampling_rate(times, name=name, path=path, start=start)


def _asks_for_calendar(
    request: Request,
    path: Path,
    columns: tuple[str, ...],
    rows: list[list[str]],
    time: str | None,
) -> bool:
    """Whether role t is wanted; refused where no column tells of dates."""
    wanted = request.get("calendar", False)
    if not isinstance(wanted, bool):
        raise DataError(f"`calendar` is true or false, got {wanted!r}")
    if not wanted:
        return False
    at = None if time is None else table.column_index(path, columns, time)
    if at is None or _is_number(rows[0][at]) or table.seconds(rows, at) is None:
        found = (
            "there is none" if at is None else f"`{time}` begins with {rows[0][at]!r}"
        )
        raise DataError(
            f"a calendar needs a time column of dates in {path}, and {found}",
            hint='name it: data={"path": …, "time": …}, with dates like 2016-07-01 00:15, '
            "or leave `calendar` out",
        )
    return True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _roles(
    request: Request,
    path: Path,
    columns: tuple[str, ...],
    rows: list[list[str]],
    time: str | None,
) -> dict[str, tuple[str, ...]]:
    """Columns as asked for; by default outputs are all numbers that nothing else is."""
    inputs, outputs = names_of(request, "inputs"), names_of(request, "columns")
    if not outputs:
        free = [c for c in columns if c != time and c not in inputs]
        outputs = tuple(c for c in free if _is_numeric(rows, columns.index(c)))
    if not outputs:
        raise DataError(
            f"{path} has no column of numbers; it has: {', '.join(columns)}",
            hint='name them in the study: data={"path": …, "columns": […]}',
        )
    both = set(inputs) & set(outputs)
    if both:
        raise DataError(
            f"a column is either input or output, got `{sorted(both)[0]}` as both",
            hint="leave it out of `inputs` or `columns`",
        )
    return {"u": inputs, "y": outputs} if inputs else {"y": outputs}


def _is_numeric(rows: list[list[str]], column: int) -> bool:
    try:
        table.numbers(rows, column)
    except ValueError:
        return False
    return True


def _read_roles(
    path: Path,
    roles: Mapping[str, tuple[str, ...]],
    start: int,
    stop: int,
    *,
    time: str | None = None,
    rate: float | None = None,
) -> dict[str, np.ndarray]:
    """Rows ``start`` to ``stop`` of some columns: role to ``[stop - start, channels]``.

    Role t is `CALENDAR` of the column `time`, which where it is there must show the `rate`.
    """
    columns, rows = table.header(path), table.read_rows(path, start, stop)

    def column(name: str) -> np.ndarray:
        try:
            return table.numbers(rows, table.column_index(path, columns, name))
        except ValueError as error:
            text, row = error.args
            raise DataError(
                f"column `{name}` of {path} must hold numbers, got {text!r} in line "
                f"{start + row + 2}",
                hint="leave the column out, or empty the cell",
            ) from None

    def calendar() -> np.ndarray:
        assert time is not None, "a calendar is only prepared of a time column"
        seconds = table.seconds(rows, table.column_index(path, columns, time))
        if seconds is None or np.isnan(seconds).any():
            raise DataError(
                f"time column `{time}` of {path} must hold dates, like 2016-07-01 00:15, in "
                f"each of its rows {start} to {stop - 1}",
                hint="write the time of every row",
            )
        days = np.floor(seconds / _DAY)
        return np.stack([days, seconds - days * _DAY], axis=1)

    found = {
        role: calendar()
        if role == "t"
        else np.stack([column(name) for name in names], axis=1)
        for role, names in roles.items()
    }
    if rate is not None and time in columns and len(rows) > 1:
        table.require_rate(
            table.seconds(rows, columns.index(time)),
            rate,
            name=time,
            path=path,
            start=start,
        )
    return found


def _located(
    path: Path, reference: Reference, role: str, row: int, channel: int
) -> tuple[str, str]:
    name = reference.roles[role][channel]
    if role == "t":
        name = reference.settings["time"]
    return f"column `{name}` in {path}", f"row {row} (line {row + 2})"
