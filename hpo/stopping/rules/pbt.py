"""Population-based training: at each interval the worst adopt the best and vary their values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.errors import StudyError
from hpo.options import at_least, at_most
from hpo.search.unit import uniform, value_at
from hpo.seeds import derive
from hpo.stopping.registry import Evidence, Exploit, Settlement, Verdict
from hpo.study import Objective
from hpo.trials.record import Trial, finite_key
from hpo.trials.states import State
from search_spaces.space import Space


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """Every trial pauses at each interval, until all of its family that train are there.

    Then the worst `quantile` give up their own states: each goes on from a copy of the whole
    state of one that is drawn from the best `quantile`, with searched values of its own: the
    donor's, each drawn anew from its range with probability `resampling`, else multiplied by
    1 + `perturbation` or 1 - `perturbation` and kept within its range; on a grid it goes one
    step at least. All others go on as they were, and nobody ends early. A value that is not
    finite is the worst there is, and adopts whatever the quantile. (Jaderberg et al., Population
    Based Training of Neural Networks, 2017, section 4.1.1: truncation selection; perturb and
    resample. There workers do not wait for each other, so that what comes out depends on their
    number and speed.)

    Trials are the population, and their number is its size. What is searched must be traced,
    because a state fits no other shapes. The winner is no configuration but a schedule.

    Attributes:
        interval: Epochs between two generations.
        quantile: Share of the family that adopts, and that is adopted; at least one of each.
        perturbation: How far a value moves, relative to itself.
        resampling: How probable it is that a value is drawn anew instead.
        start: Searched values that stay with the state which is adopted, because they act
            where training begins alone; each trial begins with its own. None for none.
    """

    converges: ClassVar[bool] = False

    interval: int = 5
    quantile: float = 0.25
    perturbation: float = 0.2
    resampling: float = 0.25
    start: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuse options by which a trial could be its own donor, or nothing would vary."""
        at_least("pbt: interval", self.interval, 1, whole=True)
        for name, high in (("quantile", 0.5), ("perturbation", 1), ("resampling", 1)):
            at_least(f"pbt: {name}", getattr(self, name), 0)
            at_most(f"pbt: {name}", getattr(self, name), high)
        for name, wrong in (("quantile", 0), ("perturbation", 1)):
            if getattr(self, name) == wrong:
                raise StudyError(f"pbt: {name} must not be {wrong}")
        if self.perturbation == self.resampling == 0:
            raise StudyError(
                "pbt: with `perturbation` 0 and `resampling` 0 no value would ever vary",
                hint="leave one of them at its default, 0.2 and 0.25",
            )
        listed = self.start is None or isinstance(self.start, (list, tuple))
        if not listed or not all(isinstance(name, str) for name in self.kept):
            raise StudyError(
                f"pbt: `start` lists names of searched values, got {self.start!r}",
                hint='["physics.spread"] keeps that one',
            )

    @property
    def kept(self) -> tuple[str, ...]:
        """What `start` names."""
        return tuple(self.start or ())

    def rungs(self, budget: int, index: int) -> tuple[int, ...]:
        """Each interval, while below the budget."""
        return tuple(range(self.interval, budget, self.interval))

    def judge(self, evidence: Evidence) -> Verdict | None:
        """Pause at every rung."""
        if evidence.rung is None:
            return None
        return Verdict(State.PAUSED, "waits until the population is as far")

    def check(self, space: Space, budget: int, trials: int) -> tuple[str, ...]:
        """Refuse dimensions that cannot be varied alone; those that are varied."""
        if trials < 2 or not self.rungs(budget, 0) or not space.distributions:
            return ()
        for condition in space.conditions:
            if condition.parent in space.distributions:
                raise StudyError(
                    f"pbt varies searched values while a model is trained, and whether "
                    f"`{condition.name}` exists depends on `{condition.parent}`",
                    hint=f"make `{condition.parent}` a constant",
                )
        varied = {n: d for n, d in space.distributions.items() if n not in self.kept}
        if not varied:
            raise StudyError(
                f"pbt: `start` names all that is searched, {list(space.distributions)}",
                hint="leave out of it what acts all through training",
            )
        for name, distribution in varied.items():
            values: Sequence[Any] = ()
            if isinstance(distribution, CategoricalDistribution):
                values = distribution.choices
            wrong = [v for v in values if isinstance(v, bool) or not _is_number(v)]
            if wrong:
                raise StudyError(
                    f"pbt varies numbers, and `{name}` may be {wrong[0]!r}",
                    hint=f"make `{name}` a constant",
                )
        return tuple(varied)

    def settle(
        self,
        history: Sequence[Trial],
        budget: int,
        objective: Objective,
        space: Space,
    ) -> Settlement:
        """The earliest generation that waits: who adopts whom, and the best go on first."""
        epoch = min(t.last for t in history if t.state is State.PAUSED)
        waiting = [t for t in history if t.state is State.PAUSED and t.last == epoch]
        own = {t.number: _own_value(t, epoch) for t in waiting}
        waiting.sort(key=lambda t: finite_key(own[t.number], objective))
        exploited: dict[int, Exploit] = {}
        if not _settled(history, epoch):
            if not any(map(math.isfinite, own.values())):
                why = f"nobody has a finite {objective.metric} at epoch {epoch}"
                return Settlement(stopped=dict.fromkeys(sorted(own), why))
            donors, losers = self._divided(waiting, own)
            exploited = {
                t.number: self._exploit(t, donors, epoch, space)
                for t in losers
                if not _adopted(t, epoch)
            }
        on = sorted(waiting, key=lambda t: _adopted(t, epoch) or t.number in exploited)
        return Settlement(promoted=tuple(t.number for t in on), exploited=exploited)

    def affordable(self, total: int, budgets: Sequence[int]) -> int:
        """So many that all of them are trained to the end."""
        return max(1, total * len(budgets) // sum(budgets))

    def _divided(
        self, waiting: Sequence[Trial], own: Mapping[int, float]
    ) -> tuple[list[Trial], list[Trial]]:
        """Donors and losers of a generation, best first."""
        finite = [t for t in waiting if math.isfinite(own[t.number])]
        count = min(max(1, int(self.quantile * len(waiting))), len(waiting) // 2)
        donors = finite[:count]
        others = [t for t in waiting if t not in donors]
        worst = others[max(0, len(others) - count) :]
        return donors, [t for t in others if t in worst or t not in finite]

    def _exploit(
        self, trial: Trial, donors: Sequence[Trial], epoch: int, space: Space
    ) -> Exploit:
        """A donor for a trial, and the values that it goes on with."""
        who = trial.number, epoch
        donor = donors[derive(trial.seed, "pbt", "donor", *who) % len(donors)]
        traced = {}
        for name, value in donor.current.items():
            if name in self.kept:
                continue
            seed = derive(trial.seed, "pbt", name, *who)
            distribution = space.distributions[name]
            if uniform(seed, "resample") < self.resampling:
                traced[name] = value_at(distribution, uniform(seed, "value"))
            else:
                up = uniform(seed, "direction") < 0.5
                traced[name] = self._perturbed(distribution, value, up=up)
        return Exploit(donor=donor.number, traced=traced)

    def _perturbed(
        self, distribution: BaseDistribution, value: Any, *, up: bool
    ) -> Any:
        """A value moved up or down, within its range and on its grid."""
        if isinstance(distribution, CategoricalDistribution):
            choices: list[Any] = [*distribution.choices]
            choices.sort()
            place = choices.index(value) + (1 if up else -1)
            return choices[min(max(place, 0), len(choices) - 1)]
        assert isinstance(distribution, (FloatDistribution, IntDistribution))
        low, high = distribution.low, distribution.high
        moved = value * (1 + self.perturbation if up else 1 - self.perturbation)
        if step := distribution.step:
            here, there = round((value - low) / step), round((moved - low) / step)
            if here == there and moved != value:  # a small value would never leave it
                there += 1 if moved > value else -1
            moved = low + there * step
        moved = min(max(moved, low), high)
        return int(moved) if isinstance(distribution, IntDistribution) else float(moved)


def _own_value(trial: Trial, epoch: int) -> float:
    """The value that a trial itself had at an epoch, whatever it has adopted there."""
    for exploit in trial.exploits:
        if exploit.epoch == epoch:
            return exploit.value
    value = trial.curve.value_at(epoch)
    assert value is not None, "it paused there"
    return value


def _adopted(trial: Trial, epoch: int) -> bool:
    return any(exploit.epoch == epoch for exploit in trial.exploits)


def _settled(history: Sequence[Trial], epoch: int) -> bool:
    """Whether a generation has gone on already: all that adopt do so before the first."""
    return any(
        attempt.why == "promoted" and attempt.epoch == epoch
        for trial in history
        for attempt in trial.attempts
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
