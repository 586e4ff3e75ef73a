"""The last value that was seen, repeated: what every forecast must beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from models.config import Config as BaseConfig
from models.data.kinds.base import Part
from models.example import Example
from models.family import creator
from models.forecasting import Frame, LookBack, carried, seen_of
from models.tasks.base import TaskData
from models.training.closed_form import ClosedForm, Solution

TASKS = ("forecast",)
CLOSED_FORM = True
CAUSAL = False


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `last_value`.

    Its window matters where values are missing: how far back one may lie.
    """

    data: LookBack = field(default_factory=LookBack)


def problem(config: Config, data: TaskData) -> ClosedForm:
    """The thing to be solved: nothing but the units, in which the train part's error is told.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: Nothing is left of a window to look back on.
    """
    frame = Frame.of(data, config.data)

    def solve(part: Part) -> tuple[Solution, float]:
        y = (np.asarray(part.load(0)["y"], float) - frame.mean) / frame.std
        squared = [
            np.nanmean((y[step:] - y[:-step]) ** 2)
            for step in range(1, frame.horizon + 1)
        ]
        return {"std": frame.std}, float(np.mean(squared))

    def outputs(
        solution: Solution, batch: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        del solution
        last = carried(frame.recent(batch, "y"), seen_of(batch, frame))[:, -1:]
        return frame.whole(batch, np.repeat(last, frame.horizon, axis=1))

    return ClosedForm(
        signature=("last_value", config.static_signature(), data.identity),
        solve=solve,
        outputs=outputs,
        parameters=len(frame.std),
        lead=frame.look_back,
    )


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(task=task, config={"data.window": 24}, epochs=1)
