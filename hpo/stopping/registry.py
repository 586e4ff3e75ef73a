"""Stopping rules by name: a file in `hpo.stopping.rules` with a class `StoppingRule` is one.

A rule is a pure function of its options and the `Evidence`; it keeps no state of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from hpo.options import Described, build, describe, look_up, names_in
from hpo.stopping import rules
from hpo.stopping.rung import Rung
from hpo.study import Objective, Rule, Study
from hpo.trials.record import Trial, value_by
from hpo.trials.states import State
from models.training.protocol import Epoch
from search_spaces.space import Space


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything a verdict on one epoch of one trial may depend on.

    Attributes:
        trial: The trial's number in the run.
        budget: Its epoch budget.
        epoch: The epoch in question, the trial's last one.
        values: The trial's objective by epoch, this epoch included, in order.
        best: The best finite value of the epochs before this one, or None.
        rung: Those that the rule compares the trial with at this epoch, or None where it has
            no rung.
        history: The family's trials in the order they were proposed, this one among them;
            whether it has this epoch already depends on what the ledger holds.
        objective: What trials are ranked by.
    """

    trial: int
    budget: int
    epoch: Epoch
    values: Mapping[int, float]
    best: float | None
    rung: Rung | None
    history: Sequence[Trial]
    objective: Objective

    @property
    def value(self) -> float:
        """The objective at this epoch."""
        return self.values[self.epoch.number]

    @property
    def attained(self) -> float:
        """What a rung compares: see `hpo.trials.record.value_by`."""
        return value_by(self.values, self.epoch.number, self.objective)


@dataclass(frozen=True)
class Verdict:
    """End the trial, or pause it.

    Attributes:
        state: Stopped, converged, diverged or (by a `PausingRule`) paused.
        reason: Why, in words.
    """

    state: State
    reason: str


class StoppingRule(Protocol):
    """Judges epochs; frozen, its fields are the options."""

    def rungs(self, budget: int, index: int) -> tuple[int, ...]:
        """Epochs at which the rule compares a trial with others; ascending, below the budget.

        Workers save a checkpoint at each. Trials with equal rungs are compared with each
        other.

        Args:
            budget: The family's epoch budget.
            index: The trial's number within the family, from 0.
        """
        ...

    def judge(self, evidence: Evidence) -> Verdict | None:
        """End the trial after this epoch, or None to let it go on."""
        ...


@dataclass(frozen=True, kw_only=True)
class Exploit:
    """A paused trial is to go on from a copy of another one's state.

    Attributes:
        donor: The number of the other one, which has paused at the same epoch.
        traced: The traced values that change with it, by name.
    """

    donor: int
    traced: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """The fate of the paused trials of a family.

    Attributes:
        promoted: Numbers of those that go on, in the order to start them; the first one
            adopts nothing.
        stopped: Why each of the others ends, by number.
        exploited: Those among the promoted that adopt another one's state before.
    """

    promoted: tuple[int, ...] = ()
    stopped: Mapping[int, str] = field(default_factory=dict)
    exploited: Mapping[int, Exploit] = field(default_factory=dict)


@runtime_checkable
class PausingRule(StoppingRule, Protocol):
    """A stopping rule that lets trials wait for each other."""

    def settle(
        self,
        history: Sequence[Trial],
        budget: int,
        objective: Objective,
        space: Space,
    ) -> Settlement:
        """Settle what is paused, once no trial of the family is still on its way.

        Args:
            history: The family's trials in the order they were proposed; none that this
                rule has yet to judge is pending or running.
            budget: The family's epoch budget.
            objective: What trials are ranked by.
            space: The family's.

        Returns:
            A fate for every trial that is paused at the earliest epoch of those.
        """
        ...

    def affordable(self, total: int, budgets: Sequence[int]) -> int:
        """How many trials of all families together a number of epochs pays for, at least 1.

        Args:
            total: Epochs of all trials together.
            budgets: The epoch budget of each family; they have about equally many trials.
        """
        ...


@runtime_checkable
class ExploitingRule(PausingRule, Protocol):
    """A pausing rule by which trials adopt each other's states.

    Attributes:
        kept: Searched values that stay with an adopted state as they are.
    """

    @property
    def kept(self) -> tuple[str, ...]:
        """See above."""
        ...

    def check(self, space: Space, budget: int, trials: int) -> tuple[str, ...]:
        """Refuse a family whose trials cannot be such a population.

        Args:
            space: Of the family.
            budget: Its epoch budget.
            trials: How many trials it has.

        Returns:
            The names of the values that the rule changes, so that they must be traced; none
            where no trial of the family will ever adopt.

        Raises:
            StudyError: It cannot.
        """
        ...


def converges(rule: StoppingRule) -> bool:
    """Whether a rule may end a trial between its rungs that is ranked all the same.

    A rule says so by ``converges: ClassVar[bool] = False``; of one that says nothing it is
    assumed. Where none does, epochs between rungs may be trained ahead: what comes after an
    end is dropped, and no checkpoint of a ranked trial is ahead of its record.

    Args:
        rule: A rule.
    """
    return bool(getattr(rule, "converges", True))


def compares(rule: StoppingRule, study: Study, family: str) -> bool:
    """Whether a rule compares any of a family's trials with others: it has a rung for one.

    Args:
        rule: The rule.
        study: The study.
        family: The family.
    """
    budget, count = study.epochs_of(family), study.trials_of()[family]
    return any(rule.rungs(budget, index) for index in range(count))


def names() -> tuple[str, ...]:
    """Every stopping rule's name."""
    return names_in(rules)


def described() -> tuple[Described, ...]:
    """Every stopping rule with its options."""
    return tuple(
        describe(name, look_up("stopping rule", name, rules, "StoppingRule"))
        for name in names()
    )


def make(rule: Rule) -> StoppingRule:
    """The stopping rule that a study asks for.

    Raises:
        StudyError: The name or an option is unknown, or an option's value breaks a rule.
    """
    made: StoppingRule = build("stopping rule", rule, rules, "StoppingRule")
    return made
