"""Residuals of a problem, for learners that minimise the sum of their squares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Array, Bool, Float


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """Residuals of outputs over a batch of windows.

    Attributes:
        function: ``(outputs, batch) -> (values, scored)``, both ``[B, T, C]``: residuals in
            standard deviations of what is measured, and which of them count. A value that
            does not count is zero, whatever the batch holds there.
        start: First sample of a window that counts; windows are cut so that no sample
            behind it is left out, and none counts twice.
    """

    function: Callable[
        [Mapping[str, Any], dict[str, Array]],
        tuple[Float[Array, "batch time channel"], Bool[Array, "batch time channel"]],
    ]
    start: int
