"""One line of the doctor's report, and a few words that all of them use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "error"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of examining one thing.

    Attributes:
        check: The thing.
        status: ``ok``; ``warning`` where something is slower, smaller or missing than it
            could be; ``error`` where runs will fail.
        found: What is there.
        remedy: What to do about it; empty where nothing needs doing.
    """

    check: str
    status: Status
    found: str
    remedy: str = ""


def judged(check: str, found: str, *, problem: Status | None, remedy: str) -> Finding:
    """A finding that is `problem` with its remedy, or ok without one where it is None."""
    if problem is None:
        return Finding(check=check, status="ok", found=found)
    return Finding(check=check, status=problem, found=found, remedy=remedy)
