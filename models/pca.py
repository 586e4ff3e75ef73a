"""Principal components in closed form, of rows with gaps: what a learned code must beat.

`size` numbers, none of them rounded, carry each row. With entries hidden it is the mean of a
Gaussian given the others, of a covariance of `size` components and noise.

Source: `models.layers.principal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from models.closed_rows import Flat, mean_square
from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.kinds.base import Part
from models.example import Example
from models.family import creator
from models.layers.principal import Components, principal_components
from models.tasks import reconstruction
from models.tasks.base import TaskData
from models.training.closed_form import ClosedForm, Solution

TASKS = ("reconstruction",)
CLOSED_FORM = True
CAUSAL = False


@dataclass(frozen=True, kw_only=True)
class Principal(BaseConfig):
    """The code.

    Attributes:
        size: Numbers of it.
        shrink: How strongly codes are drawn to zero: 1 as the noise that was found says, which
            suits hidden entries; 0 for the nearest row that a code stands for.
        stride: Time steps between the starts of train windows, where the data is windows of
            longer recordings; None for windows that follow one another.
    """

    size: int = static(8, low=1)
    shrink: float = traced(1.0, low=0.0)
    stride: int | None = static(None, low=1)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `pca`."""

    model: Principal = field(default_factory=Principal)


def problem(config: Config, data: TaskData) -> ClosedForm:
    """The thing to be solved.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: The code is no smaller than a row.
    """
    task, model = data.task, config.model
    assert isinstance(task, reconstruction.Task), "families are asked for their TASKS"
    flat = Flat.of(data, task.role, stride=model.stride)
    flat.check(model.size)

    def solve(part: Part) -> tuple[Solution, float]:
        rows, mask = flat.part(part)
        found = principal_components(rows, mask, size=model.size)
        again = found.rows(found.codes(rows, mask, shrink=model.shrink))
        return solution_of(found), mean_square(rows, again, mask)

    def outputs(
        solution: Solution, batch: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        found = components_of(solution)

        def again(batch: Mapping[str, np.ndarray]) -> np.ndarray:
            codes = found.codes(*flat.given(batch), shrink=model.shrink)
            return flat.rows(found.rows(codes))

        return {name: again(shown) for name, shown in task.tries(batch, data).items()}

    return ClosedForm(
        signature=("pca", config.static_signature(), model.shrink, data.identity),
        solve=solve,
        outputs=outputs,
        parameters=flat.size * (model.size + 1) + 1,
    )


def solution_of(found: Components) -> dict[str, np.ndarray]:
    """Components as a solution, to be saved."""
    return {
        "mean": found.mean,
        "weights": found.weights,
        "noise": np.array([found.noise]),
    }


def components_of(solution: Solution) -> Components:
    """The inverse of `solution_of`."""
    return Components(
        mean=solution["mean"],
        weights=solution["weights"],
        noise=float(solution["noise"][0]),
    )


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(task=task, config={"model.size": 2}, epochs=1)
