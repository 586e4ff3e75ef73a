"""HPO-NMT: 2,483 real learning curves of Transformers for translation.

Zhang and Duh, "Reproducible and Efficient Benchmarks for Hyperparameter Optimization of
Neural Machine Translation Systems", TACL 2020, and their later curves. Perplexity by
checkpoint; a finite pool of rows for each pair of languages.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from hpo.simulate.pool import Pool, ladder
from hpo.simulate.task import Curve, Task, usual_seconds
from hpo.study import Objective
from models.errors import DataError
from models.training.protocol import Epoch
from search_spaces.space import Space

SUMMARY = "8 data sets, 2,483 real curves of Transformers; finite pools"
OBJECTIVE = Objective(metric="perplexity")


def open_table(folder: Path) -> NMT:
    """The table in that folder.

    Raises:
        DataError: The file is missing or damaged.
    """
    return NMT(folder)


class NMT:
    """Perplexity on the development set, by checkpoint.

    An epoch is a checkpoint. Curves of one data set differ in length because their training
    ended by itself: such a trial is completed where its curve ends. The epoch budget, and so
    a full run, is the median length; longer curves are cut there. Hyperparameters take a few
    values each and are searched as places in the list of them.

    Args:
        folder: With ``hpo_nmt.hdf5``.
    """

    name = "hpo_nmt"
    remarks = (
        "finite pools: `random` draws rows that are left, other samplers get the nearest "
        "one; a full run is the median length of a task's curves",
    )

    def __init__(self, folder: Path) -> None:
        import h5py

        path = folder / "hpo_nmt.hdf5"
        try:
            with h5py.File(path) as file:
                group = file["nmtlc"]
                kind, data, base = (
                    group[k].asstr()[...] for k in ("task", "dataset_name", "basemodel")
                )
                self._values = group["hyperparams"][...]
                self._names = [str(n) for n in group["hyperparams"].attrs["names"]]
                self._curves = group["perplexity_curve"][...]
                self._lengths = group["curve_len"][...]
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise DataError(f"{path} is no table of HPO-NMT: {error}") from error
        self._models = base
        fine = kind == "finetune"
        self._tasks = np.where(fine, np.char.add("finetune-", data.astype(str)), data)
        self.tasks = tuple(sorted({str(t) for t in self._tasks}))
        self.chosen_on = self.tasks[::2]

    def task(self, name: str) -> Task:
        """One data set."""
        rows = np.flatnonzero(self._tasks == name)
        budget = int(np.median(self._lengths[rows]))
        curves = [self._curve(int(row), budget) for row in rows]
        values = np.sort([min(e.valid["perplexity"] for e in c.epochs) for c in curves])
        space, points = self._points(rows)
        return Task(
            name=name,
            curves={self.name: Pool(space=space, rows=points, curves=curves)},
            epochs=budget,
            objective=OBJECTIVE,
            best=float(values[0]),
            median=float(np.median(values)),
            seconds=usual_seconds(curves),
        )

    def _curve(self, row: int, budget: int) -> Curve:
        length = min(int(self._lengths[row]), budget)
        values = self._curves[row, :length]
        return Curve(
            epochs=tuple(
                Epoch(i, {}, {OBJECTIVE.metric: float(v)}, 1.0)
                for i, v in enumerate(values, 1)
            )
        )

    def _points(self, rows: Any) -> tuple[Space, list[dict[str, Any]]]:
        """The dimensions that vary within a data set, and each row as a point of it."""
        columns: dict[str, Sequence[Any]] = {
            n: self._values[rows, i].tolist() for i, n in enumerate(self._names)
        }
        columns["basemodel"] = [str(m) for m in self._models[rows]]
        entries: dict[str, BaseDistribution] = {}
        points: list[dict[str, Any]] = [{} for _ in rows]
        for name, column in columns.items():
            if len(set(column)) == 1:
                continue
            place: dict[Any, Any]
            if name == "basemodel":
                entries[name] = CategoricalDistribution(sorted(set(column)))
                place = {v: v for v in column}
            else:
                entries[name], place = ladder(column)
            for point, value in zip(points, column, strict=True):
                point[name] = place[value]
        return Space(entries), points
