"""A learner that does nothing, to measure what surrounds learners."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from models.training.protocol import Context, Epoch


class Idle:
    """Reports a curve that depends on the configuration alone."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def fit_iter(self, epochs: int) -> Iterator[Epoch]:
        """Yield at once."""
        for number in range(1, epochs + 1):
            yield Epoch(number=number, valid={"rmse": self._rate + 1.0 / number})


def create(config: Mapping[str, Any], context: Context) -> Idle:
    """Make the learner of one trial."""
    del context
    return Idle(config["rate"])
