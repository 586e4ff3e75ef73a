"""Objectives with limits, applied to trials: values, feasibility, order.

A trial's values are those of its best epoch by the first objective. The metric ``parameters``
is no validation metric but the number of trained parameters, as the learner reports it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hpo.errors import StudyError
from hpo.fronts import fronts
from hpo.study import Objective
from hpo.trials.record import Trial

PARAMETERS = "parameters"
Values = tuple[float | None, ...]
Name = TypeVar("Name", bound=Hashable)


def check(objectives: Sequence[Objective]) -> None:
    """Refuse objectives that cannot be weighed.

    Args:
        objectives: A study's.

    Raises:
        StudyError: A metric is named twice, or the first one is ``parameters``.
    """
    metrics = [o.metric for o in objectives]
    if len(set(metrics)) != len(metrics):
        raise StudyError(f"objectives name a metric twice: {', '.join(metrics)}")
    if metrics[0] == PARAMETERS:
        raise StudyError(
            "the first objective chooses a trial's best epoch, which `parameters` cannot",
            hint="put a validation metric such as `rmse` first",
        )


def values_at(
    objectives: Sequence[Objective],
    valid: Mapping[str, float],
    parameters: int | None,
) -> Values:
    """A value for each objective, None where there is none or it is not finite.

    Args:
        objectives: A study's.
        valid: The validation metrics of the epoch in question.
        parameters: How many numbers the model trains, where the learner knows it.
    """
    found = [
        parameters if o.metric == PARAMETERS else valid.get(o.metric)
        for o in objectives
    ]
    return tuple(
        float(v) if v is not None and math.isfinite(v) else None for v in found
    )


def attained(trial: Trial, objectives: Sequence[Objective]) -> Values:
    """A trial's values at its best epoch; all None before it has one."""
    first, *further = objectives
    if not further:
        return (trial.value,)
    if trial.value is None:
        return (None,) * len(objectives)
    valid = {**trial.further, first.metric: trial.value}
    return values_at(objectives, valid, trial.parameters)


def excess(values: Values, objectives: Sequence[Objective]) -> dict[str, float]:
    """By how much each limit is exceeded; a value that is missing exceeds it infinitely.

    Args:
        values: One for each objective.
        objectives: A study's; those without a limit are left out.
    """
    found = {}
    for value, objective in zip(values, objectives, strict=True):
        if objective.limit is None:
            continue
        sign = 1 if objective.direction == "minimize" else -1
        over = math.inf if value is None else sign * (value - objective.limit)
        found[objective.metric] = over
    return found


def feasible(values: Values, objectives: Sequence[Objective]) -> bool:
    """Whether no limit is exceeded."""
    return all(over <= 0 for over in excess(values, objectives).values())


def keys(values: Values, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Numbers that sort best first, the first objective deciding first."""
    if len(objectives) == 1:
        return (objectives[0].rank_key(values[0]),)
    return tuple(o.rank_key(value) for value, o in zip(values, objectives, strict=True))


def merit(
    values: Values, objectives: Sequence[Objective]
) -> tuple[bool, tuple[float, ...]]:
    """A key of which the smallest is never dominated: within the limits, then by value."""
    return not feasible(values, objectives), keys(values, objectives)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a trial stands.

    Attributes:
        rank: From 1, each once: by front, then by the first objective; those that exceed
            a limit come last.
        front: 1 for those that none dominates, and so on; None beyond a limit.
    """

    rank: int
    front: int | None


def places(
    found: Mapping[Name, Values], objectives: Sequence[Objective]
) -> dict[Name, Place]:
    """Rank trials by non-domination, then by the first objective.

    Args:
        found: The values of each trial to rank, in the order that breaks ties.
        objectives: A study's. With one objective this is the order of the values.

    Returns:
        The place of each, best first.
    """
    key = {n: keys(v, objectives) for n, v in found.items()}
    limited = any(o.limit is not None for o in objectives)
    within = [n for n, v in found.items() if not limited or feasible(v, objectives)]
    front = dict(zip(within, fronts([key[n] for n in within]), strict=True))
    order = sorted(found, key=lambda n: (front.get(n, math.inf), key[n]))
    return {n: Place(rank=rank, front=front.get(n)) for rank, n in enumerate(order, 1)}


def ranking(
    trials: Iterable[Trial], objectives: Sequence[Objective]
) -> dict[int, Place]:
    """The place of each ranked trial by its number, best first.

    Args:
        trials: A run's, in the order of their numbers; unranked ones have no place.
        objectives: The study's.
    """
    ranked = (t for t in trials if t.ranked)
    return places({t.number: attained(t, objectives) for t in ranked}, objectives)
