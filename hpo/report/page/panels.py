"""Curves, fronts and slices of a run, as frozen data that figures and their CSV files show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpo.fronts import fronts
from hpo.report.families import Standing
from hpo.report.summary import Row, Summary
from hpo.study import Objective
from hpo.trials.states import RANKED, State

BEST = 10
"""Curves of a family that are drawn one by one."""

SHARES = (0.1, 0.5, 0.9)
"""Quantiles of the others at each epoch."""

FEWEST = 3
"""Fewest curves at an epoch for which these are drawn."""

POINTS = 200
"""Most trials of a family in a figure of points: the best, and every n-th of the others."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A trial's curve.

    Attributes:
        trial: Its number.
        rank: Its rank, or None.
        stopped: Whether it was cut.
        points: Epoch and value of each epoch with a finite value.
    """

    trial: int
    rank: int | None
    stopped: bool
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The curves of a family.

    Attributes:
        family: The family.
        lines: Those of its best trials.
        others: How many more trials have a curve.
        band: Epoch, the quantiles `SHARES` of the others there, and over how many.
        stops: Last epoch and value of each of the others that was cut.
    """

    family: str
    lines: tuple[Line, ...]
    others: int
    band: tuple[tuple[int, float, float, float, int], ...]
    stops: tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A ranked trial against what it costs.

    Attributes:
        trial: Its number.
        family: Its family.
        cost: Parameters, or seconds.
        value: The objective.
        front: Whether none is better in both.
    """

    trial: int
    family: str
    cost: float
    value: float
    front: bool


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A family's trials along one hyperparameter.

    Attributes:
        family: The family.
        name: The dimension.
        log: Whether its range is logarithmic.
        choices: The choices of a categorical one, as text; empty for numbers.
        points: Trial, value of the hyperparameter (the index of a choice), objective, and
            whether it is ranked.
        left_out: How many trials are not among them.
    """

    family: str
    name: str
    log: bool
    choices: tuple[str, ...]
    points: tuple[tuple[int, float, float, bool], ...]
    left_out: int


def curves(summary: Summary, families: Sequence[Standing]) -> tuple[Curves, ...]:
    """The curves of each family that has any; one of a single epoch is none.

    Args:
        summary: The whole run.
        families: Its families, in the order of the page.
    """
    found = (_curves(_of(summary, s), s.family, summary.objective) for s in families)
    return tuple(c for c in found if any(len(line.points) > 1 for line in c.lines))


def _of(summary: Summary, standing: Standing) -> list[Row]:
    """A family's trials with a value, best first: ranked ones before the others."""
    rows = [
        r
        for r in summary.rows
        if r.family == standing.family and r.objective is not None
    ]
    key = summary.objective.rank_key
    return sorted(rows, key=lambda r: (r.rank is None, r.rank or key(r.objective)))


def _curves(rows: Sequence[Row], family: str, objective: Objective) -> Curves:
    lines = []
    for row in rows[:BEST]:
        points = tuple((p.epoch, p.value) for p in row.curve if math.isfinite(p.value))
        lines.append(
            Line(
                trial=row.trial,
                rank=row.rank,
                stopped=row.state is State.STOPPED,
                points=points,
            )
        )
    others = rows[BEST:]
    at: dict[int, list[float]] = {}
    stops = []
    for row in others:
        for epoch, value in _values(row):
            at.setdefault(epoch, []).append(value)
        if row.state is State.STOPPED and (known := _values(row)):
            stops.append(known[-1])
    band = []
    for epoch in sorted(at):
        if len(at[epoch]) >= FEWEST:
            low, middle, high = np.quantile(at[epoch], SHARES)
            count = len(at[epoch])
            band.append((epoch, float(low), float(middle), float(high), count))
    return Curves(
        family=family,
        lines=tuple(lines),
        others=len(others),
        band=tuple(band),
        stops=tuple(stops),
    )


def _values(row: Row) -> list[tuple[int, float]]:
    return [(p.epoch, p.value) for p in row.curve if math.isfinite(p.value)]


def spots(summary: Summary, cost: str) -> tuple[Spot, ...]:
    """Ranked trials against ``parameters`` or ``seconds``; the front over all families.

    Args:
        summary: The whole run.
        cost: The row's field.
    """
    rows = [
        r
        for r in summary.rows
        if r.state in RANKED and r.objective is not None and getattr(r, cost)
    ]
    key = summary.objective.rank_key
    places = fronts([(float(getattr(r, cost)), key(r.objective)) for r in rows])
    return tuple(
        Spot(
            trial=r.trial,
            family=r.family,
            cost=float(getattr(r, cost)),
            value=r.objective,
            front=place == 1,
        )
        for r, place in zip(rows, places, strict=True)
        if r.objective is not None
    )


def slices(summary: Summary, families: Sequence[Standing]) -> tuple[Slice, ...]:
    """Every searched dimension of every family with trials that have a value.

    Those that the space of today does not hold are left out.

    Args:
        summary: The whole run.
        families: Its families, in the order of the page.
    """
    found = []
    for standing in families:
        space = summary.study.family(standing.family).space
        rows = [r for r in _of(summary, standing) if space.holds(r.params)]
        kept = thinned(rows)
        for name, distribution in space.distributions.items():
            if distribution.single():
                continue
            choices = tuple(map(str, getattr(distribution, "choices", ())))
            places = {_text(c): i for i, c in enumerate(choices)}
            points = tuple(
                (r.trial, place, r.objective, r.rank is not None)
                for r in kept
                if r.objective is not None
                and (place := _place(r.params.get(name), places)) is not None
            )
            if points:
                found.append(
                    Slice(
                        family=standing.family,
                        name=name,
                        log=bool(getattr(distribution, "log", False)),
                        choices=choices,
                        points=points,
                        left_out=len(rows) - len(kept),
                    )
                )
    return tuple(found)


def thinned(found: Sequence[Any]) -> Sequence[Any]:
    """The best ones, and every n-th of the others.

    Args:
        found: What is drawn as a point each, the best first.
    """
    if len(found) <= POINTS:
        return found
    best, others = found[: POINTS // 2], found[POINTS // 2 :]
    return [*best, *others[:: -(-len(others) // (POINTS // 2))]]


def _text(value: Any) -> str:
    return str(value)


def _place(value: Any, places: Mapping[str, int]) -> float | None:
    """A number, or the place of a choice; None where the dimension does not exist."""
    if value is None and not places:
        return None
    if places:
        place = places.get(_text(value))
        return None if place is None else float(place)
    return float(value)


def spread(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis suits: all positive, over more than a decade."""
    return bool(values) and min(values) > 0 and max(values) > 10 * min(values)
