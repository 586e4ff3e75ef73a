"""Losses as named, weighted terms, each a pure function that refuses to broadcast."""

from __future__ import annotations

from models.losses.elementwise import (
    ERRORS,
    ErrorKind,
    absolute_error,
    huber_error,
    only,
    require_same_shape,
    squared_error,
)
from models.losses.terms import Loss, Term

__all__ = [
    "ERRORS",
    "ErrorKind",
    "Loss",
    "Term",
    "absolute_error",
    "huber_error",
    "only",
    "require_same_shape",
    "squared_error",
]
