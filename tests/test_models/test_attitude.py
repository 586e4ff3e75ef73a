"""The family `attitude`: turns of unit length, in the sensor's axes or in inertial ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.spatial.transform import Rotation

from models import attitude, rnn, strapdown
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.errors import ConfigError
from models.layers import quaternion as q
from models.stateful import StatefulRNN
from models.tasks import task_of
from models.tasks.base import describe
from models.tasks.orientation import SENSORS

TASK = task_of("orientation")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    request = TASK.write_example(tmp_path_factory.mktemp("body"))
    return describe(TASK, open_dataset(prepare(request)))


def rotations(array):
    return Rotation.from_quat(np.asarray(array), scalar_first=True)


def test_a_head_of_any_length_means_a_turn_with_finite_slopes():
    given = jnp.asarray(
        [[3.0, 0, 0, 4.0], [0.0] * 4, [1e-20, 0, 0, 0], [0, -5e3, 0, 0]]
    )
    got = attitude.turn(given)
    np.testing.assert_allclose(got[0], [0.6, 0, 0, 0.8], atol=1e-6)
    np.testing.assert_allclose(got[1:3], [[1.0, 0, 0, 0]] * 2)
    np.testing.assert_allclose(got[3], [0, -1.0, 0, 0], atol=1e-6)
    slopes = jax.jit(jax.jacobian(attitude.turn))(given)
    assert np.isfinite(slopes).all() and np.abs(slopes[0, :, 0]).max() > 0.01
    assert not np.abs(slopes[1]).any(), "of no direction, no slope"
    assert np.isnan(attitude.turn(given * jnp.nan)).all(), "a model that diverged"


def test_quaternions_of_vectors_products_and_levels_are_scipys():
    random = np.random.default_rng(3)
    vectors = random.normal(size=(1, 9, 3)) * [[[1.0]] * 8 + [[0.0]]]
    turns = jax.jit(q.rotation)(jnp.asarray(vectors, jnp.float32))
    wanted, now = Rotation.from_rotvec(vectors[0]), Rotation.identity()
    np.testing.assert_allclose(
        (rotations(turns[0]) * wanted.inv()).magnitude(), 0, atol=1e-6
    )
    for got, each in zip(
        rotations(jax.jit(q.accumulated)(turns)[0]), wanted, strict=True
    ):
        now = now * each
        assert (got * now.inv()).magnitude() < 1e-5
    up = np.concatenate([vectors[0], [[0, 0, -2.0], [0, 0, 5.0]]])
    for found in (q.level(up), jax.jit(q.level)(jnp.asarray(up, jnp.float32))):
        turned = rotations(found)
        length = np.linalg.norm(up, axis=1)
        np.testing.assert_allclose(turned.apply(up)[:, 2], length, atol=1e-5)
        # The smallest: as far as the direction is from the vertical.
        far = np.arccos(
            np.divide(up[:, 2], length, where=length > 0, out=length * 0 + 1)
        )
        np.testing.assert_allclose(turned.magnitude(), far, atol=2e-3)


@nnx.jit
def run(model, u):
    return model({"u": u})


@pytest.mark.parametrize(
    "frame", [pytest.param("sensor", marks=pytest.mark.slow), "inertial"]
)
def test_outputs_are_turns_and_pieces_equal_the_whole(frame, data):
    config = attitude.Attitude(frame=frame, hidden_size=4)
    model = attitude.Model(config=config, data=data, key=jax.random.key(0))
    u = jnp.asarray(
        open_dataset(data.reference).part("valid").load(0)["u"], jnp.float32
    )
    u = jnp.stack([u, u[::-1]])
    whole = run(model, u)
    np.testing.assert_allclose(jnp.sum(whole**2, -1), 1.0, atol=1e-5)
    piece = nnx.jit(lambda m, u, state: m.stream({"u": u}, state))
    state, pieces = model.initial_state(2), []
    for start in (0, 20, 40):
        outputs, state = piece(model, u[:, start : start + 20], state)
        pieces.append(outputs["y"])
    np.testing.assert_allclose(jnp.concatenate(pieces, 1), whole, atol=2e-5)


def test_in_inertial_axes_a_head_of_zero_is_the_integrated_gyroscope(data):
    config = attitude.Attitude(hidden_size=4, skip=False)
    model = attitude.Model(config=config, data=data, key=jax.random.key(0))
    head = model.network.head
    for name in ("weight", "bias"):
        setattr(head, name, getattr(head, name) * 0.0)
    u = np.asarray(open_dataset(data.reference).part("test").load(0)["u"], float)[None]
    first = q.level(u[:, :1, :3])
    wanted = strapdown.integrated(first, u[..., 3:6], 1 / 20.0)
    got = run(model, jnp.asarray(u, jnp.float32))
    apart = rotations(got[0]) * rotations(wanted[0]).inv()
    assert apart.magnitude().max() < 1e-3 and len(got[0]) == 60


def test_in_inertial_axes_a_sensor_mounted_otherwise_turns_the_prediction_alike(data):
    """Turned about the vertical, a level sensor is the same sensor with another heading."""
    config = attitude.Attitude(hidden_size=4)
    model = attitude.Model(config=config, data=data, key=jax.random.key(1))
    u = np.asarray(open_dataset(data.reference).part("test").load(0)["u"], float)
    # Any mounting whose level start has the same axes is the same to the network.
    level = Rotation.from_quat(q.level(u[:1, :3])[0], scalar_first=True)
    mounted = np.concatenate([level.apply(u[:, list(c)]) for c in SENSORS.values()], 1)
    got, again = (
        rotations(run(model, jnp.asarray(x[None], jnp.float32))[0])
        for x in (u, mounted)
    )
    np.testing.assert_allclose(
        (got * level.inv() * again.inv()).magnitude(), 0, atol=1e-3
    )


def test_rotation_leaves_the_world_as_it_is_and_comes_before_noise(data):
    off, on = attitude.Turning(), attitude.Turning(rotation=True, noise=0.1)
    assert not off.functions(data) and len(on.functions(data)) == 2
    turned = on.functions(data)[0].function
    record = open_dataset(data.reference).part("train").load(0)
    seen = np.isfinite(record["y"]).all(axis=1)
    batch = {r: jnp.asarray(record[r][seen][None], jnp.float32) for r in "uy"}
    after = jax.jit(turned)(jax.random.key(0), batch, jnp.asarray(0))
    assert np.abs(after["u"] - batch["u"]).max() > 1.0
    for channels in SENSORS.values():
        before_, after_ = (
            rotations(b["y"][0]).apply(np.asarray(b["u"][0])[:, list(channels)])
            for b in (batch, after)
        )
        np.testing.assert_allclose(after_, before_, atol=2e-3)


def test_only_the_keys_of_the_network_underneath_are_read():
    flat = attitude.Config.from_flat
    assert flat({}).static_signature() == flat({"model.depth": 3}).static_signature()
    recurrent, convolved = flat({"model.kind": "rnn"}), flat({"model.kind": "tcn"})
    assert recurrent.static_signature() != convolved.static_signature()
    wide = {"model.kind": "tcn", "model.hidden_size": 7}
    assert flat(wide).static_signature() == convolved.static_signature()
    assert recurrent.model.network() == rnn.RNN(layers=1, hidden_size=48)
    with pytest.raises(ConfigError, match=r"`model\.dropout` acts between"):
        flat({"model.dropout": 0.1})


def test_the_loss_is_blind_to_heading_and_to_what_was_not_measured():
    random = np.random.default_rng(0)
    truth = Rotation.random(12, rng=random)
    turned = (
        Rotation.from_rotvec([0, 0, 2.0]) * Rotation.from_rotvec([0.2, 0, 0]) * truth
    )
    y, got = (
        jnp.asarray(r.as_quat(scalar_first=True).reshape(2, 6, 4), jnp.float32)
        for r in (truth, turned)
    )
    seen = jnp.ones((2, 6, 4), bool).at[0, 3, 1].set(False)
    y = y.at[0, 3].set(jnp.nan)
    for kind, wanted in (
        ("inclination", 0.2),
        ("square_inclination", 0.04),
        ("rms_inclination", 0.2),
        ("smooth_inclination", 1 - np.cos(0.1)),
    ):
        criterion = attitude.AngleLoss(kind=kind).criterion(np.ones(4))
        value, slope = jax.jit(jax.value_and_grad(criterion))(got, y, seen)
        assert value == pytest.approx(wanted, rel=1e-3), kind
        assert np.isfinite(slope).all() and not slope[0, 3].any()
    whole = attitude.AngleLoss(kind="angle").criterion(np.ones(4))(got, y, seen)
    assert whole > 1.9


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rnn", "tcn", "crnn"])
def test_every_network_learns_more_than_its_start_and_streams(kind, tmp_path):
    """On a simulated body: better than each sensor alone, in seconds of training."""
    from models.training.protocol import Context

    reference = prepare(
        {"name": "simulated_imu", "samples": 1500, "records": 3, "bias": 0.05}
    )
    context = Context(
        task=TASK.to_json(),
        data=reference.to_json(),
        seed=0,
        epochs=12,
        objective=TASK.OBJECTIVE,
    )
    made = attitude.create(
        {
            "model.kind": kind,
            "model.hidden_size": 16,
            "model.channels": 16,
            "data.window": 200,
            "data.batch_size": 16,
            "data.batches": 40,
            "augmentation.rotation": True,
            "optimizer.learning_rate": 5e-3,
        },
        context,
    )
    best = min(epoch.valid["inclination"] for epoch in made.fit())
    for sensor in ("gyroscope", "accelerometer"):
        alone = strapdown.create({"model.sensor": sensor}, context)
        assert best < alone.fit()[0].valid["inclination"], sensor
    u = open_dataset(reference).part("test").load(0)["u"]
    whole = made.predict({"u": u})["y"]
    chunks = StatefulRNN(made).predict_chunked({"u": u}, size=97)
    np.testing.assert_allclose(chunks["y"], whole, atol=1e-3)
