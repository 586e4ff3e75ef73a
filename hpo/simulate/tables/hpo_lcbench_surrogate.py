"""LCBench as YAHPO Gym's surrogate: any configuration of a small network has a curve.

Zimmer, Lindauer and Hutter, "Auto-PyTorch Tabular", TPAMI 2021; Pfisterer et al., "YAHPO
Gym", AutoML 2022. A fitted network in place of measurements: smooth, without noise, and so
kind to samplers that build models. Needs `onnxruntime` (extra `surrogate`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution

from hpo.errors import StudyError
from hpo.search.unit import value_at
from hpo.simulate.task import Curve, Task, usual_seconds
from hpo.study import Objective
from models.errors import DataError
from models.training.protocol import Epoch
from search_spaces.space import Space

SUMMARY = "34 data sets, 7 dimensions, 51 epochs; a surrogate (needs `onnxruntime`)"
EPOCHS = 51  # the surrogate's epochs 2 to 52; its first one is before training
REFERENCES = 1000  # Sobol' points that give the scale of regret
_GLANCE = (2, 4, 6, 9, 12, 16, 22, 28, 34, 40, 46, 52)  # epochs looked at of each
_CLOSELY = 20  # how many of them, the best at a glance, are looked at in full
_SAMPLED = 64  # reference points whose seconds say how long a full run takes
_TIME, _ACCURACY = 0, 1  # columns of the model's output
SPACE = Space(  # as config_space.json has it
    {
        "batch_size": IntDistribution(16, 512, log=True),
        "learning_rate": FloatDistribution(1e-4, 0.1, log=True),
        "momentum": FloatDistribution(0.1, 0.99),
        "weight_decay": FloatDistribution(1e-5, 0.1),
        "num_layers": IntDistribution(1, 5),
        "max_units": IntDistribution(64, 1024, log=True),
        "max_dropout": FloatDistribution(0.0, 1.0),
    }
)
OBJECTIVE = Objective(metric="error", unit="%")


def open_table(folder: Path) -> LCBench:
    """The surrogate in that folder.

    Raises:
        StudyError: `onnxruntime` is missing.
        DataError: A file is missing or damaged.
    """
    if find_spec("onnxruntime") is None:
        raise StudyError(
            "the table `hpo_lcbench_surrogate` needs `onnxruntime`, which is not installed",
            hint="`pip install 'hpo-harness[surrogate]'`",
        )
    return LCBench(folder)


class LCBench:
    """Validation error in per cent, by epoch, for 34 data sets of OpenML.

    Args:
        folder: With ``model.onnx``, ``encoding.json`` and ``config_space.json``.
    """

    name = "hpo_lcbench_surrogate"
    remarks = ("a fitted surrogate: smooth, so it flatters model-based samplers",)

    def __init__(self, folder: Path) -> None:
        try:
            codes = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
            listed = json.loads((folder / "config_space.json").read_text())
            tasks = next(
                h["choices"]
                for h in listed["hyperparameters"]
                if h["name"] == "OpenML_task_id"
            )
            self._session = _session(folder / "model.onnx")
        except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
            raise DataError(
                f"{folder} does not hold the LCBench surrogate: {error}",
                hint="it has model.onnx, encoding.json and config_space.json of "
                "slds-lmu/yahpo_data, lcbench/",
            ) from error
        self.tasks = tuple(str(t) for t in tasks)
        self.chosen_on = self.tasks[::2]
        self._codes = {t: int(codes[t]) for t in self.tasks}

    def task(self, name: str) -> Task:
        """One data set; its scale comes from 1,000 Sobol' points."""
        curves = _Surrogate(self._session, self._codes[name])
        best, median = curves.scale()
        return Task(
            name=name,
            curves={self.name: curves},
            epochs=EPOCHS,
            objective=OBJECTIVE,
            best=best,
            median=median,
            seconds=usual_seconds(curves.sample()),
        )


class _Surrogate:
    """Curves of one data set."""

    space = SPACE
    size: int | None = None

    def __init__(self, session: Any, code: int) -> None:
        self._session = session
        self._code = code
        self._known: dict[tuple[float, ...], Curve] = {}

    def place(
        self, params: Mapping[str, Any], *, seed: int, uniform: bool, taken: set[int]
    ) -> dict[str, Any]:
        """Every point has a curve."""
        return dict(params)

    def curve(self, params: Mapping[str, Any], seed: int) -> Curve:
        """Without noise: the seed changes nothing."""
        point = tuple(float(params[n]) for n in SPACE.distributions)
        if point not in self._known:
            found = self._ask([point], range(2, EPOCHS + 2))[0]
            seconds = np.maximum(np.diff(found[:, _TIME], prepend=0.0), 0.0)
            error = 100.0 - found[:, _ACCURACY].astype(float)
            self._known[point] = Curve(
                epochs=tuple(
                    Epoch(i + 1, {}, {"error": float(e)}, float(s))
                    for i, (e, s) in enumerate(zip(error, seconds, strict=True))
                )
            )
        return self._known[point]

    def sample(self) -> list[Curve]:
        """The curves of a few reference points."""
        names = tuple(SPACE.distributions)
        points = (dict(zip(names, p, strict=True)) for p in _sobol()[:_SAMPLED])
        return [self.curve(point, 0) for point in points]

    def scale(self) -> tuple[float, float]:
        """The best and the median value of the reference points.

        A point's value is its best epoch: of twelve epochs for all points, of all epochs for
        the best ones.
        """
        points = _sobol()
        errors = (100.0 - self._ask(points, _GLANCE)[:, :, _ACCURACY]).min(axis=1)
        closely = [points[i] for i in np.argsort(errors)[:_CLOSELY]]
        full = 100.0 - self._ask(closely, range(2, EPOCHS + 2))[:, :, _ACCURACY]
        return float(full.min()), float(np.median(errors))

    def _ask(self, points: Sequence[Sequence[float]], epochs: Sequence[int]) -> Any:
        """The model's outputs, ``(point, epoch, column)``."""
        count, steps = len(points), len(epochs)
        rows = np.empty((count, steps, 8), np.float32)
        rows[:, :, 0] = np.asarray(epochs)
        rows[:, :, 1:] = np.asarray(points, np.float32)[:, None, :]
        codes = np.full((count * steps, 1), self._code, np.int32)
        given = {"x_cat": codes, "x_cont": rows.reshape(-1, 8)}
        (found,) = self._session.run(None, given)
        return found.reshape(count, steps, -1)


@lru_cache(maxsize=1)
def _sobol() -> list[tuple[float, ...]]:
    from scipy.stats.qmc import Sobol

    cube = Sobol(len(SPACE.distributions), seed=0).random_base2(10)[:REFERENCES]
    return [
        tuple(
            float(value_at(d, float(u)))
            for d, u in zip(SPACE.distributions.values(), row, strict=True)
        )
        for row in cube
    ]


def _session(path: Path) -> Any:
    import onnxruntime

    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own tree of errors has no public base
        raise ValueError(f"{path.name} is damaged: {error}") from error
