"""Verdicts of the stopping rules on trials; a pure function of study and run state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hpo.director.state import RunState
from hpo.errors import StudyError
from hpo.stopping import registry
from hpo.stopping.planning import Beginning, Choice, Outlook, PlanningRule
from hpo.stopping.population import changed_keys
from hpo.stopping.registry import (
    Evidence,
    PausingRule,
    Settlement,
    StoppingRule,
    Verdict,
)
from hpo.stopping.rung_table import RungTable
from hpo.study import Study
from hpo.trials.record import Trial, objective_value
from hpo.trials.states import State
from models.training.protocol import Epoch


class Judge:
    """Puts the evidence before every rule and weighs the verdicts.

    Args:
        study: What is searched.

    Raises:
        StudyError: A rule or one of its options is unknown or breaks a rule.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._rules = [(rule.name, registry.make(rule)) for rule in study.stopping]
        changed_keys(study)  # what it refuses cannot be directed
        self._planning = _planning([rule for _, rule in self._rules], study)
        self._planner: PlanningRule | None = None
        if self._planning is not None:
            planner = self._rules[self._planning][1]
            assert isinstance(planner, PlanningRule)  # slow of a protocol: asked once
            self._planner = planner

    def rung_tables(self) -> dict[str, RungTable]:
        """An empty rung table for each family."""
        return {
            family.name: RungTable(
                self._rules, budget=self._study.epochs_of(family.name)
            )
            for family in self._study.families
        }

    def verdict(
        self, trial: Trial, epoch: Epoch, state: RunState
    ) -> tuple[str, Verdict] | None:
        """The first verdict and its rule: a divergence before all others, a pause last.

        At the budget nothing but a divergence counts.

        Args:
            trial: The trial that reports.
            epoch: Its last epoch, whether it is applied already or not.
            state: What the run amounts to so far.
        """
        number = epoch.number
        rung_table = state.rung_table(trial.family)
        evidence = self._evidence(trial, (epoch,), state)
        verdicts = []
        for position, (name, rule) in enumerate(self._rules):
            rung = rung_table.rung(position, trial, number)
            found = rule.judge(replace(evidence, rung=rung) if rung else evidence)
            if found is not None:
                verdicts.append((name, found))
        verdicts.sort(key=_urgency)
        if not verdicts:
            return None
        final = number >= trial.budget and verdicts[0][1].state != State.DIVERGED
        return None if final else verdicts[0]

    def foresees(self, trial: Trial, ahead: Sequence[Epoch], state: RunState) -> bool:
        """Whether a rule is about to end a trial by its own curve, between two rungs.

        Args:
            trial: The trial.
            ahead: Its epochs that are not applied yet, in order; the last one is at no rung.
            state: What the run amounts to so far.
        """
        evidence = self._evidence(trial, ahead, state)
        return any(rule.judge(evidence) is not None for _, rule in self._rules)

    def _evidence(
        self, trial: Trial, reported: Sequence[Epoch], state: RunState
    ) -> Evidence:
        """What is to be judged of a trial's last epoch, at no rung.

        Args:
            trial: The trial.
            reported: Epochs in order; all before the first of them are applied.
            state: What the run amounts to so far.
        """
        objective = self._study.objectives[0]
        first, last = reported[0].number, reported[-1]
        values = trial.values
        if trial.last >= first:
            values = {e: v for e, v in values.items() if e < first}
        values |= {e.number: objective_value(e, objective) for e in reported}
        finite = (v for e, v in values.items() if e != last.number and math.isfinite(v))
        return Evidence(
            trial=trial.number,
            budget=trial.budget,
            epoch=last,
            values=values,
            best=min(finite, key=objective.rank_key, default=None),
            rung=None,
            history=state.members(trial.family),
            objective=objective,
        )

    @property
    def plans(self) -> bool:
        """Whether a rule says what comes next."""
        return self._planning is not None

    @property
    def planner(self) -> str:
        """The name of that rule."""
        assert self._planning is not None
        return self._rules[self._planning][0]

    @property
    def draws_first(self) -> str:
        """The name of that rule if it begins a run's trials before it ends any."""
        first = self._planner is not None and self._planner.sized
        return self.planner if first else ""

    def choose(self, outlook: Outlook) -> Choice:
        """The next step of a free worker, by the rule that plans."""
        assert self._planner is not None
        return self._planner.choose(outlook)

    def outlook(
        self,
        state: RunState,
        quota: Mapping[str, int],
        *,
        workers: int,
        elapsed: float,
    ) -> Outlook:
        """Everything that the rule that plans may look at.

        Args:
            state: What the run amounts to so far.
            quota: How many trials each family will have.
            workers: How many trials run at a time.
            elapsed: Active seconds of the run.
        """
        study, position = self._study, self._planning
        assert position is not None
        names = [f.name for f in study.families]
        epochs, seconds, trials = state.begun
        beginning = Beginning(
            epochs=epochs,
            elapsed=seconds,
            trials=trials,
            reached={f: counts[position] for f, counts in state.reached.items()},
        )
        return Outlook(
            families={name: state.members(name) for name in names},
            trials=state.trials,
            paused=state.paused,
            active=state.running | state.waiting,
            rungs={name: state.rung_table(name).reached(position) for name in names},
            epochs={name: study.epochs_of(name) for name in names},
            quota=quota,
            budget=study.budget,
            spent=state.epochs,
            elapsed=elapsed,
            workers=workers,
            objective=study.objectives[0],
            beginning=beginning,
        )

    def settle(self, state: RunState) -> list[tuple[str, Settlement]]:
        """The fate of the paused trials of each family that is ready, and by which rule.

        A family is ready when none of its trials is still on its way to the earliest epoch
        at which one waits. That no more trials are proposed must be so already.

        Args:
            state: What the run amounts to so far.
        """
        objective = self._study.objectives[0]
        paused = {state.trials[number].family for number in state.paused}
        found = []
        for family in (f for f in self._study.families if f.name in paused):
            history = state.members(family.name)
            waiting = [t for t in history if t.state is State.PAUSED]
            first = min(waiting, key=lambda t: (t.last, t.index))
            active = [t for t in history if t.state in (State.PENDING, State.RUNNING)]
            if any(t.last < first.last for t in active):
                continue
            rule = next(r for n, r in self._rules if n == first.rule)
            assert isinstance(rule, PausingRule), "only such a rule pauses"
            fates = rule.settle(history, first.budget, objective, family.space)
            found.append((first.rule, fates))
        return found


def _planning(rules: Sequence[StoppingRule], study: Study) -> int | None:
    """The place of the rule that plans, if one does.

    Raises:
        StudyError: Several rules would say which paused trials go on, or the one that plans
            cannot plan this study.
    """
    kinds = (PlanningRule, PausingRule)
    deciding = [i for i, rule in enumerate(rules) if isinstance(rule, kinds)]
    if len(deciding) > 1:
        names = " and ".join(study.stopping[i].name for i in deciding)
        raise StudyError(
            f"only one rule can say which paused trials go on, got {names}",
            hint="leave all but one of them out of `stopping`",
        )
    planner = rules[deciding[0]] if deciding else None
    if not isinstance(planner, PlanningRule):
        return None
    planner.check(
        {f.name: study.epochs_of(f.name) for f in study.families}, study.budget
    )
    return deciding[0]


def _urgency(verdict: tuple[str, Verdict]) -> tuple[bool, bool]:
    """A divergence comes first, a pause last."""
    state = verdict[1].state
    return state != State.DIVERGED, state == State.PAUSED
