"""Product and residual codes of principal components, in closed form: rows as a few bits.

`groups` × `stages` tokens of `bits` each carry a row: what learned tokens must beat at equal bits.

Sources: `models.layers.principal`, `models.layers.product_codes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from models.closed_rows import Flat, mean_square
from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.kinds.base import Part
from models.errors import ConfigError
from models.example import Example
from models.family import creator
from models.layers.principal import principal_components
from models.layers.product_codes import fit_codes, tokens_of, vectors_of
from models.pca import components_of, solution_of
from models.tasks import reconstruction
from models.tasks.base import TaskData
from models.training.closed_form import ClosedForm, Solution

TASKS = ("reconstruction",)
CLOSED_FORM = True
CAUSAL = False


@dataclass(frozen=True, kw_only=True)
class ProductCode(BaseConfig):
    """The code.

    Attributes:
        size: Principal components that are quantized.
        groups: Of components, each with codebooks of its own.
        stages: Codebooks of a group, each for what the one before left over.
        bits: Of one token.
        shrink: How strongly components are drawn to zero before (`models.pca`).
        stride: Of train windows (`models.pca`).
    """

    size: int = static(8, low=1)
    groups: int = static(4, low=1)
    stages: int = static(1, low=1)
    bits: int = static(4, low=1, high=12)
    shrink: float = traced(1.0, low=0.0)
    stride: int | None = static(None, low=1)

    def validate(self) -> None:
        """Refuse groups without any component."""
        if self.groups > self.size:
            raise ConfigError(
                f"every group needs a component, got `model.groups` {self.groups} and "
                f"`model.size` {self.size}",
                hint="lower `model.groups`, or raise `model.size`",
            )


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `pq`."""

    model: ProductCode = field(default_factory=ProductCode)


def problem(config: Config, data: TaskData) -> ClosedForm:
    """The thing to be solved.

    Args:
        config: The configuration.
        data: What is known of data and task.

    Raises:
        ConfigError: There are as many components as a row has numbers.
    """
    task, model = data.task, config.model
    assert isinstance(task, reconstruction.Task), "families are asked for their TASKS"
    flat = Flat.of(data, task.role, stride=model.stride)
    flat.check(model.size)

    def decoded(solution: Solution, rows: np.ndarray, mask: np.ndarray) -> np.ndarray:
        found, scale = components_of(solution), _unscaled(solution)
        codes = found.codes(rows, mask, shrink=model.shrink) * scale
        tokens = tokens_of(codes, solution["books"])
        vectors = vectors_of(tokens, solution["books"], size=model.size)
        return found.rows(vectors / scale)

    def solve(part: Part) -> tuple[Solution, float]:
        rows, mask = flat.part(part)
        found = principal_components(rows, mask, size=model.size)
        solution = solution_of(found)
        codes = found.codes(rows, mask, shrink=model.shrink) * _unscaled(solution)
        solution["books"] = fit_codes(
            codes, groups=model.groups, bits=model.bits, stages=model.stages
        )
        return solution, mean_square(rows, decoded(solution, rows, mask), mask)

    def outputs(
        solution: Solution, batch: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        return {
            name: flat.rows(decoded(solution, *flat.given(shown)))
            for name, shown in task.tries(batch, data).items()
        }

    return ClosedForm(
        signature=("pq", config.static_signature(), model.shrink, data.identity),
        solve=solve,
        outputs=outputs,
        parameters=flat.size * (model.size + 1)
        + 1
        + model.stages * 2**model.bits * model.size,
        facts={"carried": float(model.groups * model.stages * model.bits)},
    )


def _unscaled(solution: Solution) -> np.ndarray:
    """Length of every component, so that distances of codes are those of rows."""
    lengths = np.linalg.norm(solution["weights"], axis=0)
    return np.where(lengths > 0, lengths, 1.0)


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(
        task=task,
        config={"model.size": 2, "model.groups": 2, "model.bits": 3},
        epochs=1,
    )
