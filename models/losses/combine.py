"""Ways to change a criterion and to add several up to a loss.

Each takes a `Criterion` and gives one, so that they nest in any order:
``skip_n(masked_loss(ignore_nan(mse), channels=2), 50)``. `compose_losses` makes of them the
`Loss` that the engine trains with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from models.errors import ConfigError, near_matches
from models.losses.criteria import Criterion, Signal, SumCount, Weight
from models.losses.elementwise import require_same_shape
from models.losses.terms import Batch, Hyper, Loss, Outputs, Term
from models.losses.times import random_lengths, require_some, time_weights, up_to

COUNTED = "counted."
"""Mask of the samples of a role ``[B, T, 1]`` that the training loss counts; set by batch
functions such as `models.transforms.lengths`, beside ``seen.`` which comes from the data."""

Chosen: TypeAlias = Callable[[Array], Array]


def skip_n(criterion: Criterion, n: int) -> Criterion:
    """Leave the first samples of every row out.

    Args:
        criterion: What is computed of the rest.
        n: How many.

    Raises:
        ConfigError: `n` is no whole number from 0 on.
    """
    if not isinstance(n, int) or n < 0:
        raise ConfigError(f"`n` samples are skipped, 0 or more, got {n}")
    return cut(criterion, n, None)


def cut(criterion: Criterion, start: int | None, stop: int | None) -> Criterion:
    """Keep the samples ``start:stop`` of every row, which count as Python slices do.

    Args:
        criterion: What is computed of them.
        start: First sample that counts.
        stop: First one behind them; negative counts from the end.

    Raises:
        ConfigError: Nothing of a row is left; raised when the loss is first computed.
    """

    def kept(values: Array) -> Array:
        found = values[:, start:stop]
        if not found.shape[1]:
            raise ConfigError(
                f"samples {start}:{stop} of {values.shape[1]} leave nothing of a row",
                hint="cut less, or train on longer windows",
            )
        return found

    return _of(criterion, kept)


def masked_loss(criterion: Criterion, *, channels: int | Sequence[int]) -> Criterion:
    """Count some channels only; the others are free.

    Args:
        criterion: What is computed of them.
        channels: The first so many, or their numbers.

    Raises:
        ConfigError: No channel is left, one is named twice, or there is none of that number.
    """
    numbers = range(channels) if isinstance(channels, int) else tuple(channels)
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise ConfigError(
            "`channels` must be 1 or more, or different numbers from 0 on, got "
            f"{channels!r}"
        )

    def chosen(values: Array) -> Array:
        if max(numbers) >= values.shape[-1]:
            raise ConfigError(
                f"`channels` is {channels!r}, but there are {values.shape[-1]}",
                hint=f"name channels from 0 to {values.shape[-1] - 1}",
            )
        return values[..., np.asarray(numbers)]

    return _of(criterion, chosen)


def _of(criterion: Criterion, chosen: Chosen) -> Criterion:
    """The criterion of a part of all three arrays."""

    def sums(prediction: Signal, target: Signal, weight: Weight | None) -> SumCount:
        require_same_shape(prediction, target)
        part = None if weight is None else chosen(weight)
        return criterion.sums(chosen(prediction), chosen(target), part)

    return replace(criterion, sums=sums)


def ignore_nan(criterion: Criterion) -> Criterion:
    """Leave out what is NaN in the target; shapes stay as they are.

    Neither values nor slopes of what is left out reach the result.

    Args:
        criterion: What is computed of the rest.
    """

    def sums(prediction: Signal, target: Signal, weight: Weight | None) -> SumCount:
        seen = ~jnp.isnan(target)
        if weight is None:
            chosen: Weight = seen
        elif weight.dtype == bool:
            chosen = weight & seen
        else:
            chosen = jnp.where(seen, weight, jnp.zeros_like(weight))
        return criterion.sums(prediction, jnp.where(seen, target, 0.0), chosen)

    return replace(criterion, sums=sums)


def normalised(
    criterion: Criterion,
    *,
    std: Float[Array, " channel"],
    mean: Float[Array, " channel"] | None = None,
) -> Criterion:
    """Compute in units of a standard deviation, so that every channel matters alike.

    Args:
        criterion: What is computed there.
        std: Of every channel, in physical units; positive.
        mean: Of every channel, where an offset matters (`cosine`); it cancels in errors.

    Raises:
        ConfigError: A standard deviation is not positive. When the loss is first computed:
            there are not as many as channels.
    """
    sizes = np.asarray(std)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise ConfigError(
            f"every standard deviation must be positive, got {sizes.tolist()}",
            hint="give 1 for a channel that never changes",
        )

    def sums(prediction: Signal, target: Signal, weight: Weight | None) -> SumCount:
        # Before the division, which would broadcast a missing channel.
        require_same_shape(prediction, target)
        if sizes.shape != target.shape[-1:]:
            raise ConfigError(
                f"a standard deviation is given for each of {target.shape[-1]} channels, "
                f"got {sizes.tolist()}"
            )
        unit = jnp.asarray(std, target.dtype)[None, None]
        if mean is not None:
            centre = jnp.asarray(mean, target.dtype)[None, None]
            prediction, target = prediction - centre, target - centre
        return criterion.sums(prediction / unit, target / unit, weight)

    return replace(criterion, sums=sums)


def time_weighted(
    criterion: Criterion, *, first: Array | float = 1.0, last: Array | float = 0.1
) -> Criterion:
    """Let some times count more than others: a mean under `time_weights`, which sum to 1.

    Args:
        criterion: What is computed with these weights.
        first: Weight of the first sample relative to the last one's.
        last: Weight of the last sample.

    Raises:
        ConfigError: As `time_weights`, when the loss is first computed.
    """

    def sums(prediction: Signal, target: Signal, weight: Weight | None) -> SumCount:
        line = time_weights(target.shape[1], first=first, last=last)
        weights = jnp.broadcast_to(
            line.astype(target.dtype)[None, :, None], target.shape
        )
        if weight is not None:
            weights = weights * weight.astype(target.dtype)
        return criterion.sums(prediction, target, weights)

    return replace(criterion, sums=sums)


def random_length(
    criterion: Criterion, *, shortest: int = 1
) -> Callable[..., Float[Array, ""]]:
    """End every row at random, so that no length of sequences is learned by heart.

    Args:
        criterion: What is computed up to there.
        shortest: Samples that count of every row at least; all, where it has fewer.

    Returns:
        ``(key, prediction, target, weight=None) -> scalar``. A key is an argument, because
        one that is held inside would end every batch at the same places. In training the
        batch function `models.transforms.end_at_random` does the same, with the step's key.

    Raises:
        ConfigError: Nothing is sure to count.
    """
    require_some(shortest)

    def loss(
        key: Key[Array, ""],
        prediction: Signal,
        target: Signal,
        weight: Weight | None = None,
    ) -> Float[Array, ""]:
        rows, time, _ = target.shape
        lengths = random_lengths(key, rows, shortest=min(shortest, time), longest=time)
        mask = jnp.broadcast_to(up_to(lengths, time), target.shape)
        if weight is not None:
            mask = mask & weight if weight.dtype == bool else jnp.where(mask, weight, 0)
        return criterion(prediction, target, mask)

    return loss


def counted(batch: Batch, signal: str) -> Weight | None:
    """Which entries of a signal a training loss counts; None for all.

    Args:
        batch: With ``seen.SIGNAL`` where it has gaps, and ``counted.SIGNAL`` where batch
            functions shortened it.
        signal: Name in the batch.
    """
    seen, part = batch.get(f"seen.{signal}"), batch.get(COUNTED + signal)
    if part is None:
        return seen
    part = jnp.broadcast_to(part, batch[signal].shape)
    return part if seen is None else part & seen


def term_of(
    criterion: Criterion | Callable[[Hyper], Criterion],
    *,
    weight: float | str = 1.0,
    signal: str = "y",
    output: str | None = None,
) -> Term:
    """A criterion as a term of a loss: over what was seen and counts, exact in parts.

    Args:
        criterion: Or ``hyper -> criterion``, for one that reads traced values and is a mean
            over rows.
        weight: A number, or the name of a traced value or schedule.
        signal: Name of the target in the batch.
        output: Name of the prediction in the outputs; that of the signal by default.
    """
    name = signal if output is None else output

    def now(hyper: Hyper) -> Criterion:
        return criterion if isinstance(criterion, Criterion) else criterion(hyper)

    def function(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        for role, there in ((name, outputs), (signal, batch)):
            if role not in there:
                raise ConfigError(
                    f"a loss term compares the output `{name}` with `{signal}` of the batch, "
                    f"and there is no `{role}`",
                    hint=near_matches(role, there),
                )
        return now(hyper)(outputs[name], batch[signal], counted(batch, signal))

    def count(batch: Batch, hyper: Hyper) -> Array | float | None:
        own = now(hyper)
        if own.whole:
            return None
        # The count does not look at the prediction: any will do.
        target = batch[signal]
        return own.sums(target, target, counted(batch, signal)).count

    whole = isinstance(criterion, Criterion) and criterion.whole
    return Term(function=function, weight=weight, count=count, whole=whole)


def compose_losses(
    terms: Mapping[str, Criterion | tuple[Criterion, float | str] | Term],
    *,
    signal: str = "y",
) -> Loss:
    """Add criteria up: ``{"mse": mse, "end": (cut(mae, -10, None), "loss.end")}``.

    Args:
        terms: By the name they are reported under: a criterion; one with its weight, a
            number or the name of a traced value or schedule; or a term as it is, such as a
            `models.losses.penalty`.
        signal: Name of target and prediction.

    Returns:
        The loss of a problem, ``(outputs, batch, hyper) -> (total, terms)``.

    Raises:
        ConfigError: There is no term, one is none of these, or one has a name the engine
            reports itself. When the loss is first computed: batch or outputs do not hold
            `signal`.
    """

    def term(name: str, given: Any) -> Term:
        if isinstance(given, Term):
            return given
        pair = given if isinstance(given, tuple) and len(given) == 2 else (given, 1.0)
        if not isinstance(pair[0], Criterion):
            raise ConfigError(
                f"loss term `{name}` must be a criterion, one with its weight, or a term, "
                f"got {given!r}",
                hint="`Criterion(sums=…)` makes one of a sum and a count, `penalty` a term "
                "of outputs alone; `unaccounted` is what is minimised for `vaf`",
            )
        return term_of(pair[0], weight=pair[1], signal=signal)

    return Loss(terms={name: term(name, given) for name, given in terms.items()})
