"""Quaternions ``[w, x, y, z]`` on the last axis: turns of a body in space, Hamilton's product.

Everything broadcasts nowhere, works on any leading axes, and is written so that slopes are
finite where an angle is zero. A quaternion and its negative are the same turn. `multiply`,
`conjugate`, `rotate` and `level` compute in numpy where that is what they are given.
"""

from __future__ import annotations

from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from models.losses.criteria import root
from models.losses.elementwise import require_same_shape

Quaternion: TypeAlias = Float[Array, "*shape 4"]
Angle: TypeAlias = Float[Array, "*shape"]
NO_TURN = (1.0, 0.0, 0.0, 0.0)


def multiply(first: Quaternion, second: Quaternion) -> Quaternion:
    """Hamilton's product: the turn `second`, then the turn `first`.

    Raises:
        ValueError: The shapes differ.
    """
    require_same_shape(first, second)
    arrays = first.__array_namespace__()
    a, b, c, d = (first[..., i] for i in range(4))
    w, x, y, z = (second[..., i] for i in range(4))
    product: Quaternion = arrays.stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        axis=-1,
    )
    return product


def conjugate(quaternion: Quaternion) -> Quaternion:
    """The quaternion with its vector part turned round; of unit length, the inverse."""
    arrays = quaternion.__array_namespace__()
    sign = arrays.asarray([1.0, -1.0, -1.0, -1.0], dtype=quaternion.dtype)
    turned: Quaternion = quaternion * arrays.broadcast_to(sign, quaternion.shape)
    return turned


def inverse(quaternion: Quaternion) -> Quaternion:
    """What undoes a turn, of any length but zero (of zero: zero)."""
    square = jnp.sum(jnp.square(quaternion), axis=-1, keepdims=True)
    square = jnp.broadcast_to(square, quaternion.shape)
    return conjugate(quaternion) / jnp.where(square > 0, square, 1.0)


def norm(quaternion: Quaternion) -> Angle:
    """The length; 1 for a turn. Its slope at zero is zero."""
    return root(jnp.sum(jnp.square(quaternion), axis=-1))


def unit(quaternion: Quaternion) -> Quaternion:
    """The quaternion at length 1; one of length zero stays."""
    length = jnp.broadcast_to(norm(quaternion)[..., None], quaternion.shape)
    return quaternion / jnp.where(length > 0, length, 1.0)


def no_turn(like: Quaternion) -> Quaternion:
    """Quaternions of no turn, as many as there are.

    Args:
        like: Gives shape and type.
    """
    return jnp.broadcast_to(jnp.asarray(NO_TURN, like.dtype), like.shape)


def only_turns(mask: Bool[Array, "*shape 1"], quaternion: Quaternion) -> Quaternion:
    """The quaternions where a mask is true, and no turn elsewhere, whatever is there.

    Chosen before anything is computed, so that no slope of what is hidden is NaN.

    Args:
        mask: Of each quaternion.
        quaternion: May be NaN where the mask is false.
    """
    here = jnp.broadcast_to(mask, quaternion.shape)
    return jnp.where(here, quaternion, no_turn(quaternion))


def relative(first: Quaternion, second: Quaternion) -> Quaternion:
    """``first · second⁻¹``: what turns `second` into `first`.

    One of length zero says nothing and is taken for no turn: the difference of anything to
    it would be zero, whose angle is that of a perfect prediction, and has no slope.

    Raises:
        ValueError: The shapes differ.
    """
    # Not "longer than zero", which would hide what is not a number.
    first, second = (
        only_turns(jnp.any(q != 0, axis=-1, keepdims=True), q) for q in (first, second)
    )
    return multiply(first, inverse(second))


def inclination(quaternion: Quaternion) -> Angle:
    """The angle to the vertical axis z, from 0 to π radians, whatever the heading.

    ``2 atan2(√(x² + y²), √(w² + z²))``.
    """
    w, x, y, z = (quaternion[..., i] for i in range(4))
    return 2.0 * jnp.arctan2(root(x * x + y * y), root(w * w + z * z))


def angle(quaternion: Quaternion) -> Angle:
    """The angle of the turn, from 0 to π radians: ``2 atan2(‖(x, y, z)‖, |w|)``."""
    vector = root(jnp.sum(jnp.square(quaternion[..., 1:]), axis=-1))
    return 2.0 * jnp.arctan2(vector, jnp.abs(quaternion[..., 0]))


def heading(quaternion: Quaternion) -> Angle:
    """The angle about the vertical axis z, from 0 to π radians: ``2 atan |z / w|``."""
    w, z = quaternion[..., 0], quaternion[..., 3]
    flat = (w == 0) & (z == 0)  # turned upside down: no heading, and no slope
    return 2.0 * jnp.arctan2(jnp.abs(z), jnp.where(flat, 1.0, jnp.abs(w)))


def inclination_angle(first: Quaternion, second: Quaternion) -> Angle:
    """How far apart the inclinations of two turns are, in radians: of their difference.

    Raises:
        ValueError: The shapes differ.
    """
    return inclination(relative(first, second))


def relative_angle(first: Quaternion, second: Quaternion) -> Angle:
    """By how much one turn must be turned to be the other, in radians.

    Raises:
        ValueError: The shapes differ.
    """
    return angle(relative(first, second))


def roll(quaternion: Quaternion) -> Angle:
    """The angle about x of a unit quaternion, from -π to π (turned z, then y, then x)."""
    w, x, y, z = (quaternion[..., i] for i in range(4))
    return jnp.arctan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y))


def pitch(quaternion: Quaternion) -> Angle:
    """The angle about y of a unit quaternion, from -π/2 to π/2."""
    w, x, y, z = (quaternion[..., i] for i in range(4))
    sine = jnp.clip(2.0 * (w * y - z * x), -1.0, 1.0)
    return jnp.arctan2(sine, root(1.0 - sine * sine))


def rotate(
    quaternion: Quaternion, vector: Float[Array, "*shape 3"]
) -> Float[Array, "*shape 3"]:
    """A vector turned by a unit quaternion: ``q v q⁻¹``.

    Args:
        quaternion: Of the same leading axes.
        vector: In any unit.
    """
    arrays = vector.__array_namespace__()
    pure = arrays.concatenate([arrays.zeros_like(vector[..., :1]), vector], axis=-1)
    return multiply(multiply(quaternion, pure), conjugate(quaternion))[..., 1:]


def level(up: Float[Array, "*shape 3"]) -> Quaternion:
    """The smallest turn that makes a direction the vertical one; of no direction, no turn.

    Args:
        up: Of any length.
    """
    arrays = up.__array_namespace__()
    length = arrays.sqrt(arrays.sum(up * up, axis=-1))
    x, y, z = (up[..., i] for i in range(3))
    w = length + z
    # Upside down, any horizontal axis will do.
    over = (w <= 1e-6 * length) & (length > 0)
    none, one = arrays.zeros_like(w), arrays.ones_like(w)
    w = arrays.where(over, none, arrays.where(length > 0, w, one))
    found = arrays.stack(
        [w, arrays.where(over, one, y), arrays.where(over, none, -x), none], axis=-1
    )
    size = arrays.sqrt(arrays.sum(found * found, axis=-1))[..., None]
    turned: Quaternion = found / arrays.broadcast_to(size, found.shape)
    return turned


def accumulated(turns: Float[Array, "batch time 4"]) -> Float[Array, "batch time 4"]:
    """Turns one after another, each in the axes of those before: ``q₀``, ``q₀ q₁``, ….

    Args:
        turns: Unit quaternions.
    """

    # One by one: a parallel scan cannot be exported for sequences of any length.
    def step(before: Quaternion, turn: Quaternion) -> tuple[Quaternion, Quaternion]:
        now = unit(multiply(before, turn))
        return now, now

    rest = jnp.zeros_like(turns[:, 0]).at[:, 0].set(1.0)
    _, found = jax.lax.scan(step, rest, jnp.swapaxes(turns, 0, 1))
    return jnp.swapaxes(found, 0, 1)


def rotation(vector: Float[Array, "*shape 3"]) -> Quaternion:
    """The turn about an axis by an angle, given as axis times angle in radians."""
    angle = root(jnp.sum(jnp.square(vector), axis=-1))[..., None]
    half = 0.5 * angle
    part = 0.5 * jnp.sinc(half / jnp.pi)
    return jnp.concatenate(
        [jnp.cos(half), jnp.broadcast_to(part, vector.shape) * vector], axis=-1
    )


def random_unit(key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Quaternion:
    """Turns drawn evenly over all there are.

    Source: a normal vector has no preferred direction (Muller 1959).

    Args:
        key: Randomness.
        shape: Leading axes.
    """
    return unit(jax.random.normal(key, (*shape, 4)))
