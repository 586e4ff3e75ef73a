"""The first screen of a report, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The first screen.

    Attributes:
        first: The verdict, or that nothing is settled.
        settled: Whether there is a verdict.
        facts: Label and sentence of what else a reader must know.
        commands: What to do next, each with what it does.
    """

    first: tuple[str, ...]
    settled: bool
    facts: tuple[tuple[str, str], ...]
    commands: tuple[tuple[str, str], ...]
