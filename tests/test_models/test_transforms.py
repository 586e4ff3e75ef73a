"""Batch functions against numpy and scipy: what they add, whom they turn, where rows end."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

from models.errors import ConfigError
from models.layers import quaternion as q
from models.transforms import (
    add_bias,
    add_noise,
    add_varying_noise,
    apply_transforms,
    end_at_random,
    flat_cosine,
    linear,
    quaternion_augmentation,
    ramp,
    truncate_schedule,
)

UNIT = np.array([2.0, 0.5, 10.0])
ROWS, TIME = 400, 50


def run(*transforms, key=0, batch=None, **hyper):
    batch = {"u": jnp.zeros((ROWS, TIME, 3)), **(batch or {})}
    hyper = {name: jnp.float32(value) for name, value in hyper.items()}
    return apply_transforms(
        transforms, key=jax.random.key(key), batch=batch, step=jnp.int32(0), hyper=hyper
    )


def added(transform, **options):
    return np.asarray(run(transform, **options)["u"]) / UNIT


ADDERS = [add_noise, add_varying_noise, add_bias]


@pytest.mark.parametrize("adder", ADDERS, ids=lambda f: f.__name__)
def test_scale_is_traced_and_the_key_an_argument(adder):
    transform = adder(signal="u", scale="s", unit=jnp.asarray(UNIT))
    one, two, other = (
        added(transform, s=1),
        added(transform, s=2),
        added(transform, s=1, key=1),
    )
    np.testing.assert_allclose(two, 2 * one, rtol=1e-5)
    assert (one != other).all()
    assert (added(transform, s=0) == 0).all()
    with pytest.raises(ConfigError, match="`s`"):
        added(transform)


@pytest.mark.parametrize("adder", ADDERS, ids=lambda f: f.__name__)
def test_a_probability_chooses_rows(adder):
    options = {"signal": "u", "scale": "s", "unit": jnp.asarray(UNIT)}
    always = added(adder(**options), s=1)
    some = added(adder(**options, probability="p"), s=1, p=0.3)
    touched = (some != 0).any((1, 2))
    assert abs(touched.mean() - 0.3) < 0.08
    np.testing.assert_array_equal(some[touched], always[touched])
    never = added(adder(**options, probability="p"), s=1, p=0.0)
    assert (never == 0).all()


def test_noise_is_white_and_normal():
    noise = added(add_noise(signal="u", scale="s", unit=jnp.asarray(UNIT)), s=0.7) / 0.7
    for channel in range(3):
        assert kstest(noise[..., channel].ravel()[::7], "norm").pvalue > 1e-3
    after = (noise[:, 1:] * noise[:, :-1]).mean()
    assert abs(after) < 0.02


def levels(groups):
    transform = add_varying_noise(
        signal="u", scale="s", unit=jnp.asarray(UNIT), groups=groups
    )
    return added(transform, s=1).std(1)


def test_a_varying_level_is_a_half_normal_and_its_rows_own():
    found = levels(())
    # One level of all channels: estimates from 50 samples agree to about 10 %.
    assert np.corrcoef(found[:, 0], found[:, 1])[0, 1] > 0.9
    assert kstest(found[:, 0], "halfnorm").pvalue > 1e-3


def test_channels_of_one_group_share_a_level():
    correlation = np.corrcoef(levels((7, 3, 7)).T)
    assert correlation[0, 2] > 0.9 and abs(correlation[0, 1]) < 0.2
    with pytest.raises(ConfigError, match="3 channels"):
        levels((0, 1))


def test_a_bias_is_constant_over_a_row():
    bias = added(add_bias(signal="u", scale="s", unit=jnp.asarray(UNIT)), s=0.5)
    assert (bias == bias[:, :1]).all()
    for channel in range(3):
        assert kstest(bias[:, 0, channel] / 0.5, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(bias[:, 0].T) - np.eye(3)).max() < 0.15


def test_turning_the_body_leaves_the_world_as_it_is():
    random = np.random.default_rng(0)
    attitude = q.random_unit(jax.random.key(1), (8, 5))
    vectors = jnp.asarray(random.normal(size=(8, 5, 7)), jnp.float32)
    batch = {"u": vectors, "y": attitude}
    groups = {"u": [(0, 1, 2), (6, 4, 5)], "y": [(0, 1, 2, 3)]}
    turned = run(quaternion_augmentation(groups), batch=batch)
    for group in groups["u"]:
        before, after = vectors[..., group], turned["u"][..., group]
        assert (np.abs(after - before) > 1e-3).any(-1).mean() > 0.9
        world = q.rotate(attitude, before)
        np.testing.assert_allclose(q.rotate(turned["y"], after), world, atol=1e-4)
        # A rotation: lengths and the angle between the groups stay.
        np.testing.assert_allclose(
            jnp.linalg.norm(after, axis=-1), jnp.linalg.norm(before, axis=-1), rtol=1e-4
        )
    np.testing.assert_array_equal(turned["u"][..., 3], vectors[..., 3])
    turn = q.multiply(q.inverse(turned["y"]), attitude)
    sign = jnp.sign(jnp.sum(turn * turn[:, :1], -1, keepdims=True))
    np.testing.assert_allclose(
        turn * sign, jnp.broadcast_to(turn[:, :1], turn.shape), atol=1e-4
    )
    assert np.unique(np.round(np.abs(turn[:, 0]), 3), axis=0).shape[0] == 8


def test_a_vector_that_was_not_seen_in_full_is_not_seen_once_it_is_turned():
    random = np.random.default_rng(1)
    seen = random.random((6, 9, 7)) < 0.8
    batch = {"u": jnp.asarray(random.normal(size=(6, 9, 7)), jnp.float32)}
    hidden = {"u": jnp.where(seen, batch["u"], 1e3)}
    groups = {"u": [(0, 1, 2), (6, 4, 5)]}
    masks = {"seen.u": jnp.asarray(seen), "seen.y": jnp.ones((6, 9, 1), bool)}
    true = run(quaternion_augmentation(groups), batch=batch)["u"]
    found = run(quaternion_augmentation(groups), batch=hidden | masks)
    wanted = seen.copy()
    for group in groups["u"]:
        wanted[..., group] = seen[..., group].all(-1, keepdims=True)
    np.testing.assert_array_equal(found["seen.u"], wanted)
    assert found["seen.y"].all() and 0.2 < wanted[..., :3].mean() < 0.8
    np.testing.assert_allclose(found["u"][wanted], true[wanted], atol=1e-4)


def test_a_signal_that_is_not_there_is_told():
    one = {"scale": "s", "unit": jnp.ones(3)}
    for transform in (
        *(adder(signal="v", **one) for adder in ADDERS),
        quaternion_augmentation({"v": [(0, 1, 2)]}),
        truncate_schedule(signal="v", shortest=2, cut="s"),
        end_at_random(signal="v", shortest=2),
    ):
        with pytest.raises(ConfigError, match="signal `v`, which is not in the batch"):
            run(transform, s=0.5)
    for adder in ADDERS:
        with pytest.raises(ConfigError, match="3 channels, and a unit"):
            run(adder(signal="u", scale="s", unit=jnp.ones(1)), s=0.5)


def test_groups_that_are_no_vectors_are_refused():
    for none in ({}, {"u": []}):
        with pytest.raises(ConfigError, match="turns groups of channels"):
            quaternion_augmentation(none)
    with pytest.raises(ConfigError, match=r"\[\[0, 1\]\]"):
        quaternion_augmentation({"u": [(0, 1)]})
    with pytest.raises(ConfigError, match="once"):
        quaternion_augmentation({"u": [(0, 1, 2), (2, 3, 4)]})
    with pytest.raises(ConfigError, match="3 channels"):
        run(quaternion_augmentation({"u": [(1, 2, 3)]}))


def test_a_schedule_truncates_by_a_mask():
    transform = truncate_schedule(shortest=10, cut="cut")
    y = jnp.ones((4, TIME, 2))
    for cut, length in ((0.0, 50), (1.0, 10), (0.5, 30), (2.0, 10)):
        mask = run(transform, batch={"y": y}, cut=cut)["counted.y"]
        assert mask.shape == (4, TIME, 1) and mask.dtype == bool
        wanted = np.broadcast_to((np.arange(TIME) < length)[None, :, None], mask.shape)
        np.testing.assert_array_equal(mask, wanted)
    with pytest.raises(ConfigError, match="at least 1"):
        truncate_schedule(shortest=0, cut="cut")


def test_rows_end_at_random_and_masks_add_up():
    y = jnp.ones((ROWS, TIME, 1))
    mask = np.asarray(run(end_at_random(shortest=5), batch={"y": y})["counted.y"])
    lengths = mask[..., 0].sum(1)
    assert (np.diff(mask[..., 0].astype(int), axis=1) <= 0).all(), "only ends are cut"
    assert lengths.min() == 5 and lengths.max() > 35 and lengths.mean() < 25
    both = run(
        truncate_schedule(shortest=10, cut="cut"),
        end_at_random(shortest=5),
        batch={"y": y},
        cut=1.0,
    )["counted.y"]
    assert both[..., 0].sum(1).max() == 10


def test_schedules_at_their_corners():
    at = np.array([0.0, 0.1, 0.2, 0.4, 0.6, 0.75, 0.9, 1.0])

    def line(function, **options):
        return [float(function(x, start=2.0, end=-1.0, **options)) for x in at]

    np.testing.assert_allclose(
        line(ramp), np.interp(at, [0.2, 0.6], [2, -1]), atol=1e-6
    )
    np.testing.assert_allclose(
        line(linear), np.interp(at, [0, 0.75], [2, -1]), atol=1e-6
    )
    cosine = -1 + 3 * 0.5 * (1 + np.cos(np.pi * np.clip((at - 0.75) / 0.25, 0, 1)))
    np.testing.assert_allclose(line(flat_cosine), cosine, atol=1e-5)
    step = line(ramp, left=0.4, right=0.4)
    np.testing.assert_allclose(step, [2, 2, 2, -1, -1, -1, -1, -1])
