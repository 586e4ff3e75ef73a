"""An epoch of least squares: one damped step of Gauss and Newton over all windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key

from models.data.order import shuffled
from models.layers import derivatives
from models.training.engine import Engine, choose
from models.training.least_squares.damping import Damping, lowered, raised
from models.training.least_squares.jacobian import columns
from models.training.least_squares.normal import Normal, added, nothing, step
from models.training.problem import Batch
from models.training.state import TrainState
from models.transforms.batch import apply_transforms

STEEPEST = 2.0**11.5
"""A derivative along a step, of residuals in standard deviations by parameters of order one,
beyond which the step is refused: one over the square root of float32's resolution.

A recursion that runs away in some window can have a smaller sum of squares and sensitivities of
1e15, from where no further step is ever taken. In a fit of Bouc-Wen that ends well, steps that are
taken have at most 5.
"""

TRIES = 8
"""Dampings that an epoch tries before it gives its step up; the next one goes on from there."""


class Chunk(NamedTuple):
    """Some windows.

    Attributes:
        batch: The arrays.
        skip: Samples at the start of each window that do not count; all of a window that
            only fills the chunk up.
        key: Randomness of the chunk, the same in every epoch: what is minimised stands
            still.
    """

    batch: Batch
    skip: Int[Array, " batch"]
    key: Key[Array, ""]


class Trial(NamedTuple):
    """A step that was tried.

    Attributes:
        tries: Dampings tried so far.
        damping: λ for the next.
        taken: Whether the step is a better place.
        vector: The parameters there.
        squares: The sum of squares there, in float64.
    """

    tries: Int[Array, ""]
    damping: Float[Array, ""]
    taken: Bool[Array, ""]
    vector: Float[Array, " parameters"]
    squares: Float[Array, ""]


@dataclass(frozen=True, kw_only=True)
class LeastSquaresEngine(Engine):
    """Levenberg and Marquardt's method; see `models.training.least_squares`.

    An epoch linearises the residuals once and tries dampings until the sum of squares
    falls, at a place from where it can fall further (`STEEPEST`). Parameters that are not
    finite, or give residuals that are not, end nothing: the epoch changes no parameter, its
    loss is NaN and one update counts as skipped. Variables that are no parameters
    (statistics of batches) stay as they were built.
    """

    def step(
        self, state: TrainState, batch: Batch
    ) -> tuple[TrainState, dict[str, Array]]:
        """An iteration over a single batch, all of whose scored samples count."""
        skip = jnp.zeros((len(next(iter(batch.values()))),), jnp.int32)
        chunk = Chunk(batch, skip, self._frozen(state, jnp.zeros((), jnp.int32)))
        return self._iterate(state, jnp.ones((), jnp.int32), lambda _: chunk)

    def train(
        self, state: TrainState, arrays: Mapping[str, Array]
    ) -> tuple[TrainState, dict[str, Array]]:
        """One iteration over the windows of the epoch's stage."""
        numbers, skip, count = self._tiles(state)
        size = self.feed.batch_size
        windows = self._stage(state.epoch, count)

        def chunk(place: Int[Array, ""]) -> Chunk:
            start = place * size
            own = jax.lax.dynamic_slice_in_dim(skip, start, size)
            rows = start + jnp.arange(size, dtype=jnp.int32)
            chosen = jax.lax.dynamic_slice_in_dim(numbers, start, size)
            batch = self.feed.batch(arrays, chosen)
            own = jnp.where(rows < windows, own, self.feed.window)
            return Chunk(batch, own, self._frozen(state, place))

        state, values = self._iterate(state, (windows + size - 1) // size, chunk)
        skipped = jnp.where(values.pop("finite"), 0, 1)
        state = state._replace(epoch=state.epoch + 1)
        return state, {**values, "windows": windows, "skipped": skipped}

    def influence(self, state: TrainState) -> Any:
        """The squared lengths of the Jacobian's columns in the last iteration."""
        return ravel_pytree(state.params)[1](state.optimizer.columns)

    def _tiles(self, state: TrainState) -> tuple[Array, Array, int]:
        """All windows in an order drawn once a trial, filled up to whole chunks.

        Returns:
            Their numbers and the samples that they skip, and how many they are.
        """
        assert self.problem.residuals is not None, "checked where the learner is made"
        found = self.feed.tiles(self.problem.residuals.start)
        count = len(found.skip)
        key = jax.random.wrap_key_data(state.keys["order"])
        order = shuffled(key, count, count)
        short = -count % self.feed.batch_size
        filled = jnp.concatenate([order, jnp.zeros((short,), order.dtype)])
        numbers, skip = jnp.asarray(found.numbers), jnp.asarray(found.skip)
        return numbers[filled], skip[filled], count

    def _stage(self, epoch: Int[Array, ""], windows: int) -> Int[Array, ""]:
        """How many windows an epoch takes."""
        optimizer = self.problem.optimizer
        count = jnp.asarray(windows, jnp.int32)
        end = sum(optimizer.stage_epochs)
        pairs = zip(optimizer.stage_windows, optimizer.stage_epochs, strict=True)
        for size, epochs in reversed(list(pairs)):
            count = jnp.where(epoch < end, jnp.int32(min(size, windows)), count)
            end -= epochs
        return count

    def _frozen(self, state: TrainState, place: Int[Array, ""]) -> Key[Array, ""]:
        key = jax.random.wrap_key_data(state.keys["noise"])
        return jax.random.fold_in(key, place)

    def _iterate(
        self,
        state: TrainState,
        chunks: Int[Array, ""],
        chunk: Callable[[Int[Array, ""]], Chunk],
    ) -> tuple[TrainState, dict[str, Array]]:
        """One iteration over `chunks` chunks, given by their places."""
        vector, unravel = ravel_pytree(state.params)
        with derivatives.forward():
            sums = jax.lax.fori_loop(
                0,
                chunks,
                lambda place, sums: self._linearised(sums, state, vector, chunk(place)),
                nothing(len(vector)),
            )
            finite = _finite(sums)
            trial = self._search(state, vector, sums, finite, chunks, chunk)
        with jax.enable_x64(True):
            squares = jnp.where(trial.taken, trial.squares, sums.squares)
            loss = (squares / sums.count).astype(vector.dtype)
            gradient = sums.gradient * (2.0 / sums.count)
            norm = jnp.sqrt(jnp.sum(jnp.square(gradient))).astype(vector.dtype)
            lengths = (jnp.diagonal(sums.matrix) / sums.count).astype(vector.dtype)
        damping = Damping(
            lowered(trial.damping, trial.taken, state.hyper),
            jnp.where(finite, lengths, state.optimizer.columns),
        )
        state = state._replace(
            params=choose(trial.taken, unravel(trial.vector), state.params),
            optimizer=damping,
            step=state.step + 1,
        )
        values = {"loss": loss, **dict.fromkeys(self.problem.loss.names, loss)}
        values |= {"gradient_norm": norm, "damping": damping.value}
        refused = trial.tries - trial.taken.astype(trial.tries.dtype)
        return state, {**values, "refused": refused, "finite": finite}

    def _search(
        self,
        state: TrainState,
        vector: Float[Array, " parameters"],
        sums: Normal,
        finite: Bool[Array, ""],
        chunks: Int[Array, ""],
        chunk: Callable[[Int[Array, ""]], Chunk],
    ) -> Trial:
        """Raise the damping until a step lowers the sum of squares."""
        floor = state.hyper["optimizer.scale_floor"]

        def attempt(trial: Trial) -> Trial:
            change = step(sums, trial.damping, floor).astype(vector.dtype)
            place = vector - change
            squares, slope = self._squares(state, place, change, chunks, chunk)
            with jax.enable_x64(True):
                better = squares < sums.squares  # never where either is NaN
            taken = better & (slope <= STEEPEST)
            damping = jnp.where(
                taken, trial.damping, raised(trial.damping, state.hyper)
            )
            return Trial(trial.tries + 1, damping, taken, place, squares)

        nowhere = Trial(
            jnp.zeros((), jnp.int32),
            state.optimizer.value,
            jnp.zeros((), bool),
            vector,
            sums.squares,
        )
        return jax.lax.while_loop(
            lambda trial: finite & ~trial.taken & (trial.tries < TRIES),
            attempt,
            nowhere,
        )

    def _linearised(
        self, sums: Normal, state: TrainState, vector: Array, chunk: Chunk
    ) -> Normal:
        """The sums with a chunk, linearised at the parameters."""
        visible, targets, key = self._prepared(state, chunk)
        problem, unravel = self.problem, ravel_pytree(state.params)[1]

        def residuals(vector: Array) -> tuple[Array, Array]:
            outputs = self._outputs(state, unravel(vector), visible, key)
            values, scored = self._residuals(outputs, targets, chunk.skip)
            return values.reshape(-1), jnp.sum(scored, dtype=jnp.int32)

        if problem.sensitivities is None:
            values, jacobian, count = columns(residuals, vector)
            return added(sums, values, jacobian, count.astype(vector.dtype))
        model = self._model(state, state.params)
        outputs, tree = problem.sensitivities(
            model, visible, hyper=problem.at_rest(state.hyper)
        )
        leaves = jax.tree.leaves(tree)
        shape = outputs["y"].shape
        whole = jnp.concatenate([leaf.reshape(*shape, -1) for leaf in leaves], axis=-1)

        def of_outputs(y: Array) -> tuple[Array, Array]:
            return self._residuals({**outputs, "y": y}, targets, chunk.skip)

        values, push, scored = jax.linearize(of_outputs, outputs["y"], has_aux=True)
        jacobian = jax.vmap(push, in_axes=-1, out_axes=-1)(whole)
        count = jnp.sum(scored, dtype=jnp.int32).astype(vector.dtype)
        return added(sums, values.reshape(-1), jacobian.reshape(-1, len(vector)), count)

    def _squares(
        self,
        state: TrainState,
        vector: Float[Array, " parameters"],
        change: Float[Array, " parameters"],
        chunks: Int[Array, ""],
        chunk: Callable[[Int[Array, ""]], Chunk],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """What a step came to.

        Returns:
            The sum of squares over all chunks, in float64, and the largest derivative of a
            residual along the step.
        """
        unravel = ravel_pytree(state.params)[1]
        tiny = jnp.asarray(jnp.finfo(vector.dtype).tiny, vector.dtype)
        along = change / jnp.maximum(jnp.linalg.norm(change), tiny)

        def body(
            place: Int[Array, ""], found: tuple[Array, Array]
        ) -> tuple[Array, Array]:
            own = chunk(place)
            visible, targets, key = self._prepared(state, own)

            def residuals(vector: Array) -> Array:
                outputs = self._outputs(state, unravel(vector), visible, key)
                return self._residuals(outputs, targets, own.skip)[0]

            values, slopes = jax.jvp(residuals, (vector,), (along,))
            squares = jnp.sum(jnp.square(values))
            steepest = jnp.maximum(found[1], jnp.max(jnp.abs(slopes)))
            with jax.enable_x64(True):
                return found[0] + squares.astype(jnp.float64), steepest

        with jax.enable_x64(True):
            zero = jnp.zeros((), jnp.float64)
        none = jnp.zeros((), vector.dtype)
        return jax.lax.fori_loop(0, chunks, body, (zero, none))

    def _prepared(
        self, state: TrainState, chunk: Chunk
    ) -> tuple[Batch, Batch, Key[Array, ""]]:
        """What the model sees of a chunk, what it is held against, and its own key."""
        problem, batch = self.problem, dict(chunk.batch)
        at = {"step": jnp.zeros((), jnp.int32), "hyper": problem.at_rest(state.hyper)}
        purposes = (problem.transforms, problem.augmentations, problem.targets)
        before = batch
        for place, transforms in enumerate(purposes):
            before = batch
            key = jax.random.fold_in(chunk.key, place)
            batch = apply_transforms(transforms, key=key, batch=batch, **at)
        own = jax.random.fold_in(chunk.key, len(purposes))
        return problem.visible(before, batch), batch, own

    def _model(self, state: TrainState, params: Any) -> nnx.Module:
        return nnx.merge(self.graph, params, state.variables, copy=True)

    def _outputs(
        self, state: TrainState, params: Any, visible: Batch, key: Key[Array, ""]
    ) -> Mapping[str, Any]:
        outputs, _ = self.problem.forward(
            self._model(state, params),
            visible,
            key=key,
            training=True,
            carry=None,
            hyper=self.problem.at_rest(state.hyper),
        )
        return outputs

    def _residuals(
        self, outputs: Mapping[str, Any], targets: Batch, skip: Int[Array, " batch"]
    ) -> tuple[Float[Array, "batch time channel"], Bool[Array, "batch time channel"]]:
        """Residuals, zero where nothing is scored or a window does not count."""
        assert self.problem.residuals is not None, "checked where the learner is made"
        values, scored = self.problem.residuals.function(outputs, targets)
        time = jnp.arange(values.shape[1], dtype=jnp.int32)
        counts = (time[None, :] >= skip[:, None])[:, :, None]
        return jnp.where(counts, values, jnp.zeros_like(values)), scored & counts


def _finite(sums: Normal) -> Bool[Array, ""]:
    """Whether there is anything to solve, and nothing of it is NaN or infinite."""
    with jax.enable_x64(True):
        good = [jnp.all(jnp.isfinite(part)) for part in sums]
        return jnp.all(jnp.stack(good)) & (sums.count > 0)
