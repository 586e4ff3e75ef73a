"""Verdicts of the stopping rules on trials; a pure function of study and run state."""

from __future__ import annotations

import math
from dataclasses import replace

from hpo.director.state import RunState
from hpo.stopping import registry
from hpo.stopping.registry import Evidence, PausingRule, Settlement, Verdict
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
        objective, number = self._study.objectives[0], epoch.number
        values = trial.values
        if trial.last >= number:
            values = {e: v for e, v in values.items() if e < number}
        finite = [v for v in values.values() if math.isfinite(v)]
        values[number] = objective_value(epoch, objective)
        rung_table = state.rung_table(trial.family)
        evidence = Evidence(
            trial=trial.number,
            budget=trial.budget,
            epoch=epoch,
            values=values,
            best=min(finite, key=objective.rank_key, default=None),
            rung=None,
            history=state.members(trial.family),
            objective=objective,
        )
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

    def settle(self, state: RunState) -> list[tuple[str, Settlement]]:
        """The fate of the paused trials of each family that is ready, and by which rule.

        A family is ready when none of its trials is still on its way to the pause. That no
        more trials are proposed must be so already.

        Args:
            state: What the run amounts to so far.
        """
        objective = self._study.objectives[0]
        paused = {state.trials[number].family for number in state.paused}
        found = []
        for family in (f.name for f in self._study.families if f.name in paused):
            history = state.members(family)
            first = next(t for t in history if t.state is State.PAUSED)
            active = [t for t in history if t.state in (State.PENDING, State.RUNNING)]
            if any(t.last < first.last for t in active):
                continue
            rule = next(r for n, r in self._rules if n == first.rule)
            assert isinstance(rule, PausingRule), "only such a rule pauses"
            found.append((first.rule, rule.settle(history, first.budget, objective)))
        return found


def _urgency(verdict: tuple[str, Verdict]) -> tuple[bool, bool]:
    """A divergence comes first, a pause last."""
    state = verdict[1].state
    return state != State.DIVERGED, state == State.PAUSED
