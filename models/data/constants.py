"""Numbers of a record that are no signal: in its attributes, its file's name, or its rate."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.data import stores
from models.data.kinds.base import Request
from models.data.name_patterns import name_pattern
from models.errors import DataError, near_matches

_PLACES = ("attribute", "file_name", "sampling")
_SAMPLING = ("step", "rate")
Constants = Mapping[str, Mapping[str, str]]
"""Name to where it is found: ``{"attribute": NAME}``, ``{"file_name": PATTERN}``, or
``{"sampling": "step"}`` (s) or ``"rate"`` (Hz) at which the record is read."""


def constants_of(request: Request) -> Constants:
    """The constants that a request asks for, checked.

    Raises:
        DataError: One does not say where it is found, or a pattern has not one group.
    """
    asked = request.get("constants", {})
    if not isinstance(asked, Mapping):
        raise DataError(
            f"`constants` says by name where each is found, got {asked!r}",
            hint='{"mass": {"attribute": "mass"}, "speed": {"file_name": "speed_(\\\\d+)"}}',
        )
    found = {}
    for name, place in asked.items():
        if (
            not isinstance(place, Mapping)
            or len(place) != 1
            or not set(place) <= {*_PLACES}
        ):
            raise DataError(
                f"the constant `{name}` is found in an `attribute`, by a `file_name` or of the "
                f"`sampling`, got {place!r}",
                hint='{"attribute": "mass"}, {"file_name": "speed_(\\\\d+)"} or '
                '{"sampling": "step"}',
            )
        ((where, what),) = place.items()
        if where == "sampling" and what not in _SAMPLING:
            raise DataError(
                f"of the `sampling` a constant is the step (s) or the rate (Hz), got {what!r}",
                hint='{"sampling": "step"}',
            )
        if where == "file_name":
            _pattern(name, what)
        found[str(name)] = {str(where): str(what)}
    return found


def constants_in(
    path: Path, constants: Constants, *, factor: int = 1
) -> dict[str, np.ndarray]:
    """The values ``[C]`` of the constants of one file, by name.

    Args:
        path: The file.
        constants: As `constants_of` gave them.
        factor: Every how many of its samples one is read.

    Raises:
        DataError: The file has no such attribute, its name does not match, or what is found
            is no number.
    """
    found, notes = {}, None
    for name, place in constants.items():
        ((where, what),) = place.items()
        if where == "file_name":
            values: Any = _by_name(path, name, what)
        else:
            notes = stores.attributes(path) if notes is None else notes
            attribute = "fs" if where == "sampling" else what
            if attribute not in notes:
                raise DataError(
                    f"the constant `{name}` needs the attribute `{attribute}`, which {path} "
                    "does not have",
                    hint=near_matches(attribute, notes),
                )
            values = notes[attribute]
        if where == "sampling":
            rate = stores.told_rate(path, notes) or math.nan
            values = rate / factor if what == "rate" else factor / rate
        array = np.atleast_1d(np.asarray(values))
        if array.ndim != 1 or array.dtype.kind not in "fiub" or not array.size:
            raise DataError(
                f"the constant `{name}` of {path} must be a number or a list of them, got "
                f"{values!r}",
                hint="leave it out of `constants`, or write a number there",
            )
        found[name] = array.astype(float)
    return found


def told(path: Path, constants: Constants) -> frozenset[str]:
    """The names of the constants that a file tells, whatever their values are.

    Args:
        path: The file; one to predict from need not tell what is to be predicted.
        constants: As `constants_of` gave them.

    Raises:
        DataError: The file is missing or damaged.
    """
    notes = stores.attributes(path) if constants else {}
    there = {
        "attribute": lambda what: what in notes,
        "sampling": lambda _: "fs" in notes,
        "file_name": lambda what: re.search(what, stores.stem(path)) is not None,
    }
    return frozenset(
        name
        for name, place in constants.items()
        for where, what in place.items()
        if there[where](what)
    )


def _by_name(path: Path, name: str, pattern: str) -> float:
    match = _pattern(name, pattern).search(stores.stem(path))
    if match is None:
        raise DataError(
            f"the constant `{name}` is what {pattern!r} finds in a file's name, and in "
            f"{path.name} it finds nothing",
            hint="name all files alike, or mend the pattern",
        )
    try:
        return float(match[1] or "")
    except ValueError:
        raise DataError(
            f"the constant `{name}` must be a number, and {pattern!r} finds {match[1] or ''!r} in "
            f"{path.name}",
            hint=r"let the group match digits only, such as (\d+)",
        ) from None


def _pattern(name: str, text: Any) -> re.Pattern[str]:
    return name_pattern(text, key=f"the `file_name` of the constant `{name}`")
