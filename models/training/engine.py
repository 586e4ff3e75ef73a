"""The compiled part of training: what the epochs of every kind of optimizer share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from models.training.evaluation import Evaluation
from models.training.problem import Batch, Problem
from models.training.state import HORIZON, Best, TrainState
from models.transforms.batch import apply_transforms

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True, kw_only=True)
class Engine(ABC):
    """The pure functions of one problem and one feed.

    A final class of it says how an epoch trains: `models.training.gradients` by an update
    for every batch, `models.training.least_squares` by one step for all of them.

    Attributes:
        problem: What is learned.
        graph: The model's structure.
        feed: Gives ``order(key)`` and ``batch(arrays, indices)``; its arrays are passed in.
        objective: Name of the metric that decides which epoch is best.
        direction: Whether that metric is minimised or maximised.
    """

    problem: Problem
    graph: nnx.GraphDef
    feed: Any
    objective: str
    direction: Direction

    @property
    def evaluation(self) -> Evaluation:
        """The same model in evaluation mode."""
        return Evaluation(problem=self.problem, graph=self.graph)

    @abstractmethod
    def step(
        self, state: TrainState, batch: Batch
    ) -> tuple[TrainState, dict[str, Array]]:
        """One update by one batch.

        Returns:
            The state, and by name at least ``loss`` and ``finite``; a step that is not
            finite changes no parameter.
        """

    @abstractmethod
    def train(
        self, state: TrainState, arrays: Mapping[str, Array]
    ) -> tuple[TrainState, dict[str, Array]]:
        """One epoch with the data on the device.

        Returns:
            The state, and by name at least ``loss`` and ``skipped``, the refused updates.
        """

    @abstractmethod
    def influence(self, state: TrainState) -> Any:
        """A number for every parameter, zero exactly where no batch so far depended on it.

        Returns:
            A tree like ``state.params``.
        """

    def order(self, state: TrainState) -> Int[Array, "batches batch"]:
        """Which windows the next epoch sees, in which order."""
        key = jax.random.fold_in(_key(state.keys["order"]), state.epoch)
        return self.feed.order(key)

    def score(
        self, state: TrainState, best: Best, groups: tuple[Batch, ...]
    ) -> tuple[Best, dict[str, Array]]:
        """Validate, and keep the parameters if this epoch is the best so far."""
        params = state.average if self.problem.averaged else state.params
        values = self.evaluation.metrics(params, state.variables, state.hyper, groups)
        value = values[self.objective].astype(best.value.dtype)
        ahead = (
            value < best.value if self.direction == "minimize" else value > best.value
        )
        better = jnp.isfinite(value) & (jnp.isnan(best.value) | ahead)
        fresh = Best(value, state.epoch, params, state.variables)
        return choose(better, fresh, best), values

    def begin(
        self, state: TrainState, best: Best, batch: Batch
    ) -> tuple[TrainState, Best]:
        """Let the problem start the new model from a first training batch."""
        assert self.problem.start is not None, "called only where it is there"
        problem, key = self.problem, self.noise(state, 0)
        batch = apply_transforms(
            problem.transforms, key=key, batch=batch, step=state.step, hyper=state.hyper
        )
        model = nnx.merge(self.graph, state.params, state.variables, copy=True)
        problem.start(
            model, problem.given(batch), key=self.noise(state, 2), hyper=state.hyper
        )
        _, params, variables = nnx.split(model, nnx.Param, ...)
        params, variables = nnx.to_pure_dict(params), nnx.to_pure_dict(variables)
        # Copies: the state's own buffers are given away (donated) in the first epoch.
        average = None if state.average is None else _copied(params)
        state = state._replace(params=params, variables=variables, average=average)
        best = best._replace(params=_copied(params), variables=_copied(variables))
        return state, best

    def fraction(self, state: TrainState) -> Float[Array, ""]:
        """Where in the horizon a step is: its middle.

        So a warm-up does not waste the first one, and a decay not the last.
        """
        horizon = state.hyper[HORIZON]
        return (state.step.astype(horizon.dtype) + 0.5) / horizon

    def augmented(
        self, state: TrainState, batch: Batch, *, hyper: Mapping[str, Array]
    ) -> Batch:
        """A training batch after the problem's transforms and augmentations.

        Args:
            state: Of the step that it is for.
            batch: As it was fed.
            hyper: Traced values and schedules of that step, by name.
        """
        purposes = (self.problem.transforms, self.problem.augmentations)
        for place, transforms in enumerate(purposes):
            key = self.noise(state, place)
            batch = apply_transforms(
                transforms, key=key, batch=batch, step=state.step, hyper=hyper
            )
        return batch

    def next_batch(self, state: TrainState, batch: Batch) -> Batch:
        """The batch of the next step as the loss meets it, from what is fed to it."""
        hyper = self.problem.scheduled(state.hyper, self.fraction(state))
        return self.augmented(state, batch, hyper=hyper)

    def noise(self, state: TrainState, purpose: int) -> Key[Array, ""]:
        """A key for one of three purposes in this step, by a single hash."""
        place = state.step.astype(jnp.uint32) * 3 + purpose
        return jax.random.fold_in(_key(state.keys["noise"]), place)


def choose(condition: Bool[Array, ""], first: Any, second: Any) -> Any:
    """One of two trees of equal structure.

    Args:
        condition: Whether it is the first.
        first: A tree of arrays.
        second: Another.
    """
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), first, second)


def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _key(data: Array) -> Key[Array, ""]:
    return jax.random.wrap_key_data(data)
