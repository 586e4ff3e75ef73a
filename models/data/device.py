"""How data lies on the device: its type and its size."""

from __future__ import annotations

import math
from collections.abc import Collection

import jax
import numpy as np

from models.data.gaps import entries
from models.data.kinds import kind
from models.data.kinds.base import Part
from models.errors import DataError, near_matches

RESIDENT_BYTES = 1 << 30
"""Largest part that ``feeding="auto"`` keeps on the device, in bytes there."""


def default_dtype() -> np.dtype:
    """The type data has on the device: JAX's default float."""
    return np.dtype(jax.dtypes.canonicalize_dtype(np.float64))


def feed_roles(part: Part, asked: Collection[str] | None) -> tuple[str, ...]:
    """The roles that a feed carries: those asked for, by default all but hidden ones.

    Raises:
        DataError: The data has no such role.
    """
    hidden = kind(part.reference.kind).HIDDEN
    roles = [r for r in part.shapes if r not in hidden] if asked is None else asked
    for role in roles:
        if role not in part.shapes:
            raise DataError(
                f"`{part.reference.name}` has no role `{role}`",
                hint=near_matches(role, part.shapes),
            )
    return tuple(sorted(roles))


def entry_types(
    part: Part, roles: Collection[str]
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of one time step or row of each role, masks included."""
    gaps = part.reference.gaps
    return {
        name: (tuple(part.shapes[role]), np.dtype(bool) if mask else default_dtype())
        for name, role, mask in entries(roles, gaps)
    }


def entry_bytes(part: Part, roles: Collection[str]) -> int:
    """Bytes of one time step or row on the device, masks included."""
    types = entry_types(part, roles).values()
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in types)


def fits(part: Part, roles: Collection[str]) -> bool:
    """Whether a part may be kept on the device."""
    return sum(part.lengths) * entry_bytes(part, roles) <= RESIDENT_BYTES
