"""The parts of a trial's row: its curve and its attempts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Point:
    """One epoch of a trial's curve.

    Attributes:
        epoch: Counted from 1.
        value: The objective's metric, in the objective's unit; NaN where it was not finite.
        loss: Training loss, or NaN where the learner reports none.
    """

    epoch: int
    value: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One go at a trial.

    Attributes:
        number: Counted from 1.
        why: ``first``, ``retry``, ``resume``, ``promoted`` or ``carried``.
        epoch: The last epoch that was known when it started.
        end: How it ended, in words; empty while it runs.
    """

    number: int
    why: str
    epoch: int
    end: str = ""
