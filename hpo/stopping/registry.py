"""Stopping rules by name: a file in `hpo.stopping.rules` with a class `StoppingRule` is one.

A rule is a pure function of its options and the `Evidence`; it keeps no state of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hpo.options import Described, build, describe, look_up, names_in
from hpo.stopping import rules
from hpo.stopping.rung import Rung
from hpo.study import Objective, Rule
from hpo.trials.record import Trial
from hpo.trials.states import State
from models.training.protocol import Epoch


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
class Settlement:
    """The fate of the paused trials of a family.

    Attributes:
        promoted: Numbers of those that go on, in the order to start them.
        stopped: Why each of the others ends, by number.
    """

    promoted: tuple[int, ...] = ()
    stopped: Mapping[int, str]


@runtime_checkable
class PausingRule(StoppingRule, Protocol):
    """A stopping rule that lets trials wait for each other."""

    def settle(
        self, history: Sequence[Trial], budget: int, objective: Objective
    ) -> Settlement:
        """Settle what is paused, once no trial of the family is still on its way.

        Args:
            history: The family's trials in the order they were proposed; none that this
                rule has yet to judge is pending or running.
            budget: The family's epoch budget.
            objective: What trials are ranked by.

        Returns:
            A fate for every paused trial.
        """
        ...

    def affordable(self, total: int, budget: int) -> int:
        """How many trials of one family a number of epochs pays for, at least 1.

        Args:
            total: Epochs of all trials together.
            budget: The family's epoch budget.
        """
        ...


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
