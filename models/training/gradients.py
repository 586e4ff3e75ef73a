"""Training by gradients: an update for every batch. Pure functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key

from models.losses.criteria import divisor
from models.training.engine import Engine, choose
from models.training.problem import Batch
from models.training.state import TrainState
from models.transforms.batch import apply_transforms


class Totals(NamedTuple):
    """Sums over the steps of an epoch.

    Attributes:
        steps: Steps whose update was taken: finite, and not too large.
        skipped: Steps whose update was refused.
        sums: Loss, terms and gradient norm, summed over the steps taken.
    """

    steps: Int[Array, ""]
    skipped: Int[Array, ""]
    sums: dict[str, Float[Array, ""]]


@dataclass(frozen=True, kw_only=True)
class GradientEngine(Engine):
    """Steps of the optax chain, one a batch."""

    def step(
        self, state: TrainState, batch: Batch
    ) -> tuple[TrainState, dict[str, Array]]:
        """One optimizer step; one that is refused changes neither model nor moments.

        Returns:
            The state, and by name: ``loss``, every term, ``gradient_norm``, ``finite``
            (whether the step was taken).
        """
        problem = self.problem
        fraction = self.fraction(state)
        hyper = problem.scheduled(state.hyper, fraction)
        batch = self.augmented(state, batch, hyper=hyper)
        key = self.noise(state, 2)
        value, gradients, variables, carry = self._of_length(
            state, batch, key=key, hyper=hyper
        )
        vector = problem.optimizer.trained(ravel_pytree(gradients)[0], state.params)
        norm = jnp.sqrt(jnp.sum(jnp.square(vector)))
        finite = jnp.isfinite(value["loss"]) & problem.optimizer.accepts(norm, hyper)
        # `apply_if_finite` looks at the gradients alone; tell it about loss and norm too.
        vector = jnp.where(finite, vector, jnp.nan)
        params, optimizer = problem.optimizer.update(
            vector, state.optimizer, state.params, hyper=hyper, fraction=fraction
        )
        state = state._replace(
            params=params,
            average=self._averaged(state, params, finite, hyper),
            optimizer=optimizer,
            variables=choose(finite, variables, state.variables),
            carry=choose(finite, carry, state.carry),
            step=state.step + 1,
        )
        return state, {**value, "gradient_norm": norm, "finite": finite}

    def influence(self, state: TrainState) -> Any:
        """Adam's first moments: zero exactly where every gradient so far was."""
        (vector,) = (
            leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(state.optimizer)
            if jax.tree_util.keystr(path).endswith(".mu")
        )
        return ravel_pytree(state.params)[1](vector)

    def _averaged(
        self, state: TrainState, params: Any, finite: Array, hyper: Mapping[str, Array]
    ) -> Any:
        """The averaged parameters after a step; early on the average forgets faster.

        Source: the warm-up ``min(decay, (1 + t) / (10 + t))`` of TensorFlow's
        ExponentialMovingAverage.
        """
        if not self.problem.averaged:
            return None
        step = state.step.astype(jnp.zeros(()).dtype)
        decay = jnp.minimum(hyper["optimizer.average"], (1 + step) / (10 + step))
        moved = jax.tree.map(
            lambda a, p: a * decay.astype(a.dtype) + p * (1 - decay).astype(a.dtype),
            state.average,
            params,
        )
        return choose(finite, moved, state.average)

    def train(
        self, state: TrainState, arrays: Mapping[str, Array]
    ) -> tuple[TrainState, dict[str, Array]]:
        """One epoch with the data on the device: batches are gathered inside the scan."""

        def body(
            state: TrainState, indices: Int[Array, " batch"]
        ) -> tuple[TrainState, dict[str, Array]]:
            return self.step(state, self.feed.batch(arrays, indices))

        state, values = jax.lax.scan(body, state, self.order(state))
        return self.close(state, _add(self.totals(), values))

    def totals(self) -> Totals:
        """The sums of no steps."""
        names = ("loss", *self.problem.loss.names, "gradient_norm")
        zero = jnp.zeros((), jnp.int32)
        return Totals(zero, zero, {n: jnp.zeros(()) for n in names})

    def chunk(
        self, state: TrainState, totals: Totals, chunk: Batch
    ) -> tuple[TrainState, Totals]:
        """Some steps of a streamed epoch; `chunk` is ``[K, B, ...]``."""
        state, values = jax.lax.scan(self.step, state, chunk)
        return state, _add(totals, values)

    def close(
        self, state: TrainState, totals: Totals
    ) -> tuple[TrainState, dict[str, Array]]:
        """Count the epoch; means over its finite steps, NaN when there was none."""
        steps = totals.steps.astype(jnp.zeros(()).dtype)
        means = {name: total / steps for name, total in totals.sums.items()}
        state = state._replace(epoch=state.epoch + 1)
        return state, {**means, "skipped": totals.skipped}

    def _of_length(
        self, state: TrainState, batch: Batch, *, key: Key[Array, ""], hyper: Any
    ) -> tuple[dict[str, Array], Any, Any, Any]:
        """`_gradients` of the batch, cut to the length that is its turn."""

        def found(batch: Batch) -> tuple[dict[str, Array], Any, Any, Any]:
            return self._gradients(state, batch, key=key, hyper=hyper)

        lengths = self.problem.lengths
        return found(batch) if lengths is None else lengths.apply(batch, hyper, found)

    def _gradients(
        self, state: TrainState, batch: Batch, *, key: Key[Array, ""], hyper: Any
    ) -> tuple[dict[str, Array], Any, Any, Any]:
        """Loss and terms, gradients, variables and carry after one batch."""
        size = next(iter(batch.values())).shape[0]
        loss = self.problem.loss
        parts = _parts(size, None if loss.whole else self.problem.micro_batch)
        if parts == 1:
            return self._differentiate(
                state.params,
                state.variables,
                state.carry,
                batch,
                key=key,
                step=state.step,
                hyper=hyper,
            )

        def split(array: Array) -> Array:
            return array.reshape(parts, size // parts, *array.shape[1:])

        def own(place: Array) -> Key[Array, ""]:
            return jax.random.fold_in(key, place)

        def counts(place: Array, part: Batch) -> dict[str, Array]:
            targets = self._targets(part, key=own(place), step=state.step, hyper=hyper)
            return loss.counts(targets, hyper)

        places, split_batch = jnp.arange(parts), jax.tree.map(split, batch)
        found = jax.vmap(counts)(places, split_batch) if loss.counted else {}
        # How much of each mean a part holds, relative to an equal part.
        shares = {
            name: parts * here.astype(total.dtype) / total
            for name, here in found.items()
            for total in [divisor(jnp.sum(here, dtype=here.dtype), jnp.zeros(()))]
        }

        def body(before: Any, part: Any) -> tuple[Any, Any]:
            sums, variables = before
            place, batch, carry, shares = part
            value, gradients, variables, carry = self._differentiate(
                state.params,
                variables,
                carry,
                batch,
                key=own(place),
                step=state.step,
                hyper=hyper,
                shares=shares,
            )
            return (jax.tree.map(jnp.add, sums, (value, gradients)), variables), carry

        names = ("loss", *loss.names)
        zero = (
            {n: jnp.zeros(()) for n in names},
            jax.tree.map(jnp.zeros_like, state.params),
        )
        (sums, variables), carry = jax.lax.scan(
            body,
            (zero, state.variables),
            (places, split_batch, jax.tree.map(split, state.carry), shares),
        )
        value, gradients = jax.tree.map(lambda s: s / parts, sums)
        carry = jax.tree.map(lambda c: c.reshape(size, *c.shape[2:]), carry)
        return value, gradients, variables, carry

    def _differentiate(
        self,
        params: Any,
        variables: Any,
        carry: Any,
        batch: Batch,
        *,
        key: Key[Array, ""],
        step: Int[Array, ""],
        hyper: Any,
        shares: Mapping[str, Array] | None = None,
    ) -> tuple[dict[str, Array], Any, Any, Any]:
        problem = self.problem
        targets = self._targets(batch, key=key, step=step, hyper=hyper)
        visible = problem.visible(batch, targets)

        def objective(params: Any) -> tuple[Array, Any]:
            model = nnx.merge(self.graph, params, variables, copy=True)
            outputs, after = problem.forward(
                model, visible, key=key, training=True, carry=carry, hyper=hyper
            )
            total, terms = problem.loss(outputs, targets, hyper, shares=shares)
            _, _, changed = nnx.split(model, nnx.Param, ...)
            return total, (terms, nnx.to_pure_dict(changed), after)

        (total, (terms, changed, after)), gradients = jax.value_and_grad(
            objective, has_aux=True
        )(params)
        return {"loss": total, **terms}, gradients, changed, after

    def _targets(
        self, batch: Batch, *, key: Key[Array, ""], step: Int[Array, ""], hyper: Any
    ) -> Batch:
        """A batch, or a part of one, with what is drawn for training and scoring."""
        key = jax.random.fold_in(key, 1)
        return apply_transforms(
            self.problem.targets, key=key, batch=batch, step=step, hyper=hyper
        )


def _add(totals: Totals, values: dict[str, Array]) -> Totals:
    """Add the per-step values of a scan, ``[K]`` each."""
    finite = values["finite"]
    good = jnp.sum(finite, dtype=jnp.int32)
    sums = {
        name: total + jnp.sum(jnp.where(finite, values[name], 0))
        for name, total in totals.sums.items()
    }
    skipped = totals.skipped + finite.shape[0] - good
    return Totals(totals.steps + good, skipped, sums)


def _parts(size: int, micro_batch: int | None) -> int:
    """Into how many equal parts a batch is cut: parts of at most `micro_batch`."""
    if micro_batch is None or micro_batch >= size:
        return 1
    return next(
        n for n in range(math.ceil(size / micro_batch), size + 1) if size % n == 0
    )
