"""Missing values: masks beside arrays, and values filled before they leave `models.data`.

A role that had missing values in train or valid (`Reference.gaps`) comes with a mask in every
batch and scoring group, whether this one has gaps or not. The mask of role ``x`` is named
``seen.x``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np

from models.data.kinds.base import Part, spans
from models.errors import DataError

Locate = Callable[[str, tuple[int, ...]], tuple[str, str]]
"""``locate(role, entry)`` says what holds an entry of an array, and where in it."""


def mask_name(role: str) -> str:
    """The name of the mask beside a role."""
    return f"seen.{role}"


def entries(
    roles: Collection[str], gaps: Collection[str]
) -> Iterator[tuple[str, str, bool]]:
    """Name, role and whether it is a mask, of everything a batch of these roles holds."""
    for role in sorted(roles):
        yield role, role, False
    for role in sorted(set(roles) & set(gaps)):
        yield mask_name(role), role, True


def filled(
    arrays: Mapping[str, np.ndarray],
    *,
    gaps: Collection[str],
    fills: Mapping[str, np.ndarray],
    locate: Locate,
) -> dict[str, np.ndarray]:
    """Fill what is missing, and add masks.

    Args:
        arrays: Role to ``[…, channels]`` of floats; changed in place.
        gaps: The roles that may have missing values.
        fills: Role to the value per channel that stands in for missing ones.
        locate: Names an entry in an error.

    Returns:
        The arrays, and ``seen.<role>`` of the same shape for each role with gaps: True where
        there is a value.

    Raises:
        DataError: A value is missing in a role that has no gaps.
    """
    out = dict(arrays)
    for role, values in arrays.items():
        missing = np.isnan(values)
        if role in gaps:
            fill = np.asarray(fills[role], values.dtype)
            np.copyto(values, fill, where=missing)
            out[mask_name(role)] = ~missing
        elif missing.any():
            entry = tuple(int(i) for i in np.argwhere(missing)[0])
            raise missing_value(*locate(role, entry))
    return out


def missing_value(what: str, where: str) -> DataError:
    """A value is missing in a role that had none in train and valid."""
    return DataError(
        f"{what} is not finite: nan at {where}, but nothing was missing in its role when "
        f"the data was prepared",
        hint="fill or cut out missing values, or prepare data whose train part has some",
    )


def first_missing(part: Part, role: str) -> tuple[str, str]:
    """The place of the first missing value of a role, as `Part.locate` names it."""
    for index, start, stop in spans(part):
        missing = np.isnan(part.slice(index, start, stop, roles=(role,))[role])
        if missing.any():
            step, *rest = (int(i) for i in np.argwhere(missing)[0])
            return part.locate(role, index, (start + step, *rest))
    return f"role `{role}` of part `{part.name}`", "an entry that is there no more"
