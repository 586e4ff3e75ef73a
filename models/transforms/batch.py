"""How a batch is changed before the model sees it, with randomness as an argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import jax
from jaxtyping import Array, Int, Key

from models.errors import ConfigError, near_matches

Batch = dict[str, Array]
BatchTransform = Callable[..., Batch]


@dataclass(frozen=True, kw_only=True)
class Transform:
    """A batch function that reads traced hyperparameters.

    Attributes:
        function: ``(key, batch, step, **values) -> batch``.
        values: Keyword of `function` → name of a traced value or schedule.
    """

    function: BatchTransform
    values: Mapping[str, str] = field(default_factory=dict)


def apply_transforms(
    transforms: tuple[BatchTransform | Transform, ...],
    *,
    key: Key[Array, ""],
    batch: Batch,
    step: Int[Array, ""],
    hyper: Mapping[str, Array],
) -> Batch:
    """Run `transforms` in order, each with a key of its own.

    Args:
        transforms: Plain ``(key, batch, step) -> batch`` functions, or `Transform`.
        key: Folded with the position of each transform.
        batch: Arrays by name, ``[B, ...]``.
        step: The optimizer step; 0 in evaluation.
        hyper: Traced values and schedules by name.

    Raises:
        ConfigError: A `Transform` names a value that is not traced.
    """
    for place, transform in enumerate(transforms):
        own = jax.random.fold_in(key, place)
        if isinstance(transform, Transform):
            values = {k: _look_up(n, hyper) for k, n in transform.values.items()}
            batch = transform.function(own, batch, step, **values)
        else:
            batch = transform(own, batch, step)
    return batch


def present(batch: Batch, signal: str) -> Array:
    """A signal of a batch.

    Raises:
        ConfigError: The batch has none of that name.
    """
    if signal not in batch:
        raise ConfigError(
            f"a batch function changes the signal `{signal}`, which is not in the batch",
            hint=near_matches(signal, batch),
        )
    return batch[signal]


def _look_up(name: str, hyper: Mapping[str, Array]) -> Array:
    if name not in hyper:
        raise ConfigError(
            f"a transform reads `{name}`, which is no traced value",
            hint=near_matches(name, hyper),
        )
    return hyper[name]
