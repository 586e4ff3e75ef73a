"""A Gaussian posterior in closed form: what a learned one must beat.

The parameters, on the real line, are a linear function of the observations and normal noise:
``θ = W [x, mask, 1] + ε`` by ridge regression, with the covariance of what it leaves. Exact where
the simulator is linear and all is Gaussian; else the best linear guess.

Source: Hoerl and Kennard 1970, "Ridge regression".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.config import Config as BaseConfig
from models.config import traced
from models.data.kinds.base import Part
from models.example import Example
from models.family import creator
from models.flows import coordinates, posterior_task, scored_paths
from models.tasks.base import TaskData
from models.training.closed_form import ClosedForm, Solution
from models.training.evaluation import batches

TASKS = ("posterior",)
CLOSED_FORM = True
CAUSAL = False


@dataclass(frozen=True, kw_only=True)
class Ridge(BaseConfig):
    """The regression.

    Attributes:
        ridge: Its penalty, relative to the variance of a standardized observation.
    """

    ridge: float = traced(1e-3, low=0.0)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `linear_posterior`."""

    model: Ridge = field(default_factory=Ridge)


def problem(config: Config, data: TaskData) -> ClosedForm:
    """The thing to be solved.

    Args:
        config: The configuration.
        data: What is known of data and task.
    """
    task, line = posterior_task(data), coordinates(data)
    roles = (*task.takes, *task.gives)

    def features(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """``[N, F]``: standardized observations, 0 where there is none; masks; 1."""
        found = []
        for role in task.takes:
            mean, std = data.statistics.mean[role], data.statistics.std[role]
            mask = np.asarray(batch[f"given.{role}"])
            values = np.where(mask, (np.asarray(batch[role]) - mean) / std, 0.0)
            found += [values.reshape(len(mask), -1)]
            if role in data.reference.gaps:
                found += [mask.reshape(len(mask), -1).astype(float)]
        return np.concatenate([*found, np.ones((len(found[0]), 1))], axis=1)

    def solve(part: Part) -> tuple[Solution, float]:
        rows = part.slice(0, 0, part.lengths[0], roles=roles)
        raw = {role: np.asarray(a, np.float64) for role, a in rows.items()}
        seen = {role: np.isfinite(values) for role, values in raw.items()}
        means = {
            r: np.broadcast_to(data.statistics.mean[r], a.shape) for r, a in raw.items()
        }
        filled = {r: np.where(seen[r], a, means[r]) for r, a in raw.items()}
        x = features({**filled, **{f"given.{r}": m for r, m in seen.items()}})
        there = task.there({**filled, **{f"seen.{r}": m for r, m in seen.items()}})
        theta = np.where(there, line.real(task.vector(filled)), 0.0)
        weights = _ridge(x, theta, config.model.ridge)
        left = np.where(there, theta - x @ weights, 0.0)
        count = np.maximum(there.T.astype(float) @ there, 1.0)
        covariance = _positive(left.T @ left / count)
        solution = {"weights": weights, "covariance": covariance}
        return solution, float(np.sum(left**2) / np.sum(there))

    def outputs(
        solution: Solution, batch: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        mean = features(batch) @ solution["weights"]
        root = np.linalg.cholesky(solution["covariance"])
        draws = mean[:, None] + _noise(batch, task.draws, mean) @ root.T
        return task.parted(line.physical(draws), data)

    def loss(solution: Solution, groups: Sequence[Mapping[str, Any]]) -> float:
        """The error of the Gaussian's velocity, on the paths that flows are scored on."""
        errors, counts = [], []
        cut = [batch for group in groups for batch in batches(dict(group))]
        for number, batch in enumerate(cut):
            there = np.asarray(task.there(batch))
            end = np.where(there, line.real(np.asarray(task.vector(batch))), 0.0)
            paths = scored_paths(number, end)
            mean = features(task.given(dict(batch), data)) @ solution["weights"]
            found = gaussian_velocity(
                paths.point, paths.time, mean, solution["covariance"]
            )
            weight = np.broadcast_to(there[:, None], found.shape)
            errors.append(np.mean((found - paths.velocity)[weight] ** 2))
            counts.append(np.sum(there))
        return float(np.average(errors, weights=counts))

    seen = sum(int(np.prod(data.shapes[role])) for role in task.takes)
    numbers = line.columns
    return ClosedForm(
        signature=(
            __name__,
            config.static_signature(),
            config.model.ridge,
            data.identity,
        ),
        solve=solve,
        outputs=outputs,
        parameters=numbers * (seen + 1) + numbers * (numbers + 1) // 2,
        further={"loss.velocity": loss},
    )


def gaussian_velocity(
    point: np.ndarray, time: np.ndarray, mean: np.ndarray, covariance: np.ndarray
) -> np.ndarray:
    """The velocity that carries standard normal noise to a Gaussian along straight paths.

    ``m + (t Σ - (1-t) I) ((1-t)² I + t² Σ)⁻¹ (x - t m)``.

    Args:
        point: x ``[B, K, P]``.
        time: t ``[B, K]``.
        mean: m ``[B, P]``.
        covariance: Σ ``[P, P]``.

    Source: the mean of a Gaussian given another that it is correlated with.
    """
    variance, axes = np.linalg.eigh(covariance)
    when, left = time[..., None], 1 - time[..., None]
    slope = (when * variance - left) / (left**2 + when**2 * variance)
    away = (point - when * mean[:, None]) @ axes
    found: np.ndarray = mean[:, None] + (slope * away) @ axes.T
    return found


def _ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Weights ``[F, P]``; the last of the features, the constant, is not penalised."""
    penalties = np.full(x.shape[1], penalty * len(x))
    penalties[-1] = 0.0
    found: np.ndarray = np.linalg.lstsq(
        np.concatenate([x, np.diag(np.sqrt(penalties))]),
        np.concatenate([y, np.zeros((x.shape[1], y.shape[1]))]),
    )[0]
    return found


def _positive(covariance: np.ndarray) -> np.ndarray:
    """The covariance with no direction of variance below 10⁻⁸."""
    variance, axes = np.linalg.eigh(covariance)
    found: np.ndarray = (axes * np.maximum(variance, 1e-8)) @ axes.T
    return found


def _noise(batch: Mapping[str, np.ndarray], draws: int, mean: np.ndarray) -> np.ndarray:
    """Normal noise ``[B, draws, P]``: of its own for a row with a number, else one for all."""
    shape = (draws, mean.shape[1])
    if "number" not in batch:
        return np.broadcast_to(
            np.random.default_rng(0).normal(size=shape), (len(mean), *shape)
        )
    numbers = np.asarray(batch["number"]).tolist()
    return np.stack([np.random.default_rng([1, n]).normal(size=shape) for n in numbers])


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task, for the conformance suites."""
    return Example(task=task, config={}, epochs=1)
