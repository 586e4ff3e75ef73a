"""The state of a run by its ledger so far, indexed so that no event costs a scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from hpo.ledger.events import (
    CheckpointEvent,
    EpochEvent,
    Evaluated,
    Event,
    Extended,
    Interrupted,
    Nondeterminism,
    Paused,
    Proposed,
    TrialEvent,
)
from hpo.objectives import attained, merit
from hpo.stopping.rung import rung_key
from hpo.stopping.rung_table import RungTable
from hpo.study import Study
from hpo.trials.record import History, Trial
from hpo.trials.reducer import Reducer, contradiction
from hpo.trials.spaces import Spaces
from hpo.trials.states import State

# These change no decision; an interruption of another trial comes before one that a driver left
# behind when it died, and another driver may die between the two.
_BESIDE = (CheckpointEvent, Nondeterminism, Evaluated, Interrupted)


class RunState:
    """All trials of a run and the indices that decisions need; `apply` alone changes it.

    Args:
        study: The study of the run.
        rung_tables: The rungs of the stopping rules, by family.

    Attributes:
        epochs: Epochs of all trials together.
        extensions: How often the run was extended.
        begun: Epochs, seconds and trials at the latest extension.
        reached: How many trials had reached each rung by then, by family, rule and epoch.
        waiting: Trials to be started (again).
        running: Trials that run.
        paused: Trials that wait for others of their family.
        undecided: The trial whose latest epoch may still lack the decision that follows it,
            because nothing that could change that decision has happened since; or None.
    """

    def __init__(self, study: Study, *, rung_tables: Mapping[str, RungTable]) -> None:
        self.epochs = 0
        self.extensions = 0
        self.begun: tuple[int, float, int] = (0, 0.0, 0)
        self.reached: dict[str, dict[int, dict[int, int]]] = {}
        self.waiting: set[int] = set()
        self.running: set[int] = set()
        self.paused: set[int] = set()
        self.undecided: int | None = None
        self._study = study
        self._spaces: Spaces | None = None
        self._objectives = study.objectives
        self._reducer = Reducer.of(study, whole=True)
        self._trials = self._reducer.record.trials
        self._rung_tables = dict(rung_tables)
        self._states: Counter[str] = Counter()
        self._best: dict[str, int] = {}

    @property
    def elapsed(self) -> float:
        """Active seconds of the run at its latest event."""
        return self._reducer.record.elapsed

    @property
    def spaces(self) -> Spaces:
        """The spaces that trials were proposed in; read anew where an extension brought one."""
        if self._spaces is None:
            self._spaces = Spaces(self._study, self._reducer.record.before)
        return self._spaces

    @property
    def trials(self) -> Mapping[int, Trial]:
        """Every trial by number; a read-only view."""
        return MappingProxyType(self._trials)

    def members(self, family: str) -> History:
        """A family's trials in the order they were proposed."""
        return History(numbers=self._reducer.members[family], trials=self._trials)

    def counts(self) -> dict[str, int]:
        """How many trials are in each state that has any."""
        return {state: n for state, n in self._states.items() if n}

    def best(self, family: str | None = None) -> Trial | None:
        """The ranked trial with the best values (the earliest of equals), or None.

        Within the limits where any is; then by the first objective. None dominates it.
        """
        families = self._best if family is None else {family} & self._best.keys()
        found = (self._trials[self._best[f]] for f in families)
        return min(found, key=self._merit, default=None)

    def rung_table(self, family: str) -> RungTable:
        """Who of the family reached which rung of which rule."""
        return self._rung_tables[family]

    def fresh(self, proposed: Proposed) -> Trial:
        """The record that a proposal will bring into being; it is not taken in yet."""
        return self._reducer.fresh(proposed)

    def apply(self, event: Event) -> None:
        """Take note of the next event of the ledger.

        Raises:
            RunError: It cannot follow the events before it.
        """
        before = self._trials.get(event.trial or 0)
        state = None if before is None else before.state
        known = 0 if before is None else len(before.curve)
        if isinstance(event, Paused) and before is not None:
            self._refuse_pause(before, event)
        after = self._reducer.apply(event)
        if isinstance(event, Extended):
            self._extend()
        if after is None or not isinstance(event, TrialEvent):
            return
        if after.state is not state:
            self._move(state, after)
        if isinstance(event, EpochEvent):
            if len(after.curve) > known:
                self.epochs += 1
                self._compare(after, event.epoch)
                self.undecided = after.number
        elif not isinstance(event, _BESIDE) and (
            after.ended or after.state is State.PAUSED or after.number != self.undecided
        ):
            self.undecided = None

    def _extend(self) -> None:
        """Note where the run stands as it gets a new budget."""
        self.extensions += 1
        self._spaces = None
        self.begun = (self.epochs, self.elapsed, len(self._trials))
        self.reached = {f: table.counts() for f, table in self._rung_tables.items()}

    def _move(self, before: State | None, after: Trial) -> None:
        """Keep the indices by state."""
        if before is not None:
            self._states[before] -= 1
        self._states[after.state] += 1
        for state, members in (
            (State.PENDING, self.waiting),
            (State.RUNNING, self.running),
            (State.PAUSED, self.paused),
        ):
            if after.state is state:
                members.add(after.number)
            else:
                members.discard(after.number)
        if after.ranked:
            best = self.best(after.family)
            if best is None or self._merit(after) < self._merit(best):
                self._best[after.family] = after.number

    def _refuse_pause(self, trial: Trial, event: Paused) -> None:
        rung_table = self.rung_table(trial.family)
        if not rung_table.may_pause(trial, event.epoch, event.rule or ""):
            raise contradiction(event, f"the rule `{event.rule}` pauses no trial there")

    def _compare(self, trial: Trial, epoch: int) -> None:
        self.rung_table(trial.family).note(
            trial, epoch, rung_key(trial, epoch, self._objectives[0])
        )

    def _merit(self, trial: Trial) -> tuple[bool, tuple[float, ...], int]:
        values = attained(trial, self._objectives)
        return (*merit(values, self._objectives), trial.number)
