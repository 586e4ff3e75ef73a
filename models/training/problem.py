"""A family's problem for the engine: pure functions and named values; nothing runs here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
from flax import nnx
from jaxtyping import Array, Float, Key

from models.losses.terms import Loss
from models.metrics.accumulators import Metric
from models.training.optimizer import Optimizer
from models.transforms.batch import BatchTransform, Transform

Batch = dict[str, Array]
Outputs = dict[str, Array]
Hyper = Mapping[str, Array]
Schedule = Callable[[Hyper, Float[Array, ""]], Float[Array, ""]]


class Forward(Protocol):
    """``forward(model, batch, *, key, carry, hyper) -> (outputs, carry)``."""

    def __call__(
        self,
        model: Any,
        batch: Batch,
        *,
        key: Key[Array, ""] | None,
        carry: Any,
        hyper: Hyper,
    ) -> tuple[Outputs, Any]:
        """Run the model on one batch.

        Args:
            model: The `nnx.Module`; its non-`Param` variables may be changed in place, and
                in training the change is kept.
            batch: Arrays by name, ``[B, ...]``.
            key: Randomness of this step; None means evaluation (no dropout, statistics
                are used and not updated).
            carry: What the last batch handed on (`Problem.initial_carry`), or None.
                Where ``batch["reset"]`` ``[B]`` is true the stream starts anew.
            hyper: Traced values and schedules by name.

        Returns:
            Outputs by name, and the carry of the same structure (None where none is used).
        """
        ...


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
        loss: Named, weighted terms.
        metrics: Validation metrics, in physical units.
        hyper: Every traced value by dotted key. Those of the optimizer that are missing
            take their values from `optimizer`.
        optimizer: How gradients become updates.
        schedules: Name → ``(hyper, fraction of the horizon) -> value``. They replace or
            extend `hyper` wherever it is read; in evaluation the fraction is 1.
        transforms: Batch functions used everywhere (in evaluation with one fixed key).
        augmentations: Batch functions used in training only, after `transforms`.
        initial_carry: Batch size → the carry before the first batch, or None.
        micro_batch: Split each batch into parts of about this size and sum their
            gradients before the one update; None for losses or models that need the whole
            batch at once (masked means, batch statistics).
    """

    signature: Hashable
    build: Callable[[Key[Array, ""]], nnx.Module]
    forward: Forward
    loss: Loss
    metrics: tuple[Metric, ...]
    hyper: Mapping[str, float] = field(default_factory=dict)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    transforms: tuple[BatchTransform | Transform, ...] = ()
    augmentations: tuple[BatchTransform | Transform, ...] = ()
    initial_carry: Callable[[int], Any] | None = None
    micro_batch: int | None = None

    def values(self) -> dict[str, float]:
        """Every traced value, the optimizer's included."""
        own = {f"optimizer.{k}": v for k, v in self.optimizer.traced().items()}
        return own | {k: float(v) for k, v in self.hyper.items()}

    def scheduled(self, hyper: Hyper, fraction: Float[Array, ""]) -> dict[str, Array]:
        """`hyper` with every schedule's value at `fraction` of the horizon."""
        return dict(hyper) | {n: s(hyper, fraction) for n, s in self.schedules.items()}


def evaluation_key() -> Key[Array, ""]:
    """The one key of every evaluation, so that scores are comparable between epochs."""
    return jax.random.key(0)
