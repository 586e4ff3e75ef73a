"""What sequence networks minimise: an error of y, and penalties of what they compute inside."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from models.config import Config, static, traced
from models.losses import (
    ERRORS,
    Criterion,
    Loss,
    cut,
    mean_error,
    normalised,
    only,
    penalty,
    require_same_shape,
    rmse,
    term_of,
    time_weighted,
)
from models.losses.combine import counted
from models.losses.regularizers import PENALTIES
from models.training.problem import Batch, Hyper, Outputs
from models.training.residuals import Residuals

FEATURES = "features"
"""Output that penalties read: the channels that the head maps to y, ``[B, T, F]``."""

LossKind = Literal["mse", "mae", "huber", "nrmse"]
CRITERIA: dict[str, Criterion] = {
    **{name: mean_error(error) for name, error in ERRORS.items()},
    # In standard deviations of the train part, not of a batch, whose quiet windows would
    # count most.
    "nrmse": rmse,
}


@dataclass(frozen=True, kw_only=True)
class WindowLoss(Config):
    """Which samples of every window a loss counts, and how much; of what, a subclass says.

    Attributes:
        kind: Of the error.
        n_skip: Samples that do not count at the start of what is scored of every window
            (behind the known outputs, where there are any), while the model forgets that
            it started from nothing.
        n_cut: Samples that do not count at the end of every window.
        last_weight: What the last scored sample counts relative to the first; in between
            on a logarithmic scale. 1 for all alike, 0.1 is usual where a prediction drifts.
    """

    kind: str = static("")
    n_skip: int = static(0, low=0)
    n_cut: int = static(0, low=0)
    last_weight: float = traced(1.0, low=1e-6, high=1e6, off=1.0)

    @abstractmethod
    def criterion(self, std: np.ndarray) -> Criterion:
        """The error of a whole signal.

        Args:
            std: Standard deviation of every output channel, in physical units.
        """

    @property
    def mean_square(self) -> bool:
        """Whether this is a plain mean square of what residuals cover, for least squares."""
        return False

    def unused(self) -> frozenset[str]:
        """The end of windows, where all of it counts: signatures are as before it was asked."""
        return frozenset() if self.n_cut else frozenset({"n_cut"})


@dataclass(frozen=True, kw_only=True)
class SequenceLoss(WindowLoss):
    """The error that training minimises over every window, in standard deviations of y.

    Attributes:
        kind: Mean squared, mean absolute, or Huber error (quadratic up to one standard
            deviation); or ``nrmse``, the root of the mean square per channel, averaged.
    """

    kind: LossKind = static("mse")

    def criterion(self, std: np.ndarray) -> Criterion:
        """The error in standard deviations."""
        return normalised(CRITERIA[self.kind], std=std)

    @property
    def mean_square(self) -> bool:
        """Whether this is a plain mean square of what residuals cover, for least squares."""
        return self.kind == "mse" and not self.n_cut and not self.on("last_weight")


@dataclass(frozen=True, kw_only=True)
class Regularization(Config):
    """Penalties of what the head of a network reads, beside the error; off at 0.

    Attributes:
        activation: Weight of its mean square.
        temporal_activation: Weight of the mean square of its change from sample to sample.
    """

    activation: float = traced(0.0, low=0.0, off=0.0)
    temporal_activation: float = traced(0.0, low=0.0, off=0.0)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The penalties that are on."""
        return tuple(name for name in PENALTIES if self.on(name))


def sequence_loss(*, config: WindowLoss, std: np.ndarray, start: int = 0) -> Loss:
    """One term, named after its kind.

    Args:
        config: Which error, of which samples.
        std: Standard deviation of every output channel, in physical units.
        start: First sample of a window that is scored.
    """
    first, last = start + config.n_skip, -config.n_cut or None
    plain = config.criterion(std)
    if not config.on("last_weight"):
        term = term_of(cut(plain, first, last))
    else:

        def weighted(hyper: Hyper) -> Criterion:
            weight = hyper["loss.last_weight"]
            return cut(time_weighted(plain, last=weight), first, last)

        term = dataclasses.replace(term_of(weighted), whole=plain.whole)
    return Loss(terms={config.kind: term})


def sequence_residuals(
    *, config: WindowLoss, std: np.ndarray, start: int = 0
) -> Residuals:
    """The errors of y in standard deviations; their mean square is the loss ``mse``.

    Args:
        config: After how many samples; a mean square.
        std: Standard deviation of every output channel, in physical units.
        start: First sample of a window that is scored.
    """
    skip = start + config.n_skip

    def function(outputs: Outputs, batch: Batch) -> tuple[Array, Array]:
        prediction, target = outputs["y"], batch["y"]
        require_same_shape(prediction, target)
        late = (jnp.arange(target.shape[1]) >= skip)[None, :, None]
        scored = jnp.broadcast_to(late, target.shape)
        mask = counted(batch, "y")
        if mask is not None:
            scored = scored & mask
        prediction, target = only(scored, prediction, target)
        return (prediction - target) / jnp.asarray(std, target.dtype)[
            None, None
        ], scored

    return Residuals(function=function, start=skip)


def regularized(loss: Loss, regularization: Regularization) -> Loss:
    """A loss with the penalties that are on, under the names they are configured by.

    Args:
        loss: Of the outputs.
        regularization: Says which, and by which traced weights.
    """
    terms = {
        name: penalty(name, output=FEATURES, weight=f"regularization.{name}")
        for name in regularization.kinds
    }
    return Loss(terms={**loss.terms, **terms})
