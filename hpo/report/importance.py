"""How much each hyperparameter mattered for being among the best, and what chance would say.

PED-ANOVA (Watanabe, Bansal and Hutter 2023, "PED-ANOVA: Efficiently quantifying hyperparameter
importance in arbitrary subspaces", theorem 1; for conditional dimensions the weights of its
follow-up, arXiv 2601.20800): the Pearson divergence between a value's density among the best
trials and among all of them. `optuna.importance.PedAnovaImportanceEvaluator` gives the same
(that is tested), but takes 0.05 s to 0.2 s where the bar below needs hundreds of evaluations.

With few trials some dimension always seems to matter. So the values are permuted among the trials,
which breaks every tie to the hyperparameters, and the largest importance of any dimension is
noted each time; a dimension that does not exceed `LEVEL` of these cannot be told from noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.report.summary import Row, Summary
from hpo.study import Objective

PERMUTATIONS = 200
LEVEL = 0.95
LEAST = 6
"""Fewest trials of a family for which anything is computed: of five, the best are two."""

MOST = 1000
"""Most trials of a family that are looked at; of more, every n-th by rank."""

_STEPS = 50  # of a grid over a range, as Optuna has it
_FEWEST_BEST = 5
_IN_REGIME = 2
_SMALLEST_SPREAD = 0.5 / 1.64

Counts = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The hyperparameters of one family.

    Attributes:
        family: The family.
        trials: How many trials had the whole budget and are looked at.
        best: How many of them count as the best.
        values: Importance by dimension, largest first; empty for fewer than `LEAST` trials.
        bar: What a dimension must exceed to be told from noise; None likewise.
        outside: How many more had the whole budget but lie outside the space of today, since
            an extension brought another one.
        changed: How many more are left out since their values changed in training.
    """

    family: str
    trials: int
    best: int
    values: Mapping[str, float]
    bar: float | None
    outside: int = 0
    changed: int = 0

    @property
    def told(self) -> tuple[str, ...]:
        """The dimensions above the bar, the most important first."""
        bar = self.bar
        return (
            () if bar is None else tuple(k for k, v in self.values.items() if v > bar)
        )


def importances(summary: Summary) -> tuple[Importance, ...]:
    """The importance of every family's searched dimensions, over its ranked trials.

    Only these had the whole budget: one that was cut early has no comparable value. Those
    whose values changed in training are left out: no single point of the space made them. So
    are those that the space of today does not hold.

    Args:
        summary: The whole run.
    """
    found = []
    for family in summary.study.families:
        space = family.space
        if all(d.single() for d in space.distributions.values()):
            continue
        ranked = [r for r in summary.rows if r.family == family.name and r.rank]
        whole = [r for r in ranked if not r.schedule]
        held = [r for r in whole if space.holds(r.params)]
        told = _importance(family.name, space.distributions, held, summary.objective)
        outside, changed = len(whole) - len(held), len(ranked) - len(whole)
        found.append(replace(told, outside=outside, changed=changed))
    return tuple(found)


def _importance(
    family: str,
    space: Mapping[str, BaseDistribution],
    rows: Sequence[Row],
    objective: Objective,
) -> Importance:
    rows = rows[:: -(-len(rows) // MOST) or 1]
    keys = np.array([objective.rank_key(r.objective) for r in rows])
    trials, share = len(rows), quantile(len(rows))
    if trials < LEAST:
        return Importance(family=family, trials=trials, best=0, values={}, bar=None)
    cut = np.partition(keys, math.ceil(share * trials) - 1)
    chosen = [keys <= cut[math.ceil(share * trials) - 1]]
    random = np.random.default_rng(0)
    chosen += [random.permutation(chosen[0]) for _ in range(PERMUTATIONS)]
    best = np.array(chosen)
    found = {
        name: _dimension(space[name], [r.params.get(name) for r in rows], best)
        for name in space
        if not space[name].single()
    }
    largest = np.max([v[1:] for v in found.values()], axis=0)
    ordered = sorted(found, key=lambda name: -found[name][0])
    return Importance(
        family=family,
        trials=trials,
        best=int(best[0].sum()),
        values={name: float(found[name][0]) for name in ordered},
        bar=float(np.quantile(largest, LEVEL)),
    )


def quantile(trials: int) -> float:
    """The share of trials that count as the best: a tenth, but no fewer than five of them."""
    return max(0.1, min(0.5, _FEWEST_BEST / trials)) if trials else 0.5


def _dimension(
    distribution: BaseDistribution, values: Sequence[Any], best: NDArray[np.bool_]
) -> Counts:
    """A dimension's importance for each choice of the best.

    Args:
        distribution: Its range.
        values: A value a trial; None where it does not exist.
        best: Whether a trial is among the best, ``[choice, trial]``.
    """
    has = np.array([v is not None for v in values])
    if has.sum() < _IN_REGIME:
        return np.zeros(len(best))
    index, size = _grid(distribution, [v for v in values if v is not None])
    member = np.zeros((len(index), size))
    member[np.arange(len(index)), index] = 1.0
    mine = best[:, has]
    counts = mine.astype(float) @ member
    density = (
        _categorical if isinstance(distribution, CategoricalDistribution) else _parzen
    )
    whole = density(member.sum(axis=0)[None])
    with np.errstate(invalid="ignore"):
        divergence = np.sum(
            (whole + 1e-12) * ((density(counts) + 1e-12) / (whole + 1e-12) - 1) ** 2,
            axis=1,
        )
    share_best = mine.sum(axis=1) / best.sum(axis=1)
    weight = share_best**2 / has.mean() * best.mean(axis=1) ** 2
    return np.where(mine.any(axis=1), weight * divergence, 0.0)


def _grid(
    distribution: BaseDistribution, values: Sequence[Any]
) -> tuple[NDArray[np.int64], int]:
    """The place of each value on a grid, and how many places it has."""
    if isinstance(distribution, CategoricalDistribution):
        places = [int(distribution.to_internal_repr(v)) for v in values]
        return np.array(places), len(distribution.choices)
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    low, high, steps = float(distribution.low), float(distribution.high), _STEPS
    if isinstance(distribution, IntDistribution) and distribution.log:
        steps = min(math.ceil(math.log(high - low + 1) / math.log(2)) + 1, steps)
    elif distribution.step is not None:
        steps = min(round((high - low) / distribution.step) + 1, steps)
    told = np.array(values, dtype=float)
    if distribution.log:
        low, high, told = math.log(low), math.log(high), np.log(told)
    nearest = np.ceil((told - low) / ((high - low) / (steps - 1)) - 0.5)
    return np.clip(nearest, 0, steps - 1).astype(np.int64), steps


def _categorical(counts: Counts) -> Counts:
    """Densities of choices with a uniform prior kernel; ``[choice, place]`` both ways."""
    kernels = (counts > 0).sum(axis=1, keepdims=True) + 1
    blur = 1 / kernels
    rows = 1 + counts.shape[1] * blur
    total = counts.sum(axis=1, keepdims=True)
    mixed = (counts + total * blur) / rows + 1 / counts.shape[1]
    return np.asarray(mixed / (total + 1))


def _parzen(counts: Counts) -> Counts:
    """Densities on a grid by a truncated normal at each value, its width by Scott's rule.

    Args:
        counts: How many values lie at each place, ``[choice, place]``.
    """
    from scipy.special import ndtr

    size = counts.shape[1]
    places = np.arange(size, dtype=float)
    total = counts.sum(axis=1)
    many = np.maximum(total, 1)
    mean = counts @ places / many
    variance = (counts * (places - mean[:, None]) ** 2).sum(axis=1)
    spread = np.sqrt(variance / np.maximum(1, total - 1))
    upto = np.cumsum(counts, axis=1)
    first = (counts > 0).argmax(axis=1)
    last = size - 1 - (counts > 0)[:, ::-1].argmax(axis=1)
    low = np.maximum((upto >= (total // 4)[:, None]).argmax(axis=1), first)
    above = upto > (total * 3 // 4)[:, None]
    high = np.where(above.any(axis=1), above.argmax(axis=1), last)
    width = 1.059 * np.minimum((high - low) / 1.34, spread) * many**-0.2
    width = np.maximum(width, _SMALLEST_SPREAD)[:, None]

    # How much of a normal lies below each border of the grid, by distance from its centre.
    below = ndtr((np.arange(2 * size) - size + 0.5) / width)
    at = np.arange(size)
    inside = below[:, 2 * size - 1 - at] - below[:, size - 1 - at]
    kernels = np.diff(below, axis=1)[:, at[None, :] - at[:, None] + size - 1]
    mixed = np.einsum("cp,cpg->cg", counts / inside, kernels)
    edges = (np.arange(size + 1) - size / 2) / size
    prior = np.diff(ndtr(edges)) / (ndtr(edges[-1]) - ndtr(edges[0]))
    return np.asarray((mixed + prior) / (total + 1)[:, None])
