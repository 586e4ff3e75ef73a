"""Whole learning curves of the shipped families on this project's own data sets.

Recorded and packed by `python -m studies.curves`; `own_curves.md` beside this file says how.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpo.simulate.pool import Pool
from hpo.simulate.task import Curve, Curves, Task, usual_seconds
from hpo.study import Objective
from models.errors import DataError
from models.training.protocol import Epoch
from search_spaces.space import Space

SUMMARY = "our own families on our own data, never stopped; finite pools; comes along"
SHIPPED = Path(__file__).with_suffix(".npz")
LAYOUT = 1


def open_table(folder: Path) -> OwnCurves:
    """The table in that folder; the one that comes along lies beside this file.

    Raises:
        DataError: The file is missing or damaged.
    """
    return OwnCurves(folder)


class OwnCurves:
    """Curves by set (a data set and a task) and family, with their configurations.

    A set is searched as its study was: all families together, budget shared.

    Args:
        folder: With ``own_curves.npz``.
    """

    name = "own_curves"

    def __init__(self, folder: Path) -> None:
        path = folder / SHIPPED.name
        try:
            with np.load(path, allow_pickle=False) as file:
                self._arrays = {name: file[name] for name in file.files}
            self._about = json.loads(str(self._arrays.pop("about")))
            if self._about["layout"] != LAYOUT:
                raise ValueError(f"layout {self._about['layout']}, not {LAYOUT}")
            self._sets: Mapping[str, Any] = self._about["sets"]
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise DataError(f"{path} is no table of own curves: {error}") from error
        self.tasks = tuple(self._sets)
        self.chosen_on = tuple(n for n, s in self._sets.items() if s["chosen_on"])
        self.remarks = (
            "finite pools: `random` draws rows that are left, other samplers get the "
            "nearest one",
            f"rules were chosen on {', '.join(self.chosen_on)}; the other sets were looked at once",
        )

    def task(self, name: str) -> Task:
        """One set."""
        about = self._sets[name]
        objective = Objective(**about["objective"])
        curves: dict[str, Curves] = {}
        every: list[Curve] = []
        for family, described in about["families"].items():
            found = [
                self._curve(f"{name}/{family}", row, objective.metric)
                for row in range(len(described["params"]))
            ]
            curves[family] = Pool(
                space=Space.from_json(described["space"]),
                rows=described["params"],
                curves=found,
            )
            every += found
        values = (_best(curve, objective) for curve in every)
        ended = sorted((v for v in values if np.isfinite(v)), key=objective.rank_key)
        return Task(
            name=name,
            curves=curves,
            epochs=about["epochs"],
            objective=objective,
            best=ended[0],
            median=float(np.median(ended)),
            seconds=usual_seconds(every),
        )

    def _curve(self, key: str, row: int, metric: str) -> Curve:
        seconds = self._arrays[f"{key}/seconds"][row]
        length = int(np.isfinite(seconds).sum())
        compiling = float(self._arrays[f"{key}/compile"][row])
        values = self._arrays[f"{key}/values"][row]
        return Curve(
            epochs=tuple(
                Epoch(
                    i + 1,
                    {},
                    {metric: float(values[i])},
                    float(seconds[i]),
                    compiling if i == 0 else 0.0,
                )
                for i in range(length)
            )
        )


def _best(curve: Curve, objective: Objective) -> float:
    """The best finite value of a curve; NaN where there is none."""
    values = [e.valid[objective.metric] for e in curve.epochs]
    finite = [v for v in values if np.isfinite(v)]
    return min(finite, key=objective.rank_key, default=float("nan"))
