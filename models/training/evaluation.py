"""A model in evaluation mode: scores over groups, outputs, and arrays beyond scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from models.losses.criteria import SumCount
from models.training.problem import Batch, Outputs, Problem, evaluation_key
from models.transforms.batch import apply_transforms

BATCH_NUMBERS = 1 << 20
"""Most numbers that one batch of an evaluation holds, rows of whole sequences apart."""


class Scored(NamedTuple):
    """Accumulators over the batches of an evaluation.

    Attributes:
        metrics: The accumulator of every metric, by name.
        terms: Every loss term, unweighted, times what it is a mean over.
        counts: Over how much that is, by term (`models.losses.Loss.sizes`).
    """

    metrics: dict[str, Any]
    terms: dict[str, Float[Array, ""]]
    counts: dict[str, Float[Array, ""]]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The pure functions of a problem in evaluation mode.

    Nothing here changes a model: dropout is off, schedules are at rest, randomness is
    frozen, and what a forward pass writes into the model's variables is thrown away.

    Attributes:
        problem: What is learned.
        graph: The model's structure.
    """

    problem: Problem
    graph: nnx.GraphDef

    def metrics(
        self,
        params: Any,
        variables: Any,
        hyper: Mapping[str, Array],
        groups: tuple[Batch, ...],
    ) -> dict[str, Array]:
        """Every metric, and every loss term as ``loss.NAME``, over groups of rows.

        A term is the mean over all that it counts, as if all were one batch. A group is
        taken in equal batches of at most `BATCH_NUMBERS` numbers and a remainder, one after
        the other, so that memory does not grow with the part.
        """

        def score(batch: Batch, number: Any = 0) -> tuple[Outputs, Batch]:
            return self.scored(params, variables, hyper, batch, number)

        scored: Scored | None = None
        number = 0
        for equal, rest in map(cut, groups):
            if equal is not None:
                scored = self._scan(score, scored, equal, number, hyper)
                number += rows_of(equal)
            if rest is not None:
                found = score(rest, number)
                scored = self._nothing(*found) if scored is None else scored
                scored = self._add(scored, *found, hyper, samples_of(rest))
                number += 1
        assert scored is not None, "a part has at least one group"
        values = {
            m.name: m.finish(scored.metrics[m.name]) for m in self.problem.metrics
        }
        means = {
            f"loss.{n}": SumCount(total, scored.counts[n]).value
            for n, total in scored.terms.items()
        }
        return values | means

    def over_train(
        self,
        params: Any,
        variables: Any,
        hyper: Mapping[str, Array],
        groups: tuple[Batch, ...],
    ) -> dict[str, Array]:
        """The metrics that the problem has of the train part; see `metrics`."""
        problem = replace(self.problem, metrics=self.problem.train_metrics)
        values = replace(self, problem=problem).metrics(
            params, variables, hyper, groups
        )
        return {m.name: values[m.name] for m in problem.metrics}

    def outputs(
        self,
        params: Any,
        variables: Any,
        hyper: Mapping[str, Array],
        batch: Batch,
        carry: Any = None,
    ) -> tuple[Outputs, Any]:
        """The outputs for a batch of prediction, and the carry after it.

        Args:
            params: The model's parameters.
            variables: Its other variables.
            hyper: Traced values by name.
            batch: Without targets.
            carry: Where a stream goes on; None begins anew.
        """
        batch, carry = self._begin(batch, carry)
        model = nnx.merge(self.graph, params, variables, copy=True)
        return self.problem.forward(
            model,
            self.shown(hyper, batch),
            key=evaluation_key(0),
            training=False,
            carry=carry,
            hyper=self.problem.at_rest(hyper),
        )

    def shown(self, hyper: Mapping[str, Array], batch: Batch) -> Batch:
        """The part of a batch of prediction that the model sees.

        Args:
            hyper: Traced values by name.
            batch: Without targets.
        """
        rest = self.problem.at_rest(hyper)
        key = evaluation_key(0)
        return self.problem.given(
            self._transformed(self.problem.transforms, batch, key, rest)
        )

    def described(
        self,
        params: Any,
        variables: Any,
        hyper: Mapping[str, Array],
        batch: Batch,
        number: Int[Array, ""],
    ) -> Mapping[str, Array]:
        """The arrays of `Problem.describe` for one scored batch.

        Args:
            params: The model's parameters.
            variables: Its other variables.
            hyper: Traced values by name.
            batch: One of `batches`.
            number: Its number.
        """
        assert self.problem.describe is not None, "asked only where it is there"
        return self.problem.describe(
            *self.scored(params, variables, hyper, batch, number)
        )

    def scored(
        self,
        params: Any,
        variables: Any,
        hyper: Mapping[str, Array],
        batch: Batch,
        number: int | Int[Array, ""],
    ) -> tuple[Outputs, Batch]:
        """The outputs of one batch with its targets, and the batch after all transforms.

        Args:
            params: The model's parameters.
            variables: Its other variables.
            hyper: Traced values by name.
            batch: One of `batches`.
            number: Its number, from which all that is random is drawn.
        """
        problem = self.problem
        hyper = problem.at_rest(hyper)
        batch, carry = self._begin(batch, None)
        key = evaluation_key(number)
        batch = self._transformed(problem.transforms, batch, key, hyper)
        whole = self._transformed(
            problem.targets, batch, jax.random.fold_in(key, 1), hyper
        )
        model = nnx.merge(self.graph, params, variables, copy=True)
        outputs, _ = problem.forward(
            model,
            problem.visible(batch, whole),
            key=jax.random.fold_in(key, 2),
            training=False,
            carry=carry,
            hyper=hyper,
        )
        return outputs, whole

    def _begin(self, batch: Batch, carry: Any) -> tuple[Batch, Any]:
        batch = dict(batch)
        if self.problem.initial_carry is not None:
            size = rows_of(batch)
            if carry is None:
                carry = self.problem.initial_carry(size)
                batch["reset"] = jnp.ones((size,), bool)
            else:
                batch["reset"] = jnp.zeros((size,), bool)
        return batch, carry

    def _transformed(
        self, transforms: Any, batch: Batch, key: Any, hyper: Any
    ) -> Batch:
        return apply_transforms(
            transforms,
            key=key,
            batch=batch,
            step=jnp.zeros((), jnp.int32),
            hyper=hyper,
        )

    def _nothing(self, outputs: Outputs, batch: Batch) -> Scored:
        zero = jnp.zeros(())
        return Scored(
            {m.name: m.init(outputs, batch) for m in self.problem.metrics},
            dict.fromkeys(self.problem.loss.names, zero),
            dict.fromkeys(self.problem.loss.names, zero),
        )

    def _add(
        self,
        scored: Scored,
        outputs: Outputs,
        batch: Batch,
        hyper: Mapping[str, Array],
        samples: int,
    ) -> Scored:
        """Add a batch of so many samples."""
        loss, rest = self.problem.loss, self.problem.at_rest(hyper)
        _, terms = loss(outputs, batch, rest)
        counts = {
            name: jnp.asarray(count).astype(jnp.zeros(()).dtype)
            for name, count in loss.sizes(batch, rest, samples=samples).items()
        }
        return Scored(
            {
                m.name: m.update(scored.metrics[m.name], outputs, batch)
                for m in self.problem.metrics
            },
            {n: scored.terms[n] + counts[n] * value for n, value in terms.items()},
            {n: scored.counts[n] + count for n, count in counts.items()},
        )

    def _scan(
        self,
        score: Callable[..., tuple[Outputs, Batch]],
        scored: Scored | None,
        batches: Batch,
        number: int,
        hyper: Mapping[str, Array],
    ) -> Scored:
        """Add ``[K, B, ...]`` batches, one after the other."""
        count = rows_of(batches)
        first = {name: array[0] for name, array in batches.items()}
        samples = samples_of(first)
        if scored is None:  # accumulators of nothing, in the shapes of the first batch
            scored = self._nothing(*jax.tree.map(_zeros, jax.eval_shape(score, first)))

        def body(scored: Scored, item: tuple[Batch, Any]) -> tuple[Scored, None]:
            outputs, batch = score(*item)
            return self._add(scored, outputs, batch, hyper, samples), None

        numbers = jnp.arange(number, number + count, dtype=jnp.int32)
        scored, _ = jax.lax.scan(body, scored, (batches, numbers))
        return scored


def batches(group: Batch) -> Iterator[Batch]:
    """The batches in which an evaluation takes a group, outside of compiled code."""
    equal, rest = cut(group)
    if equal is not None:
        for place in range(rows_of(equal)):
            yield {name: array[place] for name, array in equal.items()}
    if rest is not None:
        yield rest


def cut(group: Batch) -> tuple[Batch | None, Batch | None]:
    """A group as equal batches ``[K, B, ...]`` and the remainder ``[B, ...]``.

    Either is None where there is none: a group that fits into one batch is all remainder.
    """
    rows = rows_of(group)
    each = sum(math.prod(array.shape[1:]) for array in group.values())
    size = max(1, BATCH_NUMBERS // max(each, 1))
    if rows <= size:
        return None, group
    count = rows // size
    equal = {
        name: array[: count * size].reshape(count, size, *array.shape[1:])
        for name, array in group.items()
    }
    if count * size == rows:
        return equal, None
    return equal, {name: array[count * size :] for name, array in group.items()}


def rows_of(batch: Batch) -> int:
    """How many rows a batch has."""
    size: int = next(iter(batch.values())).shape[0]
    return size


def samples_of(batch: Batch) -> int:
    """How many samples a batch has: time steps of all its rows, or its rows."""
    steps = (array.shape[1] for array in batch.values() if array.ndim > 2)
    return rows_of(batch) * max(steps, default=1)


def _zeros(shape: jax.ShapeDtypeStruct) -> Array:
    return jnp.zeros(shape.shape, shape.dtype)
