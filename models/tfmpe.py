"""Tokenized flow matching for posteriors: a transformer over parameters and observations.

Parameters and observations of a row are tokens (`models.row_tokens`); a transformer
(`models.layers.token_network`) tells the velocity of the parameters' tokens, on which noise is
carried to draws. Rows of any number of sites go through one program. The joint posterior learns
from the simulated rows, or bottom up through a surrogate of single sites (`models.bottom_up`).

Sources: tfmpe (mrc-ide and giovannic, 2025 and 2026; arXiv 2604.20723); Wildberger et al. 2023,
"Flow matching for scalable simulation-based inference".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from models.bottom_up import FRESH, NOW, TRUTH, Scheme, Surrogate
from models.config import Config as BaseConfig
from models.config import static
from models.data.rows import Rows
from models.example import Example
from models.family import creator
from models.flows import (
    LOOKS,
    Matching,
    coordinates,
    drawn,
    looked_at,
    matching_loss,
    posterior_task,
)
from models.layers.dropout import split_key
from models.layers.flow import Solver, log_density, transported_draws
from models.layers.initialization import initialize
from models.layers.normalization import Standardize
from models.layers.token_network import Network, TokenNetwork
from models.losses import Loss, Term
from models.row_tokens import Context, Layout
from models.tasks import posterior
from models.tasks.base import TaskData
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Hyper, Outputs, Problem, Transforms

TASKS = ("posterior",)
CLOSED_FORM = False
CAUSAL = False


@dataclass(frozen=True, kw_only=True)
class Seen(BaseConfig):
    """How observations become tokens.

    Attributes:
        tokens: ``each``: one for every observation, the last axis its numbers, so that
            attention can weigh them by what is known of each; ``site``: one for all
            observations of a site, or of a row without sites, which makes fewer tokens.
        shuffled: Whether sites change places from one training batch to the next: true where
            no site differs from another but by its parameters, as in every simulator of the
            house. A network tells sites apart by their place, and would learn by heart what
            happened to be at each.
    """

    tokens: str = static("each", choices=("each", "site"))
    shuffled: bool = static(True)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the family `tfmpe`."""

    model: Network = field(default_factory=Network)
    seen: Seen = field(default_factory=Seen)
    scheme: Scheme = field(default_factory=Scheme)
    matching: Matching = field(default_factory=Matching)
    solver: Solver = field(default_factory=Solver)
    data: Rows = field(default_factory=lambda: Rows(batch_size=64))
    optimizer: Optimizer = field(default_factory=Optimizer)


class Model(nnx.Module):
    """The velocity of parameters on the real line, given observations.

    Args:
        config: The family's configuration.
        data: Of the task; gives units, sizes and the prior's limits.
        key: Randomness of the initial weights.
    """

    def __init__(self, *, config: Config, data: TaskData, key: Key[Array, ""]) -> None:
        self.task, self.solver = posterior_task(data), config.solver
        self.coordinates = coordinates(data)
        self.layout = Layout.of(data, self.task, whole=config.seen.tokens == "site")
        self.observed = nnx.List(
            Standardize.of(data.statistics, role) for role in self.task.takes
        )
        self.network = TokenNetwork(
            config=config.model,
            slices=self.layout.slices,
            targets=self.layout.parameters,
            inputs=self.layout.input_width,
        )
        self.surrogate = (
            Surrogate(scheme=config.scheme, network=config.model, layout=self.layout)
            if config.scheme.kind == "bottom_up"
            else None
        )
        initialize(self, key)

    def encode(self, given: Batch) -> Context:
        """What is known of each row, in standard deviations."""
        found = []
        for role, standardize in zip(self.task.takes, self.observed, strict=True):
            values = given[role]
            flat = values.reshape(len(values), -1, values.shape[-1])
            found.append(standardize(flat).reshape(values.shape))
        there = given[f"given.{self.task.observations}"]
        inputs = found[1] if len(found) > 1 else None
        return Context(jnp.where(there, found[0], 0.0), there, inputs)

    def velocity(
        self,
        points: Float[Array, "row look parameter"],
        times: Float[Array, "row look"],
        context: Context,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "row look parameter"]:
        """The velocity at points and times; a key switches dropout on."""
        rows, looks, numbers = points.shape
        every = jax.tree.map(lambda a: jnp.repeat(a, looks, axis=0), context)
        tokens = self.layout.tokens(points.reshape(rows * looks, numbers), every)
        flat = self.network(
            tokens, targets=self.layout.parameters, time=times.reshape(-1), key=key
        )
        return self.layout.vector(flat).reshape(points.shape)

    def sample(
        self, noise: Float[Array, "row draw parameter"], context: Context
    ) -> Float[Array, "row draw parameter"]:
        """Draws in physical units that begin as noise; of no meaning where a site is missing."""
        carried = transported_draws(self._single, noise, context, solver=self.solver)
        return self.coordinates.physical(carried)

    def log_prob(
        self,
        values: Float[Array, "row parameter"],
        given: Batch,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, " row"]:
        """Log density of the parameters that rows have, given each row's observations.

        Args:
            values: One vector a row, in physical units; of missing sites any number.
            given: Observations, and what of them is there.
            key: Estimates the divergence by random probes, drawn for each row by itself; None
                computes it exactly.
        """
        context = self.encode(given)
        there = self.layout.parameters_there(context)
        mean = jnp.asarray(self.coordinates.mean, values.dtype)
        places = self.coordinates.real(jnp.where(there, values, mean[None]))
        # And there they stay: the velocity of what is missing is zero.
        places = jnp.where(there, places, 0.0)
        found = log_density(
            self._single_there, places, (context, there), solver=self.solver, key=key
        )
        absent = jnp.sum(~there, axis=-1, dtype=jnp.int32).astype(found.dtype)
        normal = found + 0.5 * math.log(2 * math.pi) * absent
        slopes = jnp.where(there, self.coordinates.log_slopes(places), 0.0)
        return normal - jnp.sum(slopes, axis=-1)

    def _single(self, point: Array, time: Array, context: Context) -> Array:
        """The velocity at one point."""
        one = jax.tree.map(lambda a: a[None], context)
        return self.velocity(point[None, None], time[None, None], one)[0, 0]

    def _single_there(self, point: Array, time: Array, known: Any) -> Array:
        """As `_single`, zero for parameters that are not there."""
        context, there = known
        return jnp.where(there, self._single(point, time, context), 0.0)


def problem(config: Config, data: TaskData) -> Problem:
    """The thing to be learned.

    Args:
        config: The configuration.
        data: What is known of data and task.
    """
    task, bottom_up = posterior_task(data), config.scheme.kind == "bottom_up"

    def forward(
        model: Model,
        batch: Batch,
        *,
        key: Key[Array, ""],
        training: bool,
        carry: Any,
        hyper: Hyper,
    ) -> tuple[Outputs, Any]:
        context = model.encode(batch)
        outputs: dict[str, Any] = {}
        dropping, drawing, matching = split_key(key, 3)
        if TRUTH in batch:
            assert model.surrogate is not None and drawing is not None
            outputs["surrogate"] = model.surrogate.error(
                batch[TRUTH], context, key=matching, training=training
            )
            if training:
                context = _redrawn(model.surrogate, batch, context, drawing, hyper)
        # What a surrogate has drawn at some cost is looked at more than once.
        looks = 1 if training and not bottom_up else LOOKS
        dropping = dropping if training else None
        outputs |= looked_at(model, batch, context, looks=looks, key=dropping)
        if not training:
            outputs |= drawn(model, batch, context, key=key, data=data)
        return outputs, carry

    return Problem(
        signature=(__name__, config.static_signature(), data.identity),
        build=lambda key: Model(config=config, data=data, key=key),
        forward=forward,
        loss=_loss(task, bottom_up),
        metrics=task.metrics(data),
        hyper=config.traced(),
        optimizer=config.optimizer,
        schedules={**config.matching.schedules(), **config.scheme.schedules()},
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        augmentations=_augmentations(config.seen, task),
        targets=(config.scheme.around(config.matching.targets(data), data),),
    )


def _augmentations(seen: Seen, task: posterior.Task) -> Transforms:
    """What training changes of its batches: the places of sites, where they may change."""
    if task.local is None or not seen.shuffled:
        return ()
    roles = [role for role in (*task.gives, *task.takes) if role != task.parameters]

    def shuffled(key: Key[Array, ""], batch: Batch, step: Int[Array, ""]) -> Batch:
        del step
        names = [n for r in roles for n in (r, f"seen.{r}") if n in batch]
        order = jax.random.permutation(key, batch[names[0]].shape[1])
        return batch | {name: batch[name][:, order] for name in names}

    return (shuffled,)


def _redrawn(
    surrogate: Surrogate, batch: Batch, context: Context, key: Any, hyper: Hyper
) -> Context:
    """Observations that the joint learns from: the surrogate's, once it is its turn."""

    def fresh(context: Context) -> Context:
        return surrogate.drawn(batch[FRESH], context, key=key)

    drawn = jax.lax.cond(hyper[NOW] > 0, fresh, lambda context: context, context)
    return jax.tree.map(jax.lax.stop_gradient, drawn)


def _loss(task: posterior.Task, bottom_up: bool) -> Loss:
    """The error of the joint's velocity, and that of the surrogate over sites there are."""
    loss = matching_loss(task)
    if not bottom_up:
        return loss

    def count(batch: Batch, hyper: Hyper) -> Int[Array, ""]:
        del hyper
        seen = batch.get(f"seen.{task.observations}")
        if seen is None:
            seen = jnp.ones(batch[task.observations].shape, bool)
        sites = math.prod(seen.shape[: 2 if task.local else 1])
        there = jnp.any(seen.reshape(sites, -1), axis=-1)
        return jnp.sum(there, dtype=jnp.int32)

    def error(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        total = jnp.sum(outputs["surrogate"])  # zero at what is not there
        return total / jnp.maximum(count(batch, hyper), 1).astype(total.dtype)

    surrogate = Term(function=error, count=count)
    return Loss(terms={**loss.terms, "surrogate": surrogate})


create = creator(__name__)


def example(task: str) -> Example:
    """A tiny problem of a task with sites, for the conformance suites."""
    return Example(
        task=task,
        config={
            "model.size": 8,
            "model.blocks": 2,
            "model.heads": 2,
            "model.frequencies": 2,
            "model.inputs": 2,
            "seen.tokens": "each",
            "solver.steps": 2,
            "data.batch_size": 32,
            "data.batches": 4,
        },
        settings={"local": "local", "inputs": "f"},
        write=posterior.Task.write_sites,
    )
