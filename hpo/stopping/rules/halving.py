"""Halving by the clock: sized to the run's budget, and nobody ever waits for others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hpo.errors import StudyError
from hpo.options import at_least
from hpo.stopping.planning import Choice, Outlook, finishes_one, place
from hpo.stopping.purse import Purse
from hpo.stopping.registry import Evidence, Verdict
from hpo.study import Budget
from hpo.trials.record import Trial
from hpo.trials.states import State


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """Trials pause at rungs; how much of the budget is spent says which of them go on.

    Rungs lie at 1/eta, 1/eta**2, … of the epoch budget, and at epoch 1. The budget (epochs,
    seconds, or what so many trials call for) is divided into stages: new draws up to the
    first rung; the best of rung k to the next one, ranked within their family; and at the
    end, with a share `last` of the budget but no more than `finishers` take, the best of all
    to their last epoch. Every stage before the end can at least take on the best trial of
    each family: so the end compares families by more than their first epochs. A worker that
    finds nothing to do in the stage of the moment takes what comes before it, then what
    comes after it.

    Trials that cannot be finished with what is left of the budget are stopped.

    Attributes:
        eta: The ratio of two rungs; of those that wait about one in so many goes on.
        finishers: How many trials the last stage is sized for, at most.
        last: The share of the budget that the last stage takes, unless `finishers` take less.
    """

    converges: ClassVar[bool] = False

    eta: int = 4
    finishers: int = 8
    last: float = 0.6

    def __post_init__(self) -> None:
        """Refuse options that would halve nothing."""
        at_least("halving: eta", self.eta, 2, whole=True)
        at_least("halving: finishers", self.finishers, 1, whole=True)
        at_least("halving: last", self.last, 0.0)
        if not 0 < self.last < 1:
            raise StudyError(
                "halving: last must be a share of the budget above 0 and below 1, got "
                f"{self.last!r}",
                hint="0.6 leaves two fifths to the stages before the last one",
            )

    @property
    def sized(self) -> bool:
        """It divides the run's budget."""
        return True

    def rungs(self, budget: int, index: int) -> tuple[int, ...]:
        """The first epoch, and the parts 1/eta**k of the budget, rounded."""
        found, part = {1}, budget / self.eta
        while part >= 1:
            found.add(round(part))
            part /= self.eta
        return tuple(sorted(e for e in found if e < budget))

    def judge(self, evidence: Evidence) -> Verdict | None:
        """Pause at every rung; a value that is not finite ends its trial there."""
        if evidence.rung is None:
            return None
        if not math.isfinite(evidence.value):
            metric = evidence.objective.metric
            return Verdict(State.STOPPED, f"{metric} is {evidence.value}")
        return Verdict(State.PAUSED, "waits for its turn")

    def check(self, epochs: Mapping[str, int], budget: Budget) -> None:
        """Refuse a budget in which no trial can be finished."""
        finishes_one("halving", epochs, budget)

    def choose(self, outlook: Outlook) -> Choice:
        """What the stage of the moment asks for, or what comes nearest to it."""
        plan = _Plan(self, outlook)
        return plan.last_stage() if plan.stage is None else plan.early(plan.stage)


class _Plan:
    """The stages of a run and where it stands, made anew for every choice.

    Args:
        rule: The rule.
        outlook: What is known.

    Attributes:
        stage: Which rung is being filled, from 0; None in the last stage.
    """

    def __init__(self, rule: StoppingRule, outlook: Outlook) -> None:
        self._outlook = outlook
        self._eta = rule.eta
        self._longest = max(outlook.epochs.values())
        ladder = (0, *rule.rungs(self._longest, 0), self._longest)
        self._widths = [b - a for a, b in zip(ladder, ladder[1:], strict=False)]
        *early, self._rest = self._widths
        self._rivals = sum(1 for family in outlook.rungs if self._takes(family))
        self._weights = [w / rule.eta**k for k, w in enumerate(early)]
        self._purse = Purse.of(outlook, otherwise=self._called_for(rule.finishers))
        price = self._purse.epoch
        rest = self._rest * price
        ends = int(self._purse.total * rule.last / rest) if rest else rule.finishers
        last = max(1, min(ends, rule.finishers)) * rest
        self._early = self._purse.total - last
        self._places = {t.number: self._place(t) for t in outlook.waiting()}
        self.stage = self._stage(price)

    def _called_for(self, finishers: int) -> float:
        """Epochs for a run that has a number of trials and no other limit.

        Enough for stages in their proportions in which every trial is drawn; where that is
        little, as much as `asha` would spend on them (about 1.4 full runs by the root of
        their number).
        """
        outlook = self._outlook
        count = max(1, sum(outlook.quota.values()) - outlook.beginning.trials)
        usual: float = 1.4 * math.sqrt(count) * self._longest
        if not self._weights:
            return usual
        firsts = {
            f: min(outlook.rungs[f], default=outlook.epochs[f]) for f in outlook.quota
        }
        each = sum(n * firsts[f] for f, n in outlook.quota.items())
        first = each * count / max(1, sum(outlook.quota.values()))
        each_best = self._rivals * self._widths[0]
        early: float = self._rivals * sum(self._widths[:-1])
        early += max(0, first - each_best) * sum(self._weights) / self._weights[0]
        last: float = max(self._rest, min(early, finishers * self._rest))
        return max(usual, early + last)

    def _takes(self, family: str) -> bool:
        """Whether trials of a family come to rungs."""
        outlook = self._outlook
        return outlook.quota[family] > 0 and bool(outlook.rungs[family])

    def _place(self, trial: Trial) -> int:
        """At which rung of its family a trial waits, from 0."""
        return [*self._outlook.rungs[trial.family]].index(trial.last)

    def _stage(self, price: float) -> int | None:
        """The first stage that has not had its share; a dry one leaves it to the others."""
        left, start, dry = self._early, 0.0, True
        for k in range(len(self._weights)):
            share = self._share(k, left, price)
            dry = dry and not self._candidates(k)
            if dry:
                share = min(left, self._had(k) * price)
            elif self._purse.spent < start + share:
                return k
            start, left = start + share, left - share
        return None

    def _share(self, stage: int, left: float, price: float) -> float:
        """A stage's part of what is left for it and the stages after it.

        First the best trial of each family is brought through all of them, as far as that
        goes; what then remains is divided by the weights.
        """
        widths, weights = self._widths[stage:-1], self._weights[stage:]
        each = min(self._rivals * price, left / sum(widths))
        rest = left - each * sum(widths)
        share: float = each * widths[0] + rest * weights[0] / sum(weights)
        return share

    def _candidates(self, stage: int) -> bool:
        if stage == 0:
            return self._outlook.drawable
        return any(place == stage - 1 for place in self._places.values())

    def _had(self, stage: int) -> float:
        """Epochs that were trained to fill a rung."""
        reached = 0
        for family, rungs in self._outlook.rungs.items():
            before = self._outlook.beginning.reached.get(family, {})
            for epoch in [*rungs][stage : stage + 1]:
                reached += rungs[epoch].count - before.get(epoch, 0)
        return reached * self._widths[stage]

    def early(self, stage: int) -> Choice:
        """The best trial for a stage, one from before it, a draw, or one from after it."""
        before = range(stage - 1, -1, -1)
        after = range(stage, len(self._weights))
        order: Sequence[int] = [*before, -1, *after]
        for place_ in order:
            if place_ < 0:
                if self._outlook.drawable and self._affords(None):
                    return Choice(draw=True)
                continue
            found = [n for n, p in self._places.items() if p == place_]
            if found:
                best = self._outlook.trials[min(found, key=self._rank)]
                if self._affords(best):
                    return Choice(promoted=best.number)
        return self.last_stage()

    def _rank(self, number: int) -> tuple[float, int]:
        reached, better = self._outlook.standing(self._outlook.trials[number])
        return better / reached, number

    def _affords(self, trial: Trial | None) -> bool:
        """Whether the best trial can still be finished after one more step of another.

        In seconds by this very worker: all others may be busy until the end.
        """
        purse = self._purse
        if purse.seconds and purse.price == 0:
            return True
        step = purse.cost(trial, self._step(trial))
        ends = [
            purse.cost(t, t.budget - t.last)
            for t in self._outlook.waiting()
            if trial is None or t.number != trial.number
        ]
        if trial is not None:
            ends.append(purse.cost(trial, trial.budget - trial.last) - step)
        reserve = min(ends, default=purse.cost(None, self._longest) - step)
        if step + reserve > purse.within:
            return False  # afterwards this worker could finish nobody
        left = self._left(to_end=False)
        return step + max(reserve, self._purse.total - self._early) <= left

    def _step(self, trial: Trial | None) -> int:
        """Epochs to the next rung, or to the end."""
        if trial is None:
            return self._widths[0]
        further = (r for r in self._outlook.rungs[trial.family] if r > trial.last)
        return next(further, trial.budget) - trial.last

    def _left(self, *, to_end: bool) -> float:
        """What nobody has spent or is about to spend."""
        purse = self._purse
        bound = 0.0
        for number in self._outlook.active:
            trial = self._outlook.trials[number]
            epochs = trial.budget - trial.last if to_end else self._step(trial)
            bound += purse.cost(trial, epochs)
        return purse.total - purse.spent - bound

    def _nearest_first(self, trial: Trial) -> tuple[int, float, int]:
        """The rungs that a trial has yet to come to, then its value.

        Rungs are counted: as parts of the budgets they are rounded, so that of families with
        other epoch budgets one would go before the other whatever its values are.
        """
        further = len(self._outlook.rungs[trial.family]) - self._places[trial.number]
        return further, self._outlook.objective.rank_key(trial.value), trial.number

    def last_stage(self) -> Choice:
        """The best of the highest rung that can be finished; else a draw; else the end."""
        outlook, purse = self._outlook, self._purse
        limited = outlook.budget.total_epochs or outlook.budget.seconds
        # Other workers take no seconds from this one, but epochs that all share.
        left = purse.within if purse.seconds else self._left(to_end=True)

        waiting = sorted(outlook.waiting(), key=self._nearest_first)
        for trial in waiting:
            cost = purse.cost(trial, trial.budget - trial.last)
            if cost <= left:
                return Choice(promoted=trial.number)
        if outlook.drawable and (
            not limited or purse.cost(None, self._longest) <= left
        ):
            return Choice(draw=True)
        never = purse.total - purse.spent if outlook.active else 0.0
        return Choice(
            stopped={
                t.number: f"{place(outlook, t)}: too little of the budget is left"
                for t in sorted(waiting, key=lambda t: t.number)
                if purse.cost(t, t.budget - t.last) > never
            }
        )
