"""Losses of quaternions ``[w, x, y, z]``: how far a predicted turn is from the true one.

Predictions need not be of unit length: angles do not depend on it, and `length_penalty` draws
it to 1. The difference is ``prediction · target⁻¹``. `mean_angle` and its kind have a corner
at zero, `smooth_inclination` and `smooth_relative_angle` none: their slopes are those of a
parabola, without the arc tangent whose slope jumps.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.errors import ConfigError
from models.layers.quaternion import (
    Quaternion,
    inclination,
    norm,
    only_turns,
    relative,
    unit,
)
from models.layers.quaternion import angle as turn_of
from models.losses.criteria import Criterion, Signal, SumCount, Weight, mean_error, root
from models.losses.elementwise import require_same_shape

Measure = Callable[[Quaternion], Float[Array, "*shape"]]


def smooth_inclination(difference: Quaternion) -> Float[Array, "*shape"]:
    """``1 - √(w² + z²)`` of a unit quaternion: an eighth of the squared angle near zero."""
    w, _, _, z = (unit(difference)[..., i] for i in range(4))
    return 1.0 - root(w * w + z * z)


def smooth_relative_angle(difference: Quaternion) -> Float[Array, "*shape"]:
    """``1 - |w|`` of a unit quaternion: an eighth of the squared angle near zero."""
    return 1.0 - jnp.abs(unit(difference)[..., 0])


def _criterion(measure: Measure, outer: Callable[[Array], Array]) -> Criterion:
    """The mean of ``outer(measure(prediction · target⁻¹))`` over samples."""
    mean = mean_error(lambda value, zero: outer(value - zero))

    def sums(prediction: Signal, target: Signal, weight: Weight | None) -> SumCount:
        _require_four(prediction, target)
        chosen = None
        if weight is not None:
            # A quaternion counts where all four of its numbers do.
            seen = weight if weight.dtype == bool else weight != 0
            here = jnp.all(seen, axis=-1, keepdims=True)
            prediction, target = (only_turns(here, q) for q in (prediction, target))
            chosen = (
                here if weight.dtype == bool else jnp.min(weight, -1, keepdims=True)
            )
        value = measure(relative(prediction, target))[..., None]
        return mean.sums(value, jnp.zeros_like(value), chosen)

    return Criterion(sums=sums)


def _rms(criterion: Criterion) -> Criterion:
    def sums(prediction: Signal, target: Signal, weight: Weight | None) -> SumCount:
        return SumCount(root(criterion.sums(prediction, target, weight).value), 1.0)

    return Criterion(sums=sums, whole=True)


mean_inclination = _criterion(inclination, jnp.abs)
"""Mean angle between the inclinations, in radians: blind to the heading."""
square_inclination = _criterion(inclination, jnp.square)
"""Its mean square, in squared radians."""
rms_inclination = _rms(square_inclination)
"""The root of that, in radians."""
smooth_inclination_loss = _criterion(smooth_inclination, lambda x: x)
"""Mean of `smooth_inclination`, without unit, from 0 to 1."""
mean_angle = _criterion(turn_of, jnp.abs)
"""Mean angle of the turn between prediction and target, in radians."""
square_angle = _criterion(turn_of, jnp.square)
"""Its mean square, in squared radians."""
rms_angle = _rms(square_angle)
"""The root of that, in radians."""
smooth_angle_loss = _criterion(smooth_relative_angle, lambda x: x)
"""Mean of `smooth_relative_angle`, without unit, from 0 to 1."""


def length_penalty(states: Quaternion) -> Float[Array, ""]:
    """``(1 - ‖q‖)²``, averaged: draws predicted quaternions to unit length."""
    return jnp.mean(jnp.square(1.0 - norm(states)))


def degrees(radians: Array) -> Array:
    """An angle in degrees, as orientation errors are reported."""
    return radians * (180.0 / jnp.pi)


def _require_four(prediction: Array, target: Array) -> None:
    require_same_shape(prediction, target)
    if target.shape[-1] != 4:
        raise ConfigError(
            f"a quaternion has 4 channels [w, x, y, z], got {target.shape[-1]}",
            hint="choose the four channels of an orientation",
        )
