"""How well each rung of a run foretold the end, from the curves that have an end.

A stopping rule trusts that trials at a rung are in about the order in which they would end.
Here that order is held against the end: the rank correlation (Spearman) of the best values *by*
the rung with the values that rank the trials.

What that says is limited: a trial that was cut has no end, so the correlation is one over
survivors. They were chosen by their values at this rung and at later ones, which makes any
correlation smaller than it would be over all trials. Therefore `Fidelity.bar`, below which a
rung is called untrustworthy, falls with the share that was cut (see `restricted`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hpo.errors import StudyError
from hpo.statistics.ranks import restricted, spearman, spearman_interval
from hpo.stopping import registry
from hpo.study import Objective, Study
from hpo.trials.curve import Point
from hpo.trials.record import finite_key, value_by
from hpo.trials.states import RANKED, State

LEAST = 5
"""Fewest trials with an end for which anything is said. With four, even a perfect order comes
about by chance too often (2 of 24 orders are perfect or reversed, 8 %); with five 2 of 120."""

THRESHOLD = 0.5
"""Smallest rank correlation over all trials with which a rung may be trusted: of two trials it
then names the better one twice in three times (normal values), where a coin does once in two."""

MOST = 1000
"""Most trials of a family whose curves are looked at; they tell a correlation to 0.06."""

_BRACKETS = 1000  # trials among which each bracket of a rule has occurred


class Ended(Protocol):
    """The fields needed of a trial's row."""

    @property
    def family(self) -> str: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def objective(self) -> float | None: ...  # noqa: D102
    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def curve(self) -> Sequence[Point]: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """One rung of one family, held against the end.

    Attributes:
        family: The family.
        epoch: The rung.
        budget: The family's epoch budget.
        ended: Trials that reached the rung and have an end: completed and converged ones.
        trials: Those the correlation is over: all of them, or of very many every n-th by
            rank, as far as they have a value at the rung.
        cut: Trials that reached the rung and were stopped there or later; they have no end.
        correlation: Rank correlation (Spearman) of the best value by the rung with that of
            the best epoch over those `trials`; positive when the better at the rung ends
            better. None for fewer than `LEAST` trials, or where all values are equal.
        low: Lower end of its 95 % interval.
        high: Upper end of its 95 % interval.
        bar: What the correlation of a rung with `THRESHOLD` over all trials may fall to over
            the trials that have an end.
    """

    family: str
    epoch: int
    budget: int
    ended: int
    trials: int
    cut: int
    correlation: float | None = None
    low: float | None = None
    high: float | None = None
    bar: float | None = None

    @property
    def untrustworthy(self) -> bool:
        """Whether it is too low to have been trusted: the whole interval is below the bar."""
        return self.high is not None and self.bar is not None and self.high < self.bar


def fidelities(study: Study, rows: Iterable[Ended]) -> tuple[Fidelity, ...]:
    """Hold every rung of a run against the end, family by family.

    Args:
        study: The resolved study.
        rows: The run's trials.
    """
    members: dict[str, list[Ended]] = {f.name: [] for f in study.families}
    for row in rows:
        if row.family in members:
            members[row.family].append(row)
    return tuple(
        _fidelity(study, family, epoch, trials)
        for family, trials in members.items()
        for epoch in rungs(study, family)
    )


def rungs(study: Study, family: str) -> tuple[int, ...]:
    """Epochs at which a rule of the study compares trials of a family, to end some of them.

    Where trials adopt each other nobody is ended, and whoever was behind goes on as another.

    Args:
        study: The resolved study.
        family: The family's name.
    """
    budget = study.epochs_of(family)
    planned = range(min(study.trials_of()[family], _BRACKETS))
    try:
        rules = [registry.make(rule) for rule in study.stopping]
    except StudyError:  # a rule that this version does not know: nothing can be said
        return ()
    return tuple(
        sorted(
            {
                epoch
                for rule in rules
                if not isinstance(rule, registry.ExploitingRule)
                for index in planned
                for epoch in rule.rungs(budget, index)
            }
        )
    )


def _fidelity(
    study: Study, family: str, epoch: int, trials: Sequence[Ended]
) -> Fidelity:
    objective = study.objectives[0]
    ended = [
        t
        for t in trials
        if t.state in RANKED and t.objective is not None and t.epochs >= epoch
    ]
    looked_at = ended[:: -(-len(ended) // MOST) or 1]
    pairs = list(_pairs(looked_at, epoch, objective))
    cut = sum(t.state == State.STOPPED and t.epochs >= epoch for t in trials)
    plain = Fidelity(
        family=family,
        epoch=epoch,
        budget=study.epochs_of(family),
        ended=len(ended),
        trials=len(pairs),
        cut=cut,
    )
    if len(pairs) < LEAST:
        return plain
    found = spearman([at for at, _ in pairs], [end for _, end in pairs])
    if found is None:
        return plain
    low, high = spearman_interval(found, len(pairs))
    bar = restricted(THRESHOLD, share=len(ended) / (len(ended) + cut))
    return replace(plain, correlation=found, low=low, high=high, bar=bar)


def _pairs(
    trials: Iterable[Ended], epoch: int, objective: Objective
) -> Iterator[tuple[float, float]]:
    """Best value by the rung and value that ranks, as numbers that sort best first."""
    for trial in trials:
        by = _by(trial.curve, epoch, objective)
        if by is not None:
            yield finite_key(by, objective), objective.rank_key(trial.objective)


def _by(curve: Sequence[Point], epoch: int, objective: Objective) -> float | None:
    """The value that the rung compares, or None where the curve has not the epoch."""
    values = {p.epoch: p.value for p in curve[:epoch] if p.epoch <= epoch}
    return value_by(values, epoch, objective) if epoch in values else None
