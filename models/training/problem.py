"""A family's problem for the engine: pure functions and named values; nothing runs here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from models.losses.terms import Loss
from models.metrics.accumulators import Metric
from models.training.lengths import Lengths
from models.training.optimizer import Optimizer
from models.training.residuals import Residuals
from models.transforms.batch import BatchTransform, Transform

Batch = dict[str, Array]
Outputs = Mapping[str, Any]
Hyper = Mapping[str, Array]
Transforms = tuple[BatchTransform | Transform, ...]


class Forward(Protocol):
    """``forward(model, batch, *, key, training, carry, hyper) -> (outputs, carry)``."""

    def __call__(
        self,
        model: Any,
        batch: Batch,
        *,
        key: Key[Array, ""],
        training: bool,
        carry: Any,
        hyper: Hyper,
    ) -> tuple[Outputs, Any]:
        """Run the model on one batch.

        Args:
            model: The `nnx.Module`; its non-`Param` variables may be changed in place, and
                in training the change is kept.
            batch: Arrays by name, ``[B, ...]``: what `Problem.given` leaves of it, and what
                `Problem.targets` added (in training and scoring; not in prediction).
            key: Randomness of this batch; frozen in evaluation.
            training: Whether dropout acts and batch statistics are taken.
            carry: What the last batch handed on (`Problem.initial_carry`), or None.
                Where ``batch["reset"]`` ``[B]`` is true the stream starts anew.
            hyper: Traced values and schedules by name.

        Returns:
            Outputs by name, which may nest, and the carry of the same structure (None where
            none is used).
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A value that changes over training and stands still in evaluation.

    Attributes:
        function: ``(hyper, fraction of the horizon) -> value`` of a training step.
        evaluation: The value in evaluation: a number, or ``hyper -> value``. It is stated,
            never derived, so that an annealed weight cannot choose the best epoch.
    """

    function: Callable[[Hyper, Float[Array, ""]], Float[Array, ""]]
    evaluation: float | Callable[[Hyper], Float[Array, ""]]

    def at_rest(self, hyper: Hyper) -> Float[Array, ""]:
        """The value in evaluation."""
        if callable(self.evaluation):
            return self.evaluation(hyper)
        return jnp.asarray(self.evaluation, jnp.zeros(()).dtype)


def everything(batch: Batch) -> Batch:
    """Show a model the whole batch."""
    return batch


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing to be learned, as data and pure functions.

    Two problems with equal signatures must differ in nothing but `hyper`: the engine
    compiles the functions of the first and uses them for both.

    Attributes:
        signature: The static signature: the family configuration's `static_signature`, the
            data's hash, whatever else the functions close over. Its `repr` must be the same
            in every process (text, numbers, tuples), because checkpoints carry it.
        build: ``key -> nnx.Module``; pure, run inside compiled code.
        forward: See `Forward`.
        loss: Named, weighted terms; each is reported in training and in validation.
        metrics: Validation metrics, in physical units.
        train_metrics: Reported beside them, but over the whole train part: what few rows of
            validation cannot tell, such as how many of many codes are used. They cost a pass
            over it every epoch.
        hyper: Every traced value by dotted key. Those of the optimizer that are missing
            take their values from `optimizer`.
        optimizer: How gradients become updates.
        schedules: By name; they replace or extend `hyper` wherever it is read.
        given: Batch → what the model may look at of it. The engine applies it last, so
            that loss and metrics see the whole batch and the model does not.
        transforms: Batch functions used everywhere (in evaluation with a frozen key).
        augmentations: Batch functions used in training only, after `transforms`.
        lengths: How training batches are cut to a few lengths, after `augmentations`; None
            for whole windows.
        targets: Batch functions of training and scoring, after the others, which prediction
            never runs: an interpolation, a collocation draw. What they add passes `given`.
        start: ``(model, batch, *, key, hyper)``; changes the new model in place by the
            first training batch, inside compiled code (codes by k-means, for one).
        describe: ``(outputs, batch) -> arrays [B, ...] by name`` of a scored batch, beyond
            the metrics (a spectrum, tokens).
        residuals: For learners by least squares (`optimizer.kind`): the residuals whose mean
            square is the loss; None where the loss is anything else.
        sensitivities: ``(model, batch, *, hyper) -> (outputs, Jacobian)``: outputs with
            ``y`` ``[B, T, C]``, and a tree like the parameters' whose leaves
            ``[B, T, C, …]`` are its derivatives by each; None derives them from `forward`.
        initial_carry: Batch size → the carry before the first batch, or None.
        micro_batch: Split each batch into parts of about this size and sum their
            gradients before the one update; None for models that need the whole batch at
            once (batch statistics). Losses that do say so themselves (`Term.whole`), and
            masked means are weighed by what each part holds (`Term.count`).
    """

    signature: Hashable
    build: Callable[[Key[Array, ""]], nnx.Module]
    forward: Forward
    loss: Loss
    metrics: tuple[Metric, ...]
    train_metrics: tuple[Metric, ...] = ()
    hyper: Mapping[str, float] = field(default_factory=dict)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    given: Callable[[Batch], Batch] = everything
    transforms: Transforms = ()
    augmentations: Transforms = ()
    lengths: Lengths | None = None
    targets: Transforms = ()
    start: Callable[..., None] | None = None
    describe: Callable[[Outputs, Batch], Mapping[str, Array]] | None = None
    residuals: Residuals | None = None
    sensitivities: Callable[..., tuple[Outputs, Any]] | None = None
    initial_carry: Callable[[int], Any] | None = None
    micro_batch: int | None = None

    @property
    def averaged(self) -> bool:
        """Whether averaged parameters are scored, kept as best and predicted with."""
        return self.optimizer.averaged

    def values(self) -> dict[str, float]:
        """Every traced value, the optimizer's included."""
        own = {f"optimizer.{k}": v for k, v in self.optimizer.traced().items()}
        return own | {k: float(v) for k, v in self.hyper.items()}

    def scheduled(self, hyper: Hyper, fraction: Float[Array, ""]) -> dict[str, Array]:
        """`hyper` with every schedule's value at `fraction` of the horizon."""
        now = {n: s.function(hyper, fraction) for n, s in self.schedules.items()}
        return dict(hyper) | now

    def at_rest(self, hyper: Hyper) -> dict[str, Array]:
        """`hyper` with every schedule's value in evaluation."""
        return dict(hyper) | {n: s.at_rest(hyper) for n, s in self.schedules.items()}

    def visible(self, batch: Batch, targets: Batch) -> Batch:
        """The part of a batch that the model sees: given entries, and all that `targets` added.

        Args:
            batch: Before `targets`.
            targets: After them.
        """
        return self.given(batch) | {k: v for k, v in targets.items() if k not in batch}

    def term_names(self) -> tuple[str, ...]:
        """The names of the loss terms in validation."""
        return tuple(f"loss.{name}" for name in self.loss.names)


def evaluation_key(number: int | Int[Array, ""]) -> Key[Array, ""]:
    """The frozen key of one batch of an evaluation, the same in every epoch.

    Args:
        number: Of the batch within the evaluation.
    """
    return jax.random.fold_in(jax.random.key(0), number)
