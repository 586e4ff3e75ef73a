"""What families share that learn the velocity of a flow from noise to parameters.

In training the times of a batch follow the searched distribution and paths end with the searched
σ. In evaluation every row is looked at `LOOKS` times, at stratified uniform times, with noise
that is the same in every epoch, and paths end with σ = 0: ``loss.velocity`` of validation is one
number for all trials and families of a dataset, less than which nothing can be reached (of a
Gaussian of deviation s about ½ π s a column). The scale in which it is measured is that of the
data's statistics and limits (`models.layers.coordinates`), never searched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from models.config import Config, static, traced
from models.data.bounds import bounds_of
from models.layers.coordinates import Coordinates
from models.losses import Loss, Term, only, squared_error
from models.losses.flow_matching import KINDS, Paths, straight_paths, strata, times
from models.tasks import posterior
from models.tasks.base import TaskData
from models.training.problem import (
    Batch,
    Hyper,
    Outputs,
    Schedule,
    evaluation_key,
)
from models.transforms.batch import Transform

POINT, TIME, VELOCITY = "flow.point", "flow.time", "flow.velocity"
LOOKS = 4
"""Points on paths from noise to each row: of an evaluation; training uses the first."""
_TRAINING = "matching.training"


@dataclass(frozen=True, kw_only=True)
class Matching(Config):
    """When training looks along the paths, and where these end.

    Attributes:
        times: How times are drawn: see `models.losses.flow_matching.times`.
        power: Of ``power``.
        location: Of ``logit_normal``.
        scale: Of ``logit_normal``.
        sigma_min: Deviation of the noise that is left at the end of a path, in train
            standard deviations.
    """

    times: str = static("uniform", choices=KINDS)
    power: float = traced(1.0, low=0.0)
    location: float = traced(0.0)
    scale: float = traced(1.0, low=1e-3)
    sigma_min: float = traced(1e-4, low=0.0, high=0.5)

    def unused(self) -> frozenset[str]:
        """The fields of the other distributions."""
        own = {"power": {"power"}, "logit_normal": {"location", "scale"}}
        return frozenset({"power", "location", "scale"} - own.get(self.times, set()))

    def schedules(self) -> dict[str, Schedule]:
        """Uniform times and paths that end in the data, wherever something is scored."""
        return {
            _TRAINING: Schedule(function=_one, evaluation=0.0),
            "matching.sigma_min": Schedule(function=_sigma, evaluation=0.0),
        }

    def targets(self, data: TaskData) -> Transform:
        """Draws `POINT`, `TIME` and `VELOCITY` ``[B, LOOKS, …]`` on paths to a batch.

        Args:
            data: Of the task; paths end in its vector of parameters, on the real line.
        """
        task, line = posterior_task(data), coordinates(data)

        def ends(batch: Batch) -> Array:
            return line.real(task.vector(batch))

        unused = self.unused()
        names = [n for n in ("power", "location", "scale") if n not in unused]
        values = {n: f"matching.{n}" for n in names}
        return Transform(
            function=partial(_draw, ends=ends, kind=self.times),
            values={
                "training": _TRAINING,
                "sigma": "matching.sigma_min",
                **values,
            },
        )


def matching_loss(task: posterior.Task) -> Loss:
    """Mean squared error of ``velocity`` ``[B, K, …]``, K looks of those of the batch.

    Args:
        task: Tells which parameters a row has.
    """

    def velocity(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        del hyper
        return velocity_error(outputs["velocity"], batch[VELOCITY], task.there(batch))

    def count(batch: Batch, hyper: Hyper) -> Int[Array, ""]:
        del hyper
        return jnp.sum(task.there(batch), dtype=jnp.int32)

    return Loss(terms={"velocity": Term(function=velocity, count=count)})


def velocity_error(
    found: Float[Array, "row look parameter"],
    wanted: Float[Array, "row looks parameter"],
    there: Bool[Array, "row parameter"],
) -> Float[Array, ""]:
    """The mean squared error over parameters that are there, at the first looks of a row."""
    found, wanted = only(
        jnp.broadcast_to(there[:, None], found.shape),
        found,
        wanted[:, : found.shape[1]],
    )
    count = found.shape[1] * jnp.sum(there).astype(found.dtype)
    return jnp.sum(squared_error(found, wanted)) / count


class Flow(Protocol):
    """What carries noise to parameters, given what was read of a row's observations."""

    coordinates: Coordinates

    def velocity(
        self, points: Any, times: Any, context: Any, *, key: Key[Array, ""] | None
    ) -> Array:
        """The velocity ``[B, K, P]`` at points and times; a key switches dropout on."""
        ...

    def sample(self, noise: Any, context: Any) -> Array:
        """Draws ``[B, draws, P]`` in physical units that begin as noise."""
        ...


def looked_at(
    model: Flow, batch: Batch, context: Any, *, looks: int, key: Key[Array, ""] | None
) -> dict[str, Array]:
    """The velocity at the first looks of a batch; nothing in prediction, where none are drawn.

    Args:
        model: The flow.
        batch: As the model sees it.
        context: Of its rows.
        looks: How many of each row's.
        key: Switches dropout on.
    """
    if POINT not in batch:
        return {}
    points, times = batch[POINT][:, :looks], batch[TIME][:, :looks]
    return {"velocity": model.velocity(points, times, context, key=key)}


def drawn(
    model: Flow, batch: Batch, context: Any, *, key: Key[Array, ""], data: TaskData
) -> dict[str, Array]:
    """Draws by role, in prediction and where the task scores some.

    Args:
        model: The flow.
        batch: As the model sees it.
        context: Of its rows.
        key: Of the batch.
        data: Of the task.
    """
    task = posterior_task(data)
    if POINT in batch and not task.scored_draws:
        return {}
    noise = starts(key, batch, task=task, shape=(model.coordinates.columns,))
    return task.parted(model.sample(noise, context), data)


def posterior_task(data: TaskData) -> posterior.Task:
    """The task of data, which is one of posteriors."""
    assert isinstance(data.task, posterior.Task), "families are asked for their TASKS"
    return data.task


def coordinates(data: TaskData) -> Coordinates:
    """The real line of a task's vector of parameters."""
    task, settings = posterior_task(data), data.reference.settings
    mean, std = task.scale(data)
    limits: list[Any] = []
    for role in task.gives:
        shape = data.shapes[role]
        limits += bounds_of(settings, role, shape[-1]) * math.prod(shape[:-1])
    return Coordinates(
        tuple(np.asarray(mean).tolist()), tuple(np.asarray(std).tolist()), tuple(limits)
    )


def scored_paths(number: int, end: Float[np.ndarray, "row ..."]) -> Paths:
    """The paths on which a batch is scored in every epoch, for models solved by numpy.

    Args:
        number: Of the batch within its part.
        end: Where the paths end, on the real line.

    Returns:
        In float64.
    """
    key = jax.random.fold_in(jax.random.fold_in(evaluation_key(number), 1), 0)
    ends = jnp.asarray(end, jnp.zeros(()).dtype)
    noise, numbers = _random(key, ends)
    paths = straight_paths(noise, ends, numbers, sigma=jnp.zeros((), ends.dtype))
    return Paths(*(np.asarray(a, np.float64) for a in paths))


def _draw(
    key: Key[Array, ""],
    batch: Batch,
    step: Int[Array, ""],
    *,
    ends: Callable[[Batch], Array],
    kind: str,
    training: Float[Array, ""],
    sigma: Float[Array, ""],
    **values: Float[Array, ""],
) -> Batch:
    """The batch with points on paths; see `Matching.targets`."""
    del step
    end = ends(batch)
    noise, numbers = _random(key, end)
    when = jnp.where(training > 0, times(numbers, kind, **values), numbers)
    paths = straight_paths(noise, end, when, sigma=sigma)
    return batch | {POINT: paths.point, TIME: paths.time, VELOCITY: paths.velocity}


def _random(key: Key[Array, ""], end: Array) -> tuple[Array, Array]:
    """Noise ``[B, LOOKS, …]`` and uniform numbers ``[B, LOOKS]``."""
    first, second = jax.random.split(key)
    noise = jax.random.normal(first, (len(end), LOOKS, *end.shape[1:]), end.dtype)
    return noise, strata(second, len(end), LOOKS).astype(end.dtype)


def starts(
    key: Key[Array, ""], batch: Batch, *, task: posterior.Task, shape: tuple[int, ...]
) -> Float[Array, "row draw ..."]:
    """The noise that the draws of a batch begin with.

    Rows that are scored begin with noise of their own, as do rows with a ``number``. Those
    of a prediction all begin with the same: so the draws of a row do not depend on which
    rows come with it.

    Args:
        key: Of the batch.
        batch: Of scoring, or of prediction.
        task: Tells how many draws there are.
        shape: Of one draw.
    """
    rows = len(batch[task.observations])
    if POINT in batch:
        return jax.random.normal(key, (rows, task.scored_draws, *shape))
    each = (task.draws, *shape)
    if "number" not in batch:
        return jnp.broadcast_to(jax.random.normal(key, each)[None], (rows, *each))

    def own(number: Array) -> Array:
        return jax.random.normal(jax.random.fold_in(key, number), each)

    return jax.vmap(own)(batch["number"])


def _one(hyper: Hyper, fraction: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.ones_like(fraction)


def _sigma(hyper: Hyper, fraction: Float[Array, ""]) -> Float[Array, ""]:
    return hyper["matching.sigma_min"]
