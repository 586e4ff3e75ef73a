"""A confirmation, as frozen data: everything that prints or draws one starts here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from hpo.objective import Matters
from hpo.report.verdicts import Seeded
from hpo.statistics.means import Interval
from hpo.study import Study

LEAST = 5
"""Fewest values a family of which anything is said."""


class Verdict(StrEnum):
    """What can be said of two families, by where the interval of their difference lies."""

    BETTER = "better, by enough to matter"  # beyond ± matters
    SAME = "no difference that matters"  # inside ± matters
    BETTER_OPEN = "better, by how much is open"  # without 0, and not inside
    UNDECIDED = "undecided"
    NONE = "too few"  # fewer than `LEAST` values


DECIDED = (Verdict.BETTER, Verdict.BETTER_OPEN, Verdict.SAME)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two families held against each other at one look.

    Attributes:
        a: The family whose mean (where seeds failed, whose ranks) is the better one.
        b: The other one.
        verdict: What stands: `a` is the better one where it says better.
        look: The look at which that was decided; the latest one where nothing is.
        scale: ``ratio`` of a to b (errors, compared as logarithms), or ``difference`` a - b
            in the objective's unit.
        effect: On that scale; None where a seed failed or there is nothing to compare.
        low: Lower end of its interval at this look.
        high: Upper end.
        least: What still does not matter, on that scale: the lower end (``1 / 1.05``).
        most: The upper end (``1.05``).
        confidence: That of the interval: all pairs of all looks hold together with 95 %.
        p: The p-value of the rank test, where a seed failed; else None.
        wins: In how many of all pairs of values `a` is the better one; a tie counts a half.
        compared: How many pairs of values there are.
        needed: About how many values each would settle it; None where that is not open, or
            cannot be told.
    """

    a: str
    b: str
    verdict: Verdict
    look: int
    scale: Literal["ratio", "difference"]
    effect: float | None
    low: float | None
    high: float | None
    least: float
    most: float
    confidence: float
    p: float | None
    wins: float
    compared: int
    needed: int | None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A configuration that was tried when a family's candidate was chosen.

    Attributes:
        trial: Its number in the search.
        rank: Its rank in the search.
        search: The value that the search found.
        values: The objective of each fresh seed over the validation part; None for those
            that failed. Empty where there was nothing to choose from.
        chosen: Whether it is the family's candidate.
    """

    trial: int
    rank: int | None
    search: float | None
    values: tuple[float | None, ...]
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Winner:
    """A family's candidate of one search, trained with new seeds.

    Attributes:
        run: The search's folder.
        trial: Its number in the search.
        rank: Its rank there.
        params: Searched values by dotted key.
        search: The value that the search found.
        candidates: What it was chosen from.
        seeds: One training a new seed, in order; those that failed say so.
        looks: The look at which each seed came in, in the same order.
        folders: The folders that the seeds lie in, by look; `hpo show` reads them.
        numbers: Which trial there each seed is, in the order of the seeds.
        valid: Mean over the validation part.
        test: Mean over the test part; None where there is none.
        optimism: Validation mean less the search's value, turned so that a positive number
            means that the search promised too much.
        expected_optimism: What is to be expected of the best of so many trials.
        parameters: How many numbers the model trains.
        trials: How many trials the family had in the search.
        epochs: How many epochs they trained.
        seconds: How long that took, training and validation, without compiling.
        best_of: For random search whose trials no rule compares: the expected best value of n
            trials that completed or converged, by n.
        beyond: The limits that it exceeded in the search, in words; empty where it kept to
            all, or there are none.
    """

    run: Path
    trial: int
    rank: int | None
    params: Mapping[str, Any]
    search: float | None
    candidates: tuple[Candidate, ...]
    seeds: tuple[Seeded, ...]
    looks: tuple[int, ...]
    folders: tuple[Path, ...]
    valid: Interval | None
    test: Interval | None
    optimism: Interval | None
    expected_optimism: float | None
    parameters: int | None
    trials: int
    epochs: int
    seconds: float
    numbers: tuple[int, ...] = ()
    best_of: tuple[tuple[int, float], ...] = ()
    beyond: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One family in a confirmation.

    Attributes:
        family: Its name.
        winners: Its candidate of each search, in the order of the searches: a single one
            unless a group of searches is confirmed.
        values: What the verdict compares: the objective of each seed over `part`, or of each
            search (the mean of its seeds) where there are several. Without those that failed.
        failed: How many failed.
        mean: Their mean; None where any failed.
        trials: The trials of all its searches.
        epochs: The epochs of all its searches.
        seconds: Their seconds.
    """

    family: str
    winners: tuple[Winner, ...]
    values: tuple[float, ...]
    failed: int
    mean: Interval | None
    trials: int
    epochs: int
    seconds: float

    @property
    def winner(self) -> Winner:
        """Its candidate, of the first search."""
        return self.winners[0]

    @property
    def count(self) -> int:
        """How many values there are, the failed ones among them."""
        return len(self.values) + self.failed


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """All that a confirmation tells.

    Attributes:
        folder: The run, or the group's folder.
        study: The resolved study of the (first) search.
        runs: The searches' folders.
        part: The part of the data that the verdicts are about: ``test``, or ``valid`` where
            the learners score no other.
        unit_of: What the verdict's unit is: ``seed``, or ``search`` for a group.
        contenders: The families with a candidate, best mean first, those with failures last.
        missing: Families without a candidate, each with the reason.
        pairs: One for each pair of contenders.
        matters: The smallest difference that matters.
        changed: In words, where that was changed after a look; else empty.
        grown: How many trials the search got after the candidates were chosen; they have no
            part in this.
        look: The latest look that is whole; 0 while the test part was not read.
        reads: How often the test part was read before the first look.
        finished: Whether nothing is left to train of what was asked for.
        stage: What is unfinished: ``choose`` or ``confirm``; empty when finished.
        unequal: Whether the families' budgets differ by more than a tenth.
        group: The name of the group that the run is a search of; empty for none.
    """

    folder: Path
    study: Study
    runs: tuple[Path, ...]
    part: str
    unit_of: Literal["seed", "search"]
    contenders: tuple[Contender, ...]
    missing: Mapping[str, str]
    pairs: tuple[Pair, ...]
    matters: Matters
    changed: str
    grown: int
    look: int
    reads: int
    finished: bool
    stage: str
    unequal: bool
    group: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON-able data: everything, with the study by its name."""
        fields = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        record = {name: _plain(v) for name, v in fields if name != "study"}
        return {"study": self.study.name, **record, "matters": str(self.matters)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, (Path, StrEnum)) else value
