"""What families with a Gaussian code share: their two loss terms, schedules and scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from models.config import Config, static, traced
from models.errors import ConfigError
from models.losses import Term, only, require_same_shape, squared_error
from models.losses.annealing import cyclical, warm_up
from models.losses.divergence import FreeForm, counted, gaussian_divergence
from models.losses.likelihood import gaussian_nll, optimal_nll
from models.metrics.accumulators import Average, Metric
from models.metrics.codes import ActiveUnits, InformedUnits
from models.training.problem import Batch, Hyper, Outputs, Schedule

WEIGHT_NOW = "divergence.now"
"""Name of the scheduled weight of the divergence."""


@dataclass(frozen=True, kw_only=True)
class Divergence(Config):
    """How much it costs to tell one code from another.

    Attributes:
        weight: β, of the divergence from N(0, 1) beside the likelihood; 1 is the evidence
            lower bound. In evaluation it is always this.
        schedule: Over training β stays, rises once, or rises again in every cycle.
        ramp: Fraction of the horizon, or of a cycle, in which it rises.
        cycles: Of ``cyclical``, over the horizon.
        free_bits: Nats of each latent that cost nothing.
        free_form: Whether they are free for the mean over a batch, or for each row
            (`models.losses.divergence.counted`).
    """

    weight: float = traced(1.0, low=0.0)
    schedule: Literal["constant", "warm_up", "cyclical"] = static("constant")
    ramp: float = traced(0.5, low=1e-3, high=1.0)
    cycles: float = traced(4.0, low=1.0)
    free_bits: float = traced(0.0, low=0.0)
    free_form: FreeForm = static("mean")

    def validate(self) -> None:
        """Refuse what acts on nothing."""
        if self.schedule == "constant" and self.ramp != 0.5:
            raise ConfigError(
                f"`divergence.ramp` acts while the weight rises, got {self.ramp:g} with a "
                "constant weight",
                hint='set `divergence.schedule` to "warm_up" or "cyclical"',
            )
        if self.schedule != "cyclical" and self.cycles != 4.0:
            raise ConfigError(
                f"`divergence.cycles` acts in a cyclical schedule, got {self.cycles:g} with "
                f"`{self.schedule}`",
                hint='set `divergence.schedule` to "cyclical"',
            )
        if not self.free_bits and self.free_form != "mean":
            raise ConfigError(
                "`divergence.free_form` says for what bits are free, got "
                f"`{self.free_form}` with none free",
                hint="set `divergence.free_bits` above 0",
            )

    def schedules(self) -> dict[str, Schedule]:
        """The weight over training, under the name `WEIGHT_NOW`."""

        def weight(hyper: Hyper, fraction: Float[Array, ""]) -> Float[Array, ""]:
            full, ramp = hyper["divergence.weight"], hyper["divergence.ramp"]
            if self.schedule == "constant":
                return full
            if self.schedule == "warm_up":
                return full * warm_up(fraction, ramp=ramp)
            cycles = hyper["divergence.cycles"]
            return full * cyclical(fraction, ramp=ramp, cycles=cycles)

        rest = Schedule(function=weight, evaluation=lambda h: h["divergence.weight"])
        return {WEIGHT_NOW: rest}


@dataclass(frozen=True, kw_only=True)
class Likelihood(Config):
    """The Gaussian noise around what is decoded, in standard deviations of the data.

    Attributes:
        kind: Its variance is `variance`; learned, one per channel; or, per channel, what
            suits the errors of each batch best (σ-VAE).
        variance: Of ``fixed``, in squared standard deviations.
    """

    kind: Literal["fixed", "learned", "analytic"] = static("analytic")
    variance: float = traced(0.01, low=1e-8)

    def validate(self) -> None:
        """Refuse a variance that acts on nothing."""
        if self.kind != "fixed" and self.variance != 0.01:
            raise ConfigError(
                f"`likelihood.variance` acts where it is fixed, got {self.variance:g} with "
                f"`{self.kind}`",
                hint='set `likelihood.kind` to "fixed"',
            )


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Which values of a signal are explained, and in what unit.

    Attributes:
        signal: Name in outputs and batch, ``[B, T, C]``.
        std: Unit per channel, in physical units.
        start: First sample that is.
    """

    signal: str
    std: np.ndarray
    start: int = 0

    def squared(
        self, outputs: Outputs, batch: Batch, *, output: str | None = None
    ) -> tuple[Float[Array, " channel"], Float[Array, " channel"]]:
        """Sum of squared errors, and number of values seen, per channel.

        Args:
            outputs: Of a model.
            batch: With what it should have given.
            output: Another name in the outputs.
        """
        given, target = outputs[output or self.signal], batch[self.signal]
        require_same_shape(given, target)
        seen = batch.get(f"seen.{self.signal}", jnp.ones(target.shape, bool))
        given, target = only(seen, given, target)
        unit = jnp.asarray(self.std, target.dtype)[None, None]
        errors = squared_error(given / unit, target / unit)[:, self.start :]
        count = jnp.sum(seen[:, self.start :], axis=(0, 1), dtype=jnp.int32)
        return jnp.sum(errors, axis=(0, 1)), count.astype(errors.dtype)

    def count(self, batch: Batch, hyper: Hyper) -> Int[Array, ""] | None:
        """How many values a batch explains, of terms for each value seen (`Term.count`).

        Args:
            batch: With the signal.
            hyper: Not looked at.

        Returns:
            None without gaps: the samples then tell.
        """
        del hyper
        seen = batch.get(f"seen.{self.signal}")
        if seen is None:
            return None
        return jnp.sum(seen[:, self.start :], dtype=jnp.int32)


class Variance(nnx.Module):
    """The variance of the noise around every channel, where it is not what errors say.

    Args:
        kind: Of the likelihood.
        channels: How many.
    """

    def __init__(self, kind: str, *, channels: int) -> None:
        self.kind = kind
        self.log_variance = (
            nnx.Param(jnp.zeros((channels,))) if kind == "learned" else None
        )

    def outputs(self, hyper: Hyper, shape: tuple[int, int]) -> dict[str, Array]:
        """The variance ``[B, C]`` of the likelihood under its name, unless errors decide it."""
        if self.kind == "analytic":
            return {}
        if self.log_variance is None:
            return {"variance": jnp.broadcast_to(hyper["likelihood.variance"], shape)}
        learned = jnp.exp(self.log_variance[...])[None]
        return {"variance": jnp.broadcast_to(learned, shape)}


class Code(NamedTuple):
    """A Gaussian code.

    Attributes:
        mean: ``[B, L]``.
        log_variance: Likewise.
    """

    mean: Float[Array, "row latent"]
    log_variance: Float[Array, "row latent"]

    @classmethod
    def of(cls, features: Float[Array, "row feature"]) -> Code:
        """The two halves of what an encoder gave."""
        return cls(*jnp.split(features, 2, axis=-1))

    def drawn(self, key: Key[Array, ""]) -> Float[Array, "row latent"]:
        """``mean + σ ε``: a draw that gradients pass through.

        Source: Kingma and Welling 2014, section 2.4.
        """
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(0.5 * self.log_variance) * noise


def latent_divergence(outputs: Outputs) -> Float[Array, "row latent"]:
    """Of the code ``{"mean", "log_variance"}`` in a model's outputs, in nats."""
    code = outputs["code"]
    return gaussian_divergence(code["mean"], code["log_variance"])


def channel_nll(
    mean_squared: Float[Array, " channel"], outputs: Outputs
) -> Float[Array, " channel"]:
    """Mean negative log likelihood of a value of each channel, in nats.

    Args:
        mean_squared: Errors, in squared standard deviations.
        outputs: With the ``variance`` ``[B, C]`` of each channel, unless that is what suits
            the errors best.
    """
    if "variance" not in outputs:
        return optimal_nll(mean_squared)
    return gaussian_nll(mean_squared, outputs["variance"][0])


def bound_terms(*, divergence: Divergence, scored: Scored) -> dict[str, Term]:
    """The evidence lower bound as two terms, both in nats for each value seen, and β.

    Divided by the number of values, neither the rate nor the clipping of gradients depends
    on how long windows are; the ratio of the terms is that of the bound. However an
    evaluation is cut, they are those of one batch, but for what one batch says by itself: the
    variance that suits its errors best, and bits that are free for its mean.

    Args:
        divergence: Its weight, and what of it is free.
        scored: The values that are explained.
    """

    def nll(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        total, count = scored.squared(outputs, batch)
        each = channel_nll(total / jnp.maximum(count, 1.0), outputs)
        return jnp.sum(each * count) / jnp.maximum(jnp.sum(count), 1.0)

    def kl(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        found = latent_divergence(outputs)
        free = hyper["divergence.free_bits"]
        total = counted(found, free=free, form=divergence.free_form)
        _, count = scored.squared(outputs, batch)
        return total * found.shape[0] / jnp.maximum(jnp.sum(count), 1.0)

    def beta(outputs: Outputs, batch: Batch, hyper: Hyper) -> Float[Array, ""]:
        return hyper[WEIGHT_NOW]

    return {
        "nll": Term(function=nll, count=scored.count),
        "kl": Term(function=kl, weight=WEIGHT_NOW, count=scored.count),
        "beta": Term(function=beta, weight=0.0),  # to be reported
    }


class NegativeBound:
    """The negative evidence lower bound at β = 1 and without free bits, in nats a value.

    Codes are drawn, once for each row.

    Args:
        scored: The values that are explained.
        output: Name in the outputs of what was decoded from the drawn codes.
    """

    name = "negative_elbo"

    def __init__(self, *, scored: Scored, output: str) -> None:
        self.scored = scored
        self.output = output

    def init(self, outputs: Outputs, batch: Batch) -> BoundSums:
        """The empty accumulator."""
        zero = jnp.zeros((batch[self.scored.signal].shape[-1],))
        return BoundSums(zero, zero, zero, jnp.zeros(()))

    def update(self, state: BoundSums, outputs: Outputs, batch: Batch) -> BoundSums:
        """Add a batch."""
        squared, count = self.scored.squared(outputs, batch, output=self.output)
        variance = outputs["variance"][0] if "variance" in outputs else state.variance
        nats = jnp.sum(latent_divergence(outputs))
        return BoundSums(
            state.squared + squared, state.count + count, variance, state.nats + nats
        )

    def finish(self, state: BoundSums) -> Float[Array, ""]:
        """The bound; NaN when nothing was added."""
        mean = state.squared / state.count
        fixed = gaussian_nll(mean, jnp.where(state.variance > 0, state.variance, 1.0))
        each = jnp.where(state.variance > 0, fixed, optimal_nll(mean))
        return (jnp.sum(each * state.count) + state.nats) / jnp.sum(state.count)


class BoundSums(NamedTuple):
    """The sums of `NegativeBound`.

    Attributes:
        squared: Squared errors, per channel.
        count: Values, per channel.
        variance: Of each channel; 0 where it is what suits the errors best.
        nats: Divergence of all codes.
    """

    squared: Float[Array, " channel"]
    count: Float[Array, " channel"]
    variance: Float[Array, " channel"]
    nats: Float[Array, ""]


def code_metrics(latents: int) -> tuple[Metric, ...]:
    """What codes carry, by themselves.

    ``carried``: mean divergence of a row, in nats; ``bits`` in bits. ``kl.0``, …: that of each
    latent. ``active_units``: latents whose mean differs from row to row with a variance above
    0.01; ``informed_units``: those of more than 0.01 nats.

    Args:
        latents: Numbers of a code.
    """

    def of(latent: int) -> Metric:
        return Average(
            name=f"kl.{latent}",
            function=lambda outputs, batch: latent_divergence(outputs)[:, latent],
        )

    carried = Average(
        name="carried",
        function=lambda outputs, batch: jnp.sum(latent_divergence(outputs), axis=1),
    )
    bits = Average(
        name="bits",
        function=lambda outputs, batch: (
            jnp.sum(latent_divergence(outputs), axis=1) / math.log(2.0)
        ),
    )
    counts = (ActiveUnits(), InformedUnits(latent_divergence))
    return (carried, bits, *counts, *map(of, range(latents)))
