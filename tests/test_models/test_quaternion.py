"""Quaternions against scipy's rotations and numpy; their losses, with slopes everywhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from models.errors import ConfigError
from models.layers import quaternion as q
from models.losses import quaternion as losses

RANDOM = np.random.default_rng(0)
A, B = Rotation.random(20, random_state=1), Rotation.random(20, random_state=2)


def of(rotation):
    """``[w, x, y, z]``; scipy has the scalar last."""
    return jnp.asarray(rotation.as_quat()[:, [3, 0, 1, 2]], jnp.float32)


def same_turn(got, wanted):
    sign = np.sign(np.sum(got * wanted, -1, keepdims=True))
    np.testing.assert_allclose(got * sign, wanted, atol=1e-5)


def test_products_inverses_and_vectors_are_scipys():
    a, b = of(A), of(B)
    same_turn(q.multiply(a, b), of(A * B))
    same_turn(q.inverse(a), of(A.inv()))
    same_turn(q.relative(a, b), of(A * B.inv()))
    v = RANDOM.normal(size=(20, 3))
    np.testing.assert_allclose(
        q.rotate(a, jnp.asarray(v, jnp.float32)), A.apply(v), atol=1e-5
    )


def test_angles_are_scipys():
    a, b = of(A), of(B)
    np.testing.assert_allclose(q.angle(a), A.magnitude(), atol=1e-5)
    np.testing.assert_allclose(
        q.relative_angle(a, b), (A * B.inv()).magnitude(), atol=1e-5
    )
    # The inclination is the angle between the vertical and where it is turned to.
    up = A.apply([0.0, 0.0, 1.0])[:, 2]
    np.testing.assert_allclose(q.inclination(a), np.arccos(up), atol=1e-4)
    euler = A.as_euler("ZYX")
    np.testing.assert_allclose(q.roll(a), euler[:, 2], atol=1e-4)
    np.testing.assert_allclose(q.pitch(a), euler[:, 1], atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(heading=st.floats(-3, 3), length=st.floats(0.1, 10), seed=st.integers(0, 9))
def test_inclination_knows_neither_heading_nor_length(heading, length, seed):
    a = Rotation.random(random_state=seed)
    turned = Rotation.from_rotvec([0, 0, heading]) * a
    first, second = (
        jnp.asarray(r.as_quat()[[3, 0, 1, 2]], jnp.float32) for r in (a, turned)
    )
    np.testing.assert_allclose(
        q.inclination(length * first), q.inclination(-second), atol=2e-3
    )


def test_lengths():
    a = 3.0 * of(A)
    np.testing.assert_allclose(q.norm(a), 3.0, rtol=1e-5)
    np.testing.assert_allclose(q.norm(q.unit(a)), 1.0, rtol=1e-5)
    np.testing.assert_allclose(
        q.multiply(a, q.inverse(a)), [[1, 0, 0, 0]] * 20, atol=1e-5
    )
    zero = jnp.zeros((1, 4))
    assert (np.asarray(q.unit(zero)) == 0).all()
    assert np.isfinite(jax.grad(lambda x: jnp.sum(q.norm(x)))(zero)).all()
    np.testing.assert_allclose(losses.length_penalty(a), 4.0, rtol=1e-4)


def test_random_turns_are_even():
    drawn = q.random_unit(jax.random.key(0), (4000,))
    np.testing.assert_allclose(q.norm(drawn), 1.0, rtol=1e-5)
    up = jnp.broadcast_to(jnp.asarray([0.0, 0.0, 1.0]), (4000, 3))
    height = np.asarray(q.rotate(drawn, up))[:, 2]
    # On a sphere every height is as likely as any other (Archimedes).
    np.testing.assert_allclose(
        np.quantile(height, [0.25, 0.5, 0.75]), [-0.5, 0, 0.5], atol=0.05
    )


ANGLES = {
    "mean_inclination": lambda i, a: np.abs(i).mean(),
    "square_inclination": lambda i, a: (i**2).mean(),
    "rms_inclination": lambda i, a: np.sqrt((i**2).mean()),
    "smooth_inclination_loss": lambda i, a: (1 - np.cos(i / 2)).mean(),
    "mean_angle": lambda i, a: np.abs(a).mean(),
    "square_angle": lambda i, a: (a**2).mean(),
    "rms_angle": lambda i, a: np.sqrt((a**2).mean()),
    "smooth_angle_loss": lambda i, a: (1 - np.cos(a / 2)).mean(),
}


@pytest.mark.parametrize("name", ANGLES)
def test_losses_equal_scipys_angles_and_skip_gaps(name):
    criterion, oracle = getattr(losses, name), ANGLES[name]
    a, b = (of(x).reshape(4, 5, 4) for x in (A, B))
    difference = A * B.inv()
    tilt = np.arccos(np.clip(difference.apply([0.0, 0.0, 1.0])[:, 2], -1, 1))
    turn = difference.magnitude()
    np.testing.assert_allclose(criterion(a, b), oracle(tilt, turn), rtol=1e-4)
    np.testing.assert_allclose(criterion(2.0 * a, -b), oracle(tilt, turn), rtol=1e-4)
    seen = RANDOM.uniform(size=(4, 5)) < 0.6
    mask = jnp.asarray(np.repeat(seen[..., None], 4, -1))
    holes = jnp.where(mask, b, jnp.nan)
    value, slope = jax.value_and_grad(criterion)(a, holes, mask)
    kept = seen.ravel()
    np.testing.assert_allclose(value, oracle(tilt[kept], turn[kept]), rtol=1e-4)
    assert np.isfinite(slope).all() and (np.asarray(slope)[~seen] == 0).all()
    assert np.isfinite(jax.grad(criterion)(b, b)).all(), "at a perfect prediction too"


def test_smooth_losses_are_an_eighth_of_the_square_near_zero():
    small = Rotation.from_rotvec([[0.02, 0.0, 0.0]])
    zero = jnp.asarray([[[1.0, 0.0, 0.0, 0.0]]])
    for criterion in (losses.smooth_inclination_loss, losses.smooth_angle_loss):
        value = criterion(of(small)[None], zero)
        np.testing.assert_allclose(value, 0.02**2 / 8, rtol=0.01)


def test_what_is_no_quaternion_is_refused():
    with pytest.raises(ConfigError, match="got 3"):
        losses.mean_angle(jnp.zeros((1, 2, 3)), jnp.zeros((1, 2, 3)))
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        q.multiply(jnp.zeros((2, 4)), jnp.zeros((1, 4)))
    np.testing.assert_allclose(losses.degrees(jnp.float32(np.pi)), 180.0, rtol=1e-6)


@pytest.mark.parametrize("name", ANGLES)
def test_a_prediction_of_length_zero_is_no_turn_and_never_a_perfect_one(name):
    criterion = getattr(losses, name)
    b = of(B).reshape(4, 5, 4)
    zero, rest = jnp.zeros_like(b), q.no_turn(b)
    assert criterion(rest, b) > 0.05
    for p, t in ((zero, b), (b, zero)):
        other = (rest, b) if p is zero else (b, rest)
        np.testing.assert_allclose(criterion(p, t), criterion(*other), rtol=1e-5)
        assert np.isfinite(jax.grad(criterion)(p, t)).all()
    assert np.isnan(criterion(jnp.full_like(b, jnp.nan), b)), "a model that diverged"
