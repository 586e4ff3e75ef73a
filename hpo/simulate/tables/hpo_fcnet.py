"""FCNet: the final errors of every configuration of a small network, each with four seeds.

Klein and Hutter, "Tabular Benchmarks for Joint Architecture and Hyperparameter
Optimization", arXiv:1905.04970. A complete grid without curves: a full run is one epoch, no
rule has anything to end, and only samplers differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution

from hpo.simulate.pool import ladder
from hpo.simulate.task import Curve, Task
from hpo.study import Objective
from hpo.trials.record import Trial
from models.errors import DataError
from models.training.protocol import Epoch
from search_spaces.space import Space

SUMMARY = "4 data sets, 62,208 configurations, 4 seeds; final errors, no curves"
OBJECTIVE = Objective(metric="mse")


def open_table(folder: Path) -> FCNet:
    """The table in that folder.

    Raises:
        DataError: The file is missing or damaged.
    """
    return FCNet(folder)


class FCNet:
    """Validation error of four regression data sets.

    A training draws one of the table's four seeds; what a configuration is worth is the
    mean over all four, which no search sees. Numbers are searched as places in their list.

    Args:
        folder: With ``hpo_fcnet.hdf5``.
    """

    name = "hpo_fcnet"
    chosen_on: tuple[str, ...] = ()  # no rule has anything to choose here
    remarks = (
        "final errors without curves: a full run is one epoch, rules have nothing to end",
    )

    def __init__(self, folder: Path) -> None:
        import h5py

        self._path = folder / "hpo_fcnet.hdf5"
        try:
            with h5py.File(self._path) as file:
                self.tasks = tuple(sorted(file))
                axes = json.loads(file.attrs["axes"])
                values = json.loads(file.attrs["search_space"])
        except (OSError, KeyError, ValueError) as error:
            raise DataError(f"{self._path} is no table of FCNet: {error}") from error
        self._values: dict[str, list[Any]] = {a: values[a] for a in axes if a != "seed"}

    def task(self, name: str) -> Task:
        """One data set."""
        import h5py

        try:
            with h5py.File(self._path) as file:
                errors = file[name][...]
                best = float(file[name].attrs["best_mean_over_seeds"])
                median = float(file[name].attrs["median_mean_over_seeds"])
        except (OSError, KeyError, ValueError) as error:
            raise DataError(f"{self._path} is no table of FCNet: {error}") from error
        return _FCNetTask(
            name=name,
            curves={self.name: _Grid(self._values, errors)},
            epochs=1,
            objective=OBJECTIVE,
            best=best,
            median=median,
        )


@dataclass(frozen=True, kw_only=True)
class _FCNetTask(Task):
    def truth(self, trial: Trial) -> float:
        """The mean over the table's seeds."""
        (grid,) = self.curves.values()
        assert isinstance(grid, _Grid)
        return grid.mean(trial.params)


class _Grid:
    """Every point has a value for each of four seeds; a point may be asked for again."""

    size: int | None = None

    def __init__(self, values: Mapping[str, list[Any]], errors: Any) -> None:
        self._errors = errors
        self._values = dict(values)
        entries: dict[str, Any] = {}
        for name, options in values.items():
            if isinstance(options[0], str):
                entries[name] = CategoricalDistribution(options)
            else:
                entries[name], _ = ladder(options)
        self.space = Space(entries)

    def place(
        self, params: Mapping[str, Any], *, seed: int, uniform: bool, taken: set[int]
    ) -> dict[str, Any]:
        """Every point is in the table."""
        return dict(params)

    def curve(self, params: Mapping[str, Any], seed: int) -> Curve:
        """One epoch: the error with one of the table's seeds."""
        found = self._errors[self._index(params)]
        value = float(found[seed % len(found)])
        return Curve(epochs=(Epoch(1, {}, {OBJECTIVE.metric: value}, 1.0),))

    def mean(self, params: Mapping[str, Any]) -> float:
        """The configuration's mean value over the table's seeds."""
        return float(np.mean(self._errors[self._index(params)], dtype=float))

    def _index(self, params: Mapping[str, Any]) -> tuple[int, ...]:
        return tuple(
            options.index(params[n]) if isinstance(options[0], str) else int(params[n])
            for n, options in self._values.items()
        )
