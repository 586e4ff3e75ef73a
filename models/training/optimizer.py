"""How parameters are found: the optax chain of a gradient step, or damped least squares.

Everything is built inside the compiled step from traced values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from models.config import Config, static, traced
from models.errors import ConfigError
from models.training.frozen import trained_entries
from models.training.least_squares.damping import Damping

# optax gives up after this many refused updates in a row; the harness, which sees every
# refusal in `skipped`, is the one who decides that.
NEVER = 2**31 - 2

ADAM, LEVENBERG_MARQUARDT = "adam", "levenberg_marquardt"
DAMPING = "optimizer.damping"


@dataclass(frozen=True, kw_only=True)
class Optimizer(Config):
    """AdamW behind clipping of the global norm, or Levenberg and Marquardt's method.

    Updates that are not finite are skipped by either. The second is for models of up to about a
    thousand parameters (`models.training.least_squares`); the fields of the other kind have
    no meaning then.

    Attributes:
        kind: ``adam``, or ``levenberg_marquardt``: an epoch is then one damped step of
            Gauss and Newton over all windows, which are cut so that every sample is scored
            once.
        learning_rate: The peak of the schedule.
        weight_decay: Decoupled decay, times the learning rate, of every parameter.
        clip_norm: Global norm above which gradients are scaled down.
        skip_norm: Global norm above which a batch changes nothing at all, moments included,
            as one that is not finite; 0 for never. Skipped steps are counted as ``skipped``.
        frozen: Dotted paths of parameters that stay as they began, each with all below it
            (``recurrent``, ``head.bias``); gradients and decay of them count nowhere.
        b1: Decay of the first moment.
        b2: Decay of the second moment.
        schedule: ``constant``; ``flat_cosine`` (flat, then a cosine to zero from
            `decay_start`); ``warmup_cosine`` (linear up to `warmup`, then cosine to zero).
        decay_start: Fraction of the horizon at which the decay of ``flat_cosine`` begins.
        warmup: Fraction of the horizon that the warm-up of ``warmup_cosine`` takes.
        averaged: Whether an exponential average of the parameters is what is scored, kept
            as best and predicted with.
        average: Decay of that average, per step (Polyak and Juditsky 1992, with the
            exponential weights of Kingma and Ba 2015, section 7.2).
        damping: Levenberg–Marquardt: λ of the first step, relative to the squared length
            of a parameter's column in the Jacobian. Changed while a model is trained, it
            changes the λ of then by the same factor.
        damping_up: Factor on λ when a step is refused.
        damping_down: Divisor of λ when a step is taken.
        scale_floor: Smallest squared length of a column that counts, relative to the
            largest; raise it (1e-2) where training begins at random.
        stage_windows: How many windows the first stages take; the last one, without end,
            takes all of them.
        stage_epochs: Epochs of each of the first stages.
    """

    kind: str = static(ADAM, choices=(ADAM, LEVENBERG_MARQUARDT))
    learning_rate: float = traced(3e-3, low=0.0)
    weight_decay: float = traced(0.0, low=0.0)
    clip_norm: float = traced(1.0, low=0.0)
    skip_norm: float = traced(0.0, low=0.0, off=0.0)
    frozen: tuple[str, ...] = static(())
    b1: float = traced(0.9, low=0.0, high=0.999999)
    b2: float = traced(0.999, low=0.0, high=0.999999)
    schedule: str = static(
        "flat_cosine", choices=("constant", "flat_cosine", "warmup_cosine")
    )
    decay_start: float = traced(0.5, low=0.0, high=1.0)
    warmup: float = traced(0.1, low=0.0, high=1.0)
    averaged: bool = static(False)
    average: float = traced(0.999, low=0.0, high=0.999999)
    damping: float = traced(1e-2, low=1e-12)
    damping_up: float = traced(4.0, low=1.0)
    damping_down: float = traced(5.0, low=1.0)
    scale_floor: float = traced(1e-6, low=0.0, high=1.0)
    stage_windows: tuple[int, ...] = static((20, 50), low=1)
    stage_epochs: tuple[int, ...] = static((15, 20), low=1)

    def validate(self) -> None:
        """Refuse stages without an end, ends without a stage, and averaged iterations."""
        if self.averaged and self.kind == LEVENBERG_MARQUARDT:
            raise ConfigError(
                f"`optimizer.kind` {LEVENBERG_MARQUARDT} averages no parameters: each "
                "iteration is better than the one before, got `optimizer.averaged` true",
                hint="set `optimizer.averaged` to false, or `optimizer.kind` to `adam`",
            )
        if self.frozen and self.kind == LEVENBERG_MARQUARDT:
            raise ConfigError(
                f"`optimizer.kind` {LEVENBERG_MARQUARDT} trains all parameters, got "
                f"`optimizer.frozen` {list(self.frozen)}",
                hint="leave `optimizer.frozen` out, or set `optimizer.kind` to `adam`",
            )
        if len(self.stage_windows) != len(self.stage_epochs):
            raise ConfigError(
                "`optimizer.stage_windows` and `optimizer.stage_epochs` describe the same "
                f"stages, got {list(self.stage_windows)} and {list(self.stage_epochs)}",
                hint="give both equally many numbers; the last stage, over all windows, is "
                "not among them",
            )

    def unused(self) -> frozenset[str]:
        """The fields that belong to the other kind, and those of what is not asked for.

        For ``adam`` `kind` is one of them, `averaged` where it is false and `frozen` where it
        is empty: configurations from before there was a choice keep their signature, and
        with it their checkpoints.
        """
        second = {"damping", "damping_up", "damping_down", "scale_floor"}
        second |= {"stage_windows", "stage_epochs"}
        if self.kind == ADAM:
            off = set() if self.averaged else {"averaged", "average"}
            off |= set() if self.frozen else {"frozen"}
            return frozenset({"kind", *second, *off})
        return frozenset(set(self.keys()) - second - {"kind"})

    def adopted(
        self, state: Any, before: Mapping[str, float], values: Mapping[str, float]
    ) -> Any:
        """The optimizer's state where traced values change in the middle of training.

        Args:
            state: As it was saved.
            before: Traced values that it was trained with, by dotted key.
            values: Those that change.
        """
        new = values.get(DAMPING)
        if not isinstance(state, Damping) or new is None or new == before[DAMPING]:
            return state
        return state.scaled(new / before[DAMPING])

    def rate(
        self, hyper: Mapping[str, Array], fraction: Float[Array, ""]
    ) -> Float[Array, ""]:
        """The learning rate at `fraction` of the horizon.

        Args:
            hyper: Traced values by dotted key (``optimizer.learning_rate``).
            fraction: Steps done over steps planned; beyond 1 counts as 1.
        """
        peak = hyper["optimizer.learning_rate"]
        if self.schedule == "constant":
            return peak
        fraction = jnp.clip(fraction, 0.0, 1.0)
        if self.schedule == "flat_cosine":
            return peak * _cosine(fraction, hyper["optimizer.decay_start"])
        warmup = hyper["optimizer.warmup"]
        rise = jnp.where(
            fraction < warmup, fraction / jnp.where(warmup > 0, warmup, 1.0), 1.0
        )
        return peak * rise * _cosine(fraction, warmup)

    def accepts(
        self, norm: Float[Array, ""], hyper: Mapping[str, Array]
    ) -> Bool[Array, ""]:
        """Whether a step may be taken: its gradient is finite, and not too large.

        Args:
            norm: Global norm of the gradient, before clipping.
            hyper: Traced values by dotted key.
        """
        finite = jnp.isfinite(norm)
        if not self.on("skip_norm"):
            return finite
        return finite & (norm <= hyper["optimizer.skip_norm"])

    def trained(
        self, vector: Float[Array, " parameters"], params: optax.Params
    ) -> Float[Array, " parameters"]:
        """A vector of all parameters with zeros where they are frozen.

        Args:
            vector: Gradients or updates.
            params: The tree of parameters.

        Raises:
            ConfigError: A frozen path names no parameter, or nothing is left to train.
        """
        if not self.frozen:
            return vector
        entries = trained_entries(params, self.frozen)
        return jnp.where(entries, vector, jnp.zeros_like(vector))

    def transformation(
        self, hyper: Mapping[str, Array], fraction: Float[Array, ""]
    ) -> optax.GradientTransformation:
        """The chain for one step; its state does not depend on the traced values."""
        return optax.apply_if_finite(
            optax.chain(
                optax.clip_by_global_norm(hyper["optimizer.clip_norm"]),
                optax.adamw(
                    self.rate(hyper, fraction),
                    b1=hyper["optimizer.b1"],
                    b2=hyper["optimizer.b2"],
                    weight_decay=hyper["optimizer.weight_decay"],
                ),
            ),
            max_consecutive_errors=NEVER,
        )

    def init(self, hyper: Mapping[str, Array], params: optax.Params) -> optax.OptState:
        """The state before the first step; moments are one vector (see `update`)."""
        if self.kind == LEVENBERG_MARQUARDT:
            return Damping.first(hyper, params)
        with _lenient():
            chain = self.transformation(hyper, jnp.zeros(()))
            return chain.init(ravel_pytree(params)[0])

    def update(
        self,
        gradients: Float[Array, " parameters"],
        state: optax.OptState,
        params: optax.Params,
        *,
        hyper: Mapping[str, Array],
        fraction: Float[Array, ""],
    ) -> tuple[optax.Params, optax.OptState]:
        """Parameters and state after one step; both unchanged if a gradient is not finite.

        The chain works on all parameters as one vector: as fast as on the tree, but XLA
        compiles one set of kernels instead of one for every parameter.

        Args:
            gradients: Of all parameters, as `jax.flatten_util.ravel_pytree` orders them.
            state: What `init` or the last `update` gave.
            params: The tree of parameters.
            hyper: Traced values by dotted key.
            fraction: Steps done over steps planned.
        """
        vector, unravel = ravel_pytree(params)
        with _lenient():
            chain = self.transformation(hyper, fraction)
            updates, state = chain.update(
                self.trained(gradients, params), state, vector
            )
            # Once more: decay moves parameters without any gradient.
            updates = self.trained(updates, params)
            return unravel(optax.apply_updates(vector, updates)), state


def _lenient() -> jax.numpy_dtype_promotion:
    """Optax raises traced decays to integer powers, which strict promotion refuses."""
    return jax.numpy_dtype_promotion("standard")


def _cosine(fraction: Float[Array, ""], start: Float[Array, ""]) -> Float[Array, ""]:
    """1 until `start`, then half a cosine down to 0 at 1."""
    span = jnp.maximum(1.0 - start, jnp.finfo(start.dtype).tiny)
    done = jnp.clip((fraction - start) / span, 0.0, 1.0)
    # With `start` 1 the last point is not reached within the horizon: stay flat.
    done = jnp.where(start < 1.0, done, 0.0)
    return 0.5 * (1.0 + jnp.cos(jnp.pi * done))
