"""Windows: equally long pieces of recordings, some of which follow one another in time.

Layout: that of `samples`, with arrays ``[windows, time, channels]``. In the train part, windows of
one series that touch or overlap are joined again, so that a family may cut others out of it
(``data.window``, ``data.stride``); valid and test stay as they are given, for they are scored.

Request: ``arrays``, ``split`` and ``units`` as for samples; ``series`` and ``start``, names of
arrays that say for each window which series it is of and at which time step of it it begins
(without them nothing is joined); ``masks`` (role to an array that is 0 where a value is missing,
beside NaN); ``clip`` (two fractions: values are held between these quantiles of the train part,
channel by channel); ``channels`` (their names).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.data.arrays import ArrayFile
from models.data.check import checked
from models.data.columns import quantiles_of
from models.data.gaps import filled
from models.data.hdf5 import array_names
from models.data.kinds import samples
from models.data.kinds.base import Dataset, Fills, Request, StoredPart, roles_there
from models.data.kinds.samples import SamplesPart, located
from models.data.reference import Reference
from models.data.requests import different_names
from models.errors import DataError

KEYS = ("arrays", "split", "units", "series", "start", "masks", "clip", "channels")
CUT: Literal["windows", "rows"] = "windows"
HIDDEN: tuple[str, ...] = ()
LAYOUT = (
    f'`"kind": "windows"`, and arrays [windows, time, channels] in {samples.LAYOUT}'
)

_SERIES, _START, _MASK = "windows.series", "windows.start", "windows.mask."
"""Roles under which the rows of a file hold what is no role of the windows."""

Run = tuple[np.ndarray, np.ndarray]
"""Rows that follow one another, and the time step of the first one's at which each begins."""

find = samples.find


class WindowsPart(StoredPart):
    """One part, read when asked for: joined series of train, given windows of the others.

    Args:
        reference: The dataset.
        name: ``train``, ``valid`` or ``test``.
        fills: Gives the train mean of roles with gaps.

    Raises:
        DataError: There is no such part, its windows have another length, or such that
            overlap differ in length.
    """

    def __init__(self, *, reference: Reference, name: str, fills: Fills = dict) -> None:
        super().__init__(reference=reference, name=name, fills=fills)
        self._rows = SamplesPart(reference=_as_samples(reference), name=name)
        self._window = reference.settings["window"]
        shapes = self._rows.shapes
        for role in reference.roles:
            if len(shapes[role]) != 2 or shapes[role][0] != self._window:
                raise DataError(
                    f"windows of role `{role}` in part `{name}` of `{reference.name}` must "
                    f"have shape [windows, {self._window}, channels], got "
                    f"{[self._rows.lengths[0], *shapes[role]]}",
                    hint="cut all windows to one length",
                )
        self.shapes = {role: shapes[role][1:] for role in reference.roles}
        self._runs = self._joined() if name == "train" else self._single()
        self.lengths = tuple(int(at[-1]) + self._window for _, at in self._runs)
        self.names = tuple(f"{name}_{rows[0]}" for rows, _ in self._runs)

    def slice(
        self,
        index: int,
        start: int,
        stop: int,
        *,
        roles: Collection[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Time steps ``start`` to ``stop`` of a series or window.

        Raises:
            DataError: They do not lie inside it.
        """
        if not 0 <= start < stop <= self.lengths[index]:
            raise DataError(
                f"time steps {start} to {stop} do not lie in {self.names[index]} of "
                f"`{self.reference.name}`, which has {self.lengths[index]}"
            )
        rows, at = self._runs[index]
        first = int(np.searchsorted(at, start, side="right")) - 1
        last = int(np.searchsorted(at, stop, side="left"))
        pieces = [
            (int(at[k]), self._row(int(rows[k]), roles)) for k in range(first, last)
        ]
        out = {}
        for role, values in pieces[0][1].items():
            out[role] = np.empty((stop - start, *values.shape[1:]), values.dtype)
            for offset, piece in pieces:
                low, high = max(start, offset), min(stop, offset + self._window)
                out[role][low - start : high - start] = piece[role][
                    low - offset : high - offset
                ]
        return out

    def locate(self, role: str, index: int, entry: tuple[int, ...]) -> tuple[str, str]:
        """The array and its file, and the row and time step in it."""
        rows, at = self._runs[index]
        k = int(np.searchsorted(at, entry[0], side="right")) - 1
        inside = (int(rows[k]), entry[0] - int(at[k]), *entry[1:])
        return self._rows.locate(role, 0, inside)

    def _row(self, row: int, roles: Collection[str] | None) -> dict[str, np.ndarray]:
        wanted = tuple(self.shapes if roles is None else roles)
        masks = [m for r in wanted if (m := _MASK + r) in self._rows.shapes]
        found = self._rows.slice(0, row, row + 1, roles=(*wanted, *masks))
        cleaned = _cleaned(found, self.reference)
        return {role: cleaned[role][0] for role in wanted}

    def _single(self) -> list[Run]:
        alone = np.zeros(1, np.int64)
        return [(np.array([row]), alone) for row in range(self._rows.lengths[0])]

    def _joined(self) -> list[Run]:
        """Windows of one series in order of time, cut where time is missing between two."""
        if _START not in self._rows.shapes:
            return self._single()
        index = self._rows.slice(0, 0, self._rows.lengths[0], roles=(_SERIES, _START))
        series, start = (index[role][:, 0] for role in (_SERIES, _START))
        order = np.lexsort((start, series))
        series, start = series[order], start[order].astype(np.int64)
        step = np.diff(start)
        apart = (np.diff(series) != 0) | (step > self._window)
        double = np.flatnonzero(~apart & (step == 0))
        if len(double):
            raise DataError(
                f"windows {order[double[0]]} and {order[double[0] + 1]} of part "
                f"`{self.name}` of `{self.reference.name}` begin at the same time step "
                f"{start[double[0]]} of series {series[double[0]]}",
                hint="leave one of them out",
            )
        borders = np.flatnonzero(apart) + 1
        return [
            (rows, at - at[0])
            for rows, at in zip(
                np.split(order, borders), np.split(start, borders), strict=True
            )
        ]


def prepare(request: Request, *, name: str, path: Path) -> Reference:
    """Check and hash windows; see `models.data.kinds.base.Kind`."""
    arrays = request.get("arrays", {"values": "values"})
    further = _further(request, arrays)
    inner = samples.prepare(
        {k: request[k] for k in ("split", "units") if k in request}
        | {"arrays": {**arrays, **further} if isinstance(arrays, Mapping) else arrays},
        name=name,
        path=path,
    )
    roles = {r: names for r, names in inner.roles.items() if r not in further}
    rows = open_rows(inner).part("train")
    settings = {
        **inner.settings,
        "window": rows.shapes[next(iter(roles))][0],
        "further": {r: inner.roles[r] for r in further},
    }
    reference = dataclasses.replace(
        inner,
        kind="windows",
        roles=roles,
        gaps=(),
        units={r: texts for r, texts in inner.units.items() if r in roles},
        settings=settings,
    )
    train = open(reference).part("train")
    _check_overlaps(train)
    settings = settings | _channels(request, train) | _limits(request, train)
    return checked(
        open(dataclasses.replace(reference, settings=settings)), allowed=roles
    )


def open(reference: Reference) -> Dataset:
    """Open prepared windows; they are read when they are needed."""
    return Dataset(reference=reference, opener=WindowsPart)


def open_rows(reference: Reference) -> Dataset:
    """The same data as independent rows, which hold what says how they are joined."""
    return samples.open(_as_samples(reference))


def read(
    path: Path,
    *,
    reference: Reference,
    roles: Collection[str],
    optional: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """The windows at a file's root: role to ``[N, time, channels]``; see `Kind.read`."""
    there = array_names(path)
    wanted = roles_there(reference, there, roles=roles, optional=optional)
    if not wanted:
        return {}
    further = reference.settings["further"]
    masks = {_MASK + r: further[_MASK + r] for r in wanted if _MASK + r in further}
    file = ArrayFile(path, roles={**wanted, **masks})
    train = open(reference).part("train")
    for role in wanted:
        if file.shapes[role][1:] != train.shapes[role] or len(file.shapes[role]) != 2:
            raise DataError(
                f"windows of role `{role}` in {path} must have shape [windows, time, "
                f"{train.channels[role]}], got {[file.length, *file.shapes[role]]}",
                hint="give the channels that the model was trained on",
            )
    found = {r: np.array(file.read(r, 0, file.length), float) for r in file.shapes}
    cleaned = _cleaned(found, reference)
    return filled(
        {role: cleaned[role] for role in wanted},
        gaps=reference.gaps,
        fills=train.fills,
        locate=lambda role, entry: located(file, role, entry, ""),
    )


def write(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    *,
    reference: Reference,
    like: Path,
) -> None:
    """Write predicted windows ``[N, time, channels]`` by the names of their roles."""
    samples.write(path, arrays, reference=_as_samples(reference), like=like)


def _as_samples(reference: Reference) -> Reference:
    further = reference.settings.get("further", {})
    return dataclasses.replace(
        reference, kind="samples", roles={**reference.roles, **further}
    )


def _further(request: Request, arrays: Any) -> dict[str, Any]:
    """What is read beside the roles, by the role it has among samples."""
    if ("series" in request) != ("start" in request):
        raise DataError(
            "windows are joined by `series` and `start`, got "
            f"{[k for k in ('series', 'start') if k in request]}",
            hint="name the arrays of both, or of none where windows do not follow one another",
        )
    found = (
        {_SERIES: request["series"], _START: request["start"]}
        if ("series" in request)
        else {}
    )
    masks = request.get("masks", {})
    if not isinstance(masks, Mapping) or set(masks) - set(arrays):
        raise DataError(
            f"`masks` must be a mapping of roles to names of arrays, got {masks!r}",
            hint=f"roles: {', '.join(arrays)}",
        )
    return found | {_MASK + role: names for role, names in masks.items()}


def _cleaned(
    found: Mapping[str, np.ndarray], reference: Reference
) -> dict[str, np.ndarray]:
    """Rows ``[N, time, channels]`` with NaN where a mask is 0, between the limits."""
    limits = reference.settings.get("limits", {})
    out = {}
    for role, values in found.items():
        if role.startswith(_MASK):
            continue
        mask = found.get(_MASK + role)
        if mask is not None:
            if mask.shape != values.shape:
                raise DataError(
                    f"the mask of role `{role}` of `{reference.name}` must have the shape "
                    f"{values.shape}, got {mask.shape}",
                    hint="give one number for every value",
                )
            kind = np.result_type(values.dtype, np.float32)
            values = np.where(mask != 0, values, np.array(np.nan, kind))
        if role in limits:
            low, high = (np.asarray(side, values.dtype) for side in limits[role])
            values = np.clip(values, low, high)
        out[role] = values
    return out


def _check_overlaps(train: Any) -> None:
    """Windows that overlap must say the same of what both show."""
    for index, (rows, at) in enumerate(train._runs):
        for k in range(1, len(rows)):
            shared = int(at[k - 1]) + train._window - int(at[k])
            if not shared:
                continue
            before, after = (train._row(int(rows[j]), None) for j in (k - 1, k))
            for role in train.shapes:
                one, other = before[role][-shared:], after[role][:shared]
                if not np.array_equal(one, other, equal_nan=True):
                    what, where = train.locate(role, index, (int(at[k]), 0))
                    raise DataError(
                        f"windows that overlap must agree: {what}, {where}, differs from "
                        "the end of the window before it",
                        hint="check the arrays of `series` and `start`",
                    )


def _channels(request: Request, train: WindowsPart) -> dict[str, Any]:
    """Names of the channels, of all roles alike."""
    if "channels" not in request:
        return {}
    names = different_names(request["channels"], "channels")
    for role, count in train.channels.items():
        if len(names) != count:
            raise DataError(
                f"`channels` must name the {count} channels of role `{role}`, got "
                f"{list(names)}",
                hint="give one name for each",
            )
    return {"channels": names}


def _limits(request: Request, train: WindowsPart) -> dict[str, Any]:
    """Between which values each channel is held, by role."""
    asked = quantiles_of(request)
    if asked is None:
        return {}
    found = {}
    for role in train.shapes:
        values = np.concatenate([np.asarray(b, float) for b in train.blocks(role)])
        seen = [channel[~np.isnan(channel)] for channel in values.T]
        found[role] = tuple(
            tuple(float(np.quantile(c, q)) if len(c) else 0.0 for c in seen)
            for q in asked
        )
    return {"limits": found}
