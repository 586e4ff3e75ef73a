"""The state of a run by its ledger so far, indexed so that no event costs a scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from hpo.ledger.events import Event
from hpo.objectives import attained, standing
from hpo.stopping.rung_table import RungTable
from hpo.study import Objective
from hpo.trials.record import History, Trial, finite_key
from hpo.trials.reducer import advance, contradiction

_BYSTANDERS = frozenset(("run", "note", "rerun", "test_read", "evaluated"))


class RunState:
    """All trials of a run and the indices that decisions need; `apply` alone changes it.

    Args:
        objectives: What trials are ranked by; the first one chooses their best epochs.
        budgets: Epoch budget by family.
        rung_tables: The rungs of the stopping rules, by family.

    Attributes:
        elapsed: Active seconds of the run at its latest event.
        epochs: Epochs of all trials together.
        waiting: Trials to be started (again).
        running: Trials that run.
        paused: Trials that wait for others of their family.
        undecided: The trial whose latest epoch may still lack the decision that follows it,
            because nothing that could change that decision has happened since; or None.
    """

    def __init__(
        self,
        *,
        objectives: tuple[Objective, ...],
        budgets: Mapping[str, int],
        rung_tables: Mapping[str, RungTable],
    ) -> None:
        self.elapsed = 0.0
        self.epochs = 0
        self.waiting: set[int] = set()
        self.running: set[int] = set()
        self.paused: set[int] = set()
        self.undecided: int | None = None
        self._objective = objectives[0]
        self._objectives = objectives
        self._budgets = dict(budgets)
        self._trials: dict[int, Trial] = {}
        self._members: dict[str, list[int]] = {family: [] for family in budgets}
        self._rung_tables = dict(rung_tables)
        self._states: Counter[str] = Counter()
        self._best: dict[str, int] = {}

    @property
    def trials(self) -> Mapping[int, Trial]:
        """Every trial by number; a read-only view."""
        return MappingProxyType(self._trials)

    def members(self, family: str) -> History:
        """A family's trials in the order they were proposed."""
        return History(numbers=self._members[family], trials=self._trials)

    def counts(self) -> dict[str, int]:
        """How many trials are in each state that has any."""
        return {state: n for state, n in self._states.items() if n}

    def best(self, family: str | None = None) -> Trial | None:
        """The ranked trial with the best values (the earliest of equals), or None.

        Within the limits where any is; then by the first objective. None dominates it.
        """
        families = self._best if family is None else {family} & self._best.keys()
        found = (self._trials[self._best[f]] for f in families)
        return min(found, key=self._standing, default=None)

    def rung_table(self, family: str) -> RungTable:
        """Who of the family reached which rung of which rule."""
        return self._rung_tables[family]

    def fresh(self, proposed: Event) -> Trial:
        """The trial that a `proposed` event brings into being."""
        data = proposed.data
        assert proposed.trial is not None
        return Trial(
            number=proposed.trial,
            family=data["family"],
            index=data["number"],
            params=data["params"],
            seed=data["seed"],
            budget=self._budgets[data["family"]],
            origin=data.get("origin", ""),
        )

    def apply(self, event: Event) -> None:
        """Take note of the next event of the ledger.

        Raises:
            RunError: It cannot follow the events before it.
        """
        self.elapsed = max(self.elapsed, event.elapsed)
        if event.event in _BYSTANDERS:
            return
        if event.event == "proposed":
            self._propose(event)
            return
        before = self._trials.get(event.trial or 0)
        if before is None:
            raise contradiction(event, "that trial was never proposed")
        rule = event.data.get("rule")
        if event.event == "paused" and not self._may_pause(before, rule):
            raise contradiction(event, f"the rule `{rule}` pauses no trial there")
        known = len(before.epochs)
        after = advance(before, event, self._objective)
        self._trials[after.number] = after
        self._move(before.state, after)
        if len(after.epochs) > known:
            self.epochs += 1
            self._compare(after, event.data["epoch"])
            self.undecided = after.number
        elif event.event not in ("checkpoint", "nondeterminism") and (
            after.ended or after.state == "paused" or after.number != self.undecided
        ):
            self.undecided = None

    def _propose(self, event: Event) -> None:
        family = event.data["family"]
        if event.trial != len(self._trials) + 1:
            raise contradiction(event, f"trial {len(self._trials) + 1} would be next")
        if family not in self._members:
            raise contradiction(event, f"the study has no family `{family}`")
        if event.data["number"] != len(self._members[family]):
            raise contradiction(event, "trials of a family count up by one")
        trial = self.fresh(event)
        self._trials[trial.number] = trial
        self._members[family].append(trial.number)
        self._states[trial.state] += 1
        self.waiting.add(trial.number)
        self.undecided = None

    def _move(self, before: str, after: Trial) -> None:
        """Keep the indices by state."""
        if before == after.state:
            return
        self._states[before] -= 1
        self._states[after.state] += 1
        self.waiting.discard(after.number)
        self.running.discard(after.number)
        self.paused.discard(after.number)
        if after.state == "pending":
            self.waiting.add(after.number)
        elif after.state == "running":
            self.running.add(after.number)
        elif after.state == "paused":
            self.paused.add(after.number)
        elif after.ranked:
            best = self.best(after.family)
            if best is None or self._standing(after) < self._standing(best):
                self._best[after.family] = after.number

    def _may_pause(self, trial: Trial, rule: Any) -> bool:
        return self.rung_table(trial.family).may_pause(trial, rule)

    def _compare(self, trial: Trial, epoch: int) -> None:
        key = finite_key(trial.values[epoch], self._objective)
        self.rung_table(trial.family).note(trial, epoch, key)

    def _standing(self, trial: Trial) -> tuple[bool, tuple[float, ...], int]:
        values = attained(trial, self._objectives)
        return (*standing(values, self._objectives), trial.number)
