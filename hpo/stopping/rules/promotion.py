"""Asynchronous successive halving as published: trials pause at a rung, the best go on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hpo.errors import StudyError
from hpo.options import at_least
from hpo.stopping.halving import geometric
from hpo.stopping.planning import Choice, Outlook, finishes_one, place
from hpo.stopping.registry import Evidence, Verdict
from hpo.study import Budget
from hpo.trials.record import Trial
from hpo.trials.states import State


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """Every trial pauses at each rung; it goes on while it is among the best 1/eta there.

    A free worker takes the best such trial of the highest rung, or a new draw. Rungs lie at
    ``grace * eta**k`` epochs below the budget, and a trial is compared with those of its
    family, however late they come: one that waits may be promoted when others have done
    worse. (Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020,
    algorithm 2.)

    When no draw is left and nobody of the family can come to a rung any more, it is closed:
    at least one goes on, and those that can never be promoted are stopped. A run with a
    budget of epochs or seconds has use for them: there the best that waits goes on.

    Attributes:
        eta: One in how many goes on.
        grace: The first rung in epochs.
    """

    converges: ClassVar[bool] = False

    eta: int = 3
    grace: int = 1

    def __post_init__(self) -> None:
        """Refuse options that would halve nothing."""
        at_least("promotion: eta", self.eta, 2, whole=True)
        at_least("promotion: grace", self.grace, 1, whole=True)

    @property
    def sized(self) -> bool:
        """It goes by who came so far."""
        return False

    def rungs(self, budget: int, index: int) -> tuple[int, ...]:
        """``grace * eta**k`` for all k while below the budget."""
        return geometric(self.grace, eta=self.eta, budget=budget)

    def judge(self, evidence: Evidence) -> Verdict | None:
        """Pause at every rung; a value that is not finite ends its trial there."""
        if evidence.rung is None:
            return None
        if not math.isfinite(evidence.value):
            metric = evidence.objective.metric
            return Verdict(State.STOPPED, f"{metric} is {evidence.value}")
        reason = f"waits to be among the best 1/{self.eta} at epoch "
        return Verdict(State.PAUSED, f"{reason}{evidence.epoch.number}")

    def check(self, epochs: Mapping[str, int], budget: Budget) -> None:
        """Refuse a budget in which no trial can be finished, and a rung beyond all of them."""
        finishes_one("promotion", epochs, budget)
        longest = max(epochs.values())
        if 1 < longest <= self.grace:
            raise StudyError(
                f"promotion: the first rung, at epoch {self.grace}, is not below the epoch "
                f"budget of any family (at most {longest}), so nobody would pause",
                hint=f"choose a `grace` below {longest}, or raise `--epochs`",
            )

    def choose(self, outlook: Outlook) -> Choice:
        """The best of the highest rung where one may go on, or a draw, or an end."""
        waiting = list(outlook.waiting())
        may, never = self._divided(waiting, outlook)
        limited = outlook.budget.total_epochs or outlook.budget.seconds
        stopped = {} if limited else {t.number: place(outlook, t) for t in never}
        if may:
            best = _foremost(may, outlook)
            return Choice(promoted=best.number, stopped=stopped)
        if outlook.drawable:
            return Choice(draw=True, stopped=stopped)
        if limited and waiting:
            return Choice(promoted=_foremost(waiting, outlook).number)
        return Choice(stopped=stopped)

    def _divided(
        self, waiting: Sequence[Trial], outlook: Outlook
    ) -> tuple[list[Trial], list[Trial]]:
        """Those that may go on, and those that never will: their rung is closed.

        A rung is closed when no draw is left and nobody below it can come to it. Whoever
        will never go on can not, so each rung is looked at after those below it.
        """
        may: list[Trial] = []
        never: list[Trial] = []
        for family, rungs in outlook.rungs.items():
            coming = outlook.may_draw(family)
            active = [outlook.trials[n] for n in outlook.active]
            for rung in rungs:
                coming |= any(t.family == family and t.last < rung for t in active)
                here = [t for t in waiting if t.family == family and t.last == rung]
                on = [t for t in here if self._goes_on(t, outlook, closed=not coming)]
                may += on
                if not coming:
                    never += [t for t in here if t not in on]
                coming |= bool(on)
        return may, sorted(never, key=lambda t: t.number)

    def _goes_on(self, trial: Trial, outlook: Outlook, *, closed: bool) -> bool:
        reached, better = outlook.standing(trial)
        return better < max(int(closed), reached // self.eta)


def _foremost(trials: Sequence[Trial], outlook: Outlook) -> Trial:
    """The one at the highest rung for its budget, of those the best in its family."""

    def key(trial: Trial) -> tuple[float, float, int]:
        reached, better = outlook.standing(trial)
        return -trial.last / trial.budget, better / reached, trial.number

    return min(trials, key=key)
