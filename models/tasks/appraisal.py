"""What an evaluation of the test part tells of a posterior beside its score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from models.data.dataset import open_dataset
from models.data.kinds.samples import exact_posterior
from models.metrics import calibration
from models.training.interface import Run

if TYPE_CHECKING:
    from models.tasks.base import TaskData

Task: TypeAlias = Any
"""`models.tasks.posterior.Task`, which calls this module."""

OBSERVED = 10
"""Rows of the test part that are held against draws from their exact posterior, at most."""
RANK_DRAWS = 64
"""Draws among which a truth is ranked, at least."""
_AT_ONCE = 20_480
_SEED = 0


def appraise(run: Run, *, task: Task, data: TaskData) -> dict[str, float]:
    """Calibration on the first rows of the test part, and C2ST where their posterior is known.

    Args:
        run: The model.
        task: With how many rows and draws.
        data: Of the task.

    Returns:
        - ``energy_score`` of these rows, where no epoch has it;
        - ``rank_p``: the smallest p of the ranks of all parameters, after Holm, and that of
          each before it as ``rank_p.NAME``;
        - ``coverage_50`` …: the share of truths in central intervals; ``coverage_p``: the
          smallest p of all levels and parameters, after Holm, that one holds what it should;
        - ``tarp``, ``tarp_p``: the largest error of the coverage of regions, and its p;
        - ``c2st``: the accuracy with which a classifier tells draws from exact ones, mean over
          observations, of each as ``c2st.N``, and the largest as ``c2st_worst``.
    """
    dataset = open_dataset(data.reference.to_json())
    (group,) = task.groups(dataset.part("test"), dtype=np.float64)
    truth, there = np.asarray(task.vector(group)), np.asarray(task.there(group))
    count = min(task.ranked, len(truth))
    drawn, used = _drawn(run, group, count, RANK_DRAWS, task=task, first=0)
    found = _calibrated(drawn, truth[:count], there[:count], names(data))
    if not task.scored_draws:
        found |= _scored(drawn, truth[:count], there[:count], task.scale(data)[1])
    exact = exact_posterior(data.reference, task.gives)
    if not exact:
        return found
    known = np.asarray(task.vector(exact))[:OBSERVED, : task.compared]
    rows, draws = known.shape[:2]
    ours, _ = _drawn(run, group, rows, draws, task=task, first=used)
    return found | _told_apart(known, ours[:, :draws], there[:rows])


def names(data: TaskData) -> tuple[str, ...]:
    """The name of every column of the task's vector of parameters."""
    found = []
    for role in data.gives:
        places = np.ndindex(*data.shapes[role])
        found += [f"{role}.{'.'.join(str(i + 1) for i in place)}" for place in places]
    return tuple(found)


def _drawn(
    run: Run,
    group: Mapping[str, np.ndarray],
    rows: int,
    draws: int,
    *,
    task: Task,
    first: int,
) -> tuple[np.ndarray, int]:
    """At least so many draws ``[rows, …, columns]`` of the first rows, and the next number.

    A row is shown as often as it takes, each time with a number of its own.
    """
    times = math.ceil(draws / task.draws)
    index = np.repeat(np.arange(rows), times)
    size = min(len(index), max(1, _AT_ONCE // task.draws))
    whole = np.concatenate([index, np.zeros(-len(index) % size, int)])
    numbers = first + np.arange(len(whole))
    found = []
    for start in range(0, len(whole), size):
        chosen = whole[start : start + size]
        batch = {"number": numbers[start : start + size].astype(np.int32)}
        for role in task.takes:
            values = np.asarray(group[role])[chosen]
            seen = group.get(f"seen.{role}", np.ones(group[role].shape, bool))
            batch |= {role: values, f"seen.{role}": np.asarray(seen)[chosen]}
        outputs = run(batch)
        arrays = {role: np.asarray(outputs[role], np.float64) for role in task.gives}
        found.append(np.asarray(task.vector(arrays)))
    every = np.concatenate(found)[: len(index)]
    return every.reshape(rows, -1, every.shape[-1]), int(numbers[-1]) + 1


def _calibrated(
    draws: np.ndarray, truth: np.ndarray, there: np.ndarray, names: tuple[str, ...]
) -> dict[str, float]:
    random = np.random.default_rng(_SEED)
    place = calibration.places(draws, truth, random=random)
    each = calibration.rank_p_values(place, there)
    found = {"rank_p": float(np.nanmin(calibration.holm(each)))}
    found |= {f"rank_p.{n}": float(p) for n, p in zip(names, each, strict=True)}
    for level in calibration.LEVELS:
        found[f"coverage_{round(100 * level)}"] = calibration.coverage(
            place, there, level
        )
    held = calibration.coverage_p_values(place, there)
    found["coverage_p"] = float(np.nanmin(calibration.holm(held.ravel())))
    error, p = calibration.tarp(draws, truth, there, random=random)
    return found | {"tarp": error, "tarp_p": p}


def _scored(
    draws: np.ndarray, truth: np.ndarray, there: np.ndarray, unit: np.ndarray
) -> dict[str, float]:
    """The energy score, where epochs do without it."""
    from models.metrics.energy import energy_score

    shown = np.where(there, truth / unit, 0.0)
    drawn = np.where(there[:, None], draws / unit, 0.0)
    each = [
        energy_score(*pair) for pair in zip(drawn[:, None], shown[:, None], strict=True)
    ]
    return {"energy_score": float(np.mean(each))}


def _told_apart(
    exact: np.ndarray, ours: np.ndarray, there: np.ndarray
) -> dict[str, float]:
    from models.metrics.two_sample import c2st

    shown = there[:, None]
    each = c2st(np.where(shown, exact, 0.0), np.where(shown, ours, 0.0), seed=_SEED)
    found = {"c2st": float(each.mean()), "c2st_worst": float(each.max())}
    return found | {f"c2st.{n}": float(value) for n, value in enumerate(each, 1)}
