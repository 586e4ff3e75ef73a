"""Samplers by name: a file in `hpo.search.samplers` with a class `Sampler` is one.

A sampler is rebuilt for every proposal and is a pure function of its options and the
`Request`, so that a resumed study proposes what the undisturbed one would have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Protocol, runtime_checkable

from hpo.options import Described, build, describe, look_up, names_in
from hpo.search import samplers
from hpo.study import Objective, Rule
from hpo.trials.record import Trial
from search_spaces.space import Space


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything a proposal may depend on.

    Attributes:
        space: What may vary.
        seed: A seed for this one proposal.
        family_seed: A seed shared by all proposals of the family (for sequences and grids).
        index: How many points were asked for in the family before this one, in this run.
        history: The family's earlier trials, in the order they were proposed.
        objective: What trials are ranked by.
        further: Further objectives.
        former: Trials of the history from before the extension that gave the family this
            space, each with the space that it is of; they come before all others.
    """

    space: Space
    seed: int
    family_seed: int
    index: int
    history: Sequence[Trial]
    objective: Objective
    further: tuple[Objective, ...] = ()
    former: Sequence[tuple[Trial, Space]] = ()

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All objectives, the one that ranks first."""
        return self.objective, *self.further

    @property
    def carried(self) -> list[Trial]:
        """Trials taken over from earlier runs; they come before all others."""
        return list(takewhile(lambda trial: trial.origin == "carried", self.history))

    @property
    def place(self) -> int:
        """How many points were asked for in this space before this one, in this run."""
        tried = ("carried", "first")  # which `index` does not count
        return self.index - sum(t.origin not in tried for t, _ in self.former)


class Sampler(Protocol):
    """Proposes configurations; frozen, its fields are the options."""

    def examine(self, space: Space, objectives: int) -> tuple[str, ...]:
        """Remarks for a person who searches this space.

        Args:
            space: What may vary.
            objectives: For how many objectives it is searched.

        Raises:
            StudyError: It cannot be searched.
        """
        ...

    def propose(self, request: Request) -> dict[str, Any] | None:
        """Searched values by name; None when there is no point left, now and for ever.

        Only a `FiniteSampler` gives None.
        """
        ...


@runtime_checkable
class FiniteSampler(Sampler, Protocol):
    """A sampler whose points end; rules that plan must know it before they ask for a draw."""

    def ends(self, request: Request) -> bool:
        """Whether there is no point left, now and for ever."""
        ...


@runtime_checkable
class LearnsFromEnds(Sampler, Protocol):
    """A sampler to which trials that were stopped, or wait, tell nothing."""

    def knows_enough(self, history: Sequence[Trial]) -> bool:
        """Whether so many of a family's trials ended by themselves that it draws by them."""
        ...


def names() -> tuple[str, ...]:
    """Every sampler's name."""
    return names_in(samplers)


def described() -> tuple[Described, ...]:
    """Every sampler with its options."""
    return tuple(
        describe(name, look_up("sampler", name, samplers, "Sampler"))
        for name in names()
    )


def make(rule: Rule) -> Sampler:
    """The sampler that a study asks for.

    Raises:
        StudyError: The name or an option is unknown, or an option's value breaks a rule.
    """
    sampler: Sampler = build("sampler", rule, samplers, "Sampler")
    return sampler
