"""Who reached which rung of which rule, in one family."""

from __future__ import annotations

from collections.abc import Sequence

from hpo.stopping.planning import PlanningRule
from hpo.stopping.registry import PausingRule, StoppingRule
from hpo.stopping.rung import Rung
from hpo.trials.record import Trial

_Plan = tuple[tuple[int, ...], ...]  # the rungs of each rule


class RungTable:
    """The rungs of every rule for one family; trials with equal rungs share them.

    Args:
        rules: The study's stopping rules and their names, in order.
        budget: The family's epoch budget.
    """

    def __init__(
        self, rules: Sequence[tuple[str, StoppingRule]], *, budget: int
    ) -> None:
        self._names = tuple(name for name, _ in rules)
        self._rules = tuple(rule for _, rule in rules)
        self._pause = tuple(  # asked once: it is slow of a protocol
            isinstance(rule, (PausingRule, PlanningRule)) for rule in self._rules
        )
        self._budget = budget
        self._plans: dict[int, _Plan] = {}
        self._different: dict[_Plan, _Plan] = {}
        self._rungs: dict[tuple[int, tuple[int, ...], int], Rung] = {}

    def rungs(self, index: int) -> tuple[int, ...]:
        """Epochs at which any rule compares the family's trial of this index."""
        return tuple(sorted({epoch for plan in self._plan(index) for epoch in plan}))

    def may_pause(self, trial: Trial, epoch: int, name: str) -> bool:
        """Whether the rule of that name may pause a trial after an epoch that it reached."""
        plans = zip(self._names, self._pause, self._plan(trial.index), strict=True)
        return trial.curve.value_at(epoch) is not None and any(
            name == known and pauses and epoch in plan for known, pauses, plan in plans
        )

    def note(self, trial: Trial, epoch: int, key: float) -> None:
        """A trial reached an epoch.

        Args:
            trial: The trial.
            epoch: The epoch.
            key: Its objective there as a number that sorts best first; no NaN.
        """
        for position in range(len(self._rules)):
            rung = self.rung(position, trial, epoch)
            if rung is not None:
                rung.add(trial.number, key)

    def rung(self, position: int, trial: Trial, epoch: int) -> Rung | None:
        """Those a rule compares a trial with at an epoch; None where it compares nothing.

        Args:
            position: Which of the rules.
            trial: The trial.
            epoch: The epoch.
        """
        plan = self._plan(trial.index)[position]
        if epoch not in plan:
            return None
        return self._rungs.setdefault((position, plan, epoch), Rung())

    def reached(self, position: int) -> dict[int, Rung]:
        """Those who reached each rung of a rule that has the same ones for every trial."""
        plan = self._plan(0)[position]
        return {
            epoch: self._rungs.setdefault((position, plan, epoch), Rung())
            for epoch in plan
        }

    def counts(self) -> dict[int, dict[int, int]]:
        """How many trials reached each rung by now, by rule and epoch."""
        places = range(len(self._rules))
        return {p: {e: r.count for e, r in self.reached(p).items()} for p in places}

    def _plan(self, index: int) -> _Plan:
        """The rungs of each rule for one trial; equal ones are one object."""
        if index not in self._plans:
            plan = tuple(rule.rungs(self._budget, index) for rule in self._rules)
            self._plans[index] = self._different.setdefault(plan, plan)
        return self._plans[index]
