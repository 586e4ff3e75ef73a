"""Which columns of independent rows are kept, and between which values: found on train.

Nothing here looks at another part. What was found is part of the reference, so that it is saved
with every run and a file to predict from is treated alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.data.kinds.base import Part, Request
from models.data.requests import flag
from models.data.statistics import accumulate
from models.errors import DataError


def fitted_columns(request: Request, train: Part) -> dict[str, Any]:
    """What `clean` and `clip` of a request mean for the columns of every role of rows.

    Args:
        request: `clean` drops columns that are constant or were never seen in train; `clip`
            holds values between two quantiles of train, column by column.
        train: The train part as it is stored.

    Returns:
        For ``Reference.settings``: role to ``kept`` (numbers of columns), ``dropped`` (number
        to the constant value; None of nothing) and ``limits`` (lowest and highest values).

    Raises:
        DataError: A role would keep no column, or a value of the request is refused.
    """
    clean, clip = flag(request, "clean"), quantiles_of(request)
    found = {}
    for role, shape in train.shapes.items():
        if len(shape) == 1 and (clean or clip):
            found[role] = _fitted(train, role, clean=clean, clip=clip)
    return {"columns": found} if found else {}


def quantiles_of(request: Request) -> tuple[float, float] | None:
    """The two fractions of `clip`; None where nothing is clipped.

    Raises:
        DataError: They are something else.
    """
    if "clip" not in request:
        return None
    asked = request["clip"]
    pair = isinstance(asked, (list, tuple)) and len(asked) == 2
    if (
        not pair
        or not all(isinstance(v, (int, float)) for v in asked)
        or not (0 <= asked[0] < asked[1] <= 1)
    ):
        raise DataError(
            f"`clip` must be two fractions of the train values, got {asked!r}",
            hint='for example "clip": [0.001, 0.999]',
        )
    return float(asked[0]), float(asked[1])


def kept_columns(settings: Mapping[str, Any], role: str) -> tuple[int, ...] | None:
    """The stored columns of a role that are kept; None for all of them."""
    found = settings.get("columns", {}).get(role)
    return None if found is None else tuple(found["kept"])


def cleaned(values: np.ndarray, settings: Mapping[str, Any], role: str) -> np.ndarray:
    """Stored rows ``[N, D]`` of a role without dropped columns, between the limits.

    What is not finite stays as it is, so that it is told or counted as missing.
    """
    found = settings.get("columns", {}).get(role)
    if found is None:
        return values
    values = values[:, list(found["kept"])]
    if "limits" in found:
        low, high = (np.asarray(side, values.dtype) for side in found["limits"])
        values = np.where(np.isfinite(values), np.clip(values, low, high), values)
    return values


def whole_rows(
    values: np.ndarray, settings: Mapping[str, Any], role: str
) -> np.ndarray:
    """The inverse for predicted rows: dropped columns hold the constant they had."""
    found = settings.get("columns", {}).get(role)
    if found is None:
        return values
    kept, dropped = found["kept"], found["dropped"]
    out = np.empty((len(values), len(kept) + len(dropped)), values.dtype)
    out[:, list(kept)] = values
    for column, constant in dropped.items():
        out[:, int(column)] = np.nan if constant is None else constant
    return out


def columns_there(train: Part, role: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation (0 of a constant), and count of values seen ``[D]`` each."""
    seen = sum(np.isfinite(block).sum(axis=0) for block in train.blocks(role))
    finite = (_finite(block) for block in train.blocks(role))
    mean, std = accumulate(finite)
    low, high = _range(train, role)
    return mean, np.where(high > low, std, 0.0), np.asarray(seen)


def _fitted(
    train: Part, role: str, *, clean: bool, clip: tuple[float, float] | None
) -> dict[str, Any]:
    mean, std, seen = columns_there(train, role)
    keep, limits = np.ones(len(std), bool), None
    if clip is not None:
        limits = _limits(train, role, clip)
        std = np.where(limits[1] > limits[0], std, 0.0)  # what is left of a rare value
    if clean:
        keep = (std > 0) & (seen > 0)
    if not keep.any():
        raise DataError(
            f"every column of role `{role}` of `{train.reference.name}` is constant or "
            f"missing in train, got {len(keep)} columns",
            hint="leave the role out of `arrays`",
        )
    out: dict[str, Any] = {
        "kept": tuple(np.flatnonzero(keep).tolist()),
        "dropped": {
            str(c): float(mean[c]) if seen[c] else None
            for c in np.flatnonzero(~keep).tolist()
        },
    }
    if limits is not None:
        out["limits"] = tuple(tuple(side[keep].tolist()) for side in limits)
    return out


def _limits(train: Part, role: str, clip: tuple[float, float]) -> np.ndarray:
    """The two quantiles ``[2, D]`` of what was seen of every column; 0 of nothing."""
    values = np.concatenate([_finite(block) for block in train.blocks(role)])
    shown = (column[np.isfinite(column)] for column in values.T)
    return np.array([np.quantile(c, clip) if len(c) else (0.0, 0.0) for c in shown]).T


def _range(train: Part, role: str) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest value seen of every column."""
    low = np.full(train.shapes[role], np.inf)
    high = -low
    for block in train.blocks(role):
        finite = _finite(block)
        low = np.fmin(low, np.fmin.reduce(finite, axis=0))
        high = np.fmax(high, np.fmax.reduce(finite, axis=0))
    return low, high


def _finite(block: np.ndarray) -> np.ndarray:
    values = np.asarray(block, np.float64)
    return np.where(np.isfinite(values), values, np.nan)
