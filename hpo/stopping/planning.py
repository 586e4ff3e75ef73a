"""Rules that plan: what a free worker does next, a paused trial or a new one.

A rule that plans lets every trial pause at its rungs, and is asked whenever a worker is free. Its
answer is a pure function of the `Outlook`, which follows from the ledger; it keeps no state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from hpo.errors import StudyError
from hpo.stopping.registry import StoppingRule
from hpo.stopping.rung import Rung, rung_key
from hpo.study import Budget, Objective
from hpo.trials.record import Trial


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Where a run stood when it got the budget that it has now: at nothing, or extended.

    Attributes:
        epochs: Epochs of all trials by then.
        elapsed: Active seconds by then.
        trials: How many trials there were.
        reached: How many of them had reached each rung of the rule, by family and epoch.
    """

    epochs: int = 0
    elapsed: float = 0.0
    trials: int = 0
    reached: Mapping[str, Mapping[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Everything that the choice for a free worker may depend on.

    Attributes:
        families: The trials of each family, in the order they were proposed.
        trials: Every trial by number.
        paused: Numbers of the trials that wait.
        active: Numbers of the trials that run or are to be started again.
        rungs: Those who reached each rung of the rule, by family and epoch, ascending.
        epochs: The epoch budget of each family.
        quota: How many trials each family will have, as far as is known.
        budget: The run's.
        spent: Epochs of all trials so far.
        elapsed: Active seconds of the run.
        workers: How many trials run at a time.
        objective: What trials are ranked by.
        beginning: Where the run stood when it got this budget.
    """

    families: Mapping[str, Sequence[Trial]]
    trials: Mapping[int, Trial]
    paused: Set[int]
    active: Set[int]
    rungs: Mapping[str, Mapping[int, Rung]]
    epochs: Mapping[str, int]
    quota: Mapping[str, int]
    budget: Budget
    spent: int
    elapsed: float
    workers: int
    objective: Objective
    beginning: Beginning = Beginning()

    @property
    def drawable(self) -> bool:
        """Whether a new trial can be proposed."""
        return any(self.may_draw(family) for family in self.families)

    def may_draw(self, family: str) -> bool:
        """Whether the family has not had all of its trials."""
        return len(self.families[family]) < self.quota[family]

    def waiting(self) -> Iterator[Trial]:
        """The paused trials, in the order of their numbers."""
        return (self.trials[number] for number in sorted(self.paused))

    def standing(self, trial: Trial) -> tuple[int, int]:
        """How many of its family reached the rung where a trial waits, and how many beat it."""
        key = rung_key(trial, trial.last, self.objective)
        return self.rungs[trial.family][trial.last].standing(trial.number, key)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The next step of a free worker: a paused trial, a new one, or neither.

    Attributes:
        promoted: The number of the paused trial that goes on.
        draw: Whether a new trial is begun instead.
        stopped: Why paused trials end now, by number.
    """

    promoted: int | None = None
    draw: bool = False
    stopped: Mapping[int, str] = field(default_factory=dict)


@runtime_checkable
class PlanningRule(StoppingRule, Protocol):
    """A stopping rule that says what comes next."""

    @property
    def sized(self) -> bool:
        """Whether its choices depend on the run's budget, not on the trials so far alone."""
        ...

    def check(self, epochs: Mapping[str, int], budget: Budget) -> None:
        """Refuse a run that it cannot plan.

        Args:
            epochs: The epoch budget of each family.
            budget: The run's.

        Raises:
            StudyError: The budget or an option rules out that any trial is finished.
        """
        ...

    def choose(self, outlook: Outlook) -> Choice:
        """The next step of a free worker.

        With neither a promoted trial nor a draw the worker waits for those that run; when
        none does, the run is over, so that then every paused trial must be stopped.
        """
        ...


def finishes_one(name: str, epochs: Mapping[str, int], budget: Budget) -> None:
    """Refuse a limit on the epochs of all trials that not even a single trial keeps to.

    Args:
        name: The rule's name.
        epochs: The epoch budget of each family.
        budget: The run's.

    Raises:
        StudyError: It is such a limit.
    """
    family, longest = max(epochs.items(), key=lambda item: item[1])
    total = budget.total_epochs
    if total is not None and total < longest:
        raise StudyError(
            f"`{name}` divides the run's budget, and {total} epochs of all trials together "
            f"are less than one trial of `{family}` takes ({longest})",
            hint=f"raise `budget.total_epochs` to {longest} or more, or lower `--epochs`",
        )


def place(outlook: Outlook, trial: Trial) -> str:
    """Where a paused trial stands, in words.

    Args:
        outlook: The outlook.
        trial: A trial that waits at a rung.
    """
    reached, better = outlook.standing(trial)
    return f"rank {better + 1} of {reached} at epoch {trial.last}"
