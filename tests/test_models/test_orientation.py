"""Orientation: what is scored, at which rate, and what is no orientation at all."""

from __future__ import annotations

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from models import attitude, strapdown
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.decimation import decimated
from models.data.simulators.inertial.body import (
    FIELD,
    GRAVITY,
    Sensor,
    accumulated,
    record,
)
from models.errors import DataError
from models.metrics.orientation import AngleMetric
from models.tasks import task_of
from models.tasks.base import describe
from models.training.protocol import Context

TASK = task_of("orientation")
IDEAL = Sensor(accelerometer=0.0, gyroscope=0.0, magnetometer=0.0, bias=0.0)


def of_file(signals, letter, count):
    return np.stack([signals[f"{letter}{i}"] for i in range(count)], axis=1)


def turns(signals):
    """The measured orientations as scipy's, and which there are."""
    y = of_file(signals, "y", 4)
    seen = np.isfinite(y).all(axis=1)
    return Rotation.from_quat(y[seen], scalar_first=True), seen


def written(folder, *, change=lambda signals: signals, seconds=6.0, sensor=None):
    """Records of a body at 20 Hz, changed before they are written."""
    for number, part in enumerate(("train", "valid", "test")):
        (folder / part).mkdir(parents=True, exist_ok=True)
        signals = record(
            np.random.default_rng(number),
            samples=round(seconds * 20),
            rate=20.0,
            sensor=sensor or Sensor(),
        )
        with h5py.File(folder / part / f"{part}.hdf5", "w") as file:
            file.attrs["fs"] = 20.0
            for name, values in change(dict(signals)).items():
                file[name] = values
    return {"path": str(folder), "movement": "movement", "gaps": True}


@pytest.fixture(scope="module")
def request_(tmp_path_factory):
    return written(tmp_path_factory.mktemp("body"))


def test_sensors_see_gravity_and_field_where_scipy_turns_them():
    signals = record(np.random.default_rng(0), samples=400, rate=50.0, sensor=IDEAL)
    turned, seen = turns(signals)
    u = of_file(signals, "u", 9)[seen]
    np.testing.assert_allclose(
        turned.apply(u[:, 6:]), np.tile(FIELD, (len(u), 1)), atol=1e-9
    )
    still = ~signals["movement"][seen]
    np.testing.assert_allclose(
        turned.apply(u[:, :3])[still], np.tile(GRAVITY, (still.sum(), 1)), atol=1e-9
    )
    assert 0.7 < signals["movement"].mean() < 0.85 and 0.95 < seen.mean() < 0.97
    # Between samples the body turns as the gyroscope says, to second order.
    rates = (turned[:-1].inv() * turned[1:]).as_rotvec() * 50.0
    apart = np.linalg.norm(rates - 0.5 * (u[1:, 3:6] + u[:-1, 3:6]), axis=1)
    assert np.sum(apart > 0.01) == 1, "but for the gap"
    assert np.abs(u[:, 3:6]).max() > 0.5


def test_turns_that_follow_one_another_are_a_loops():
    each = Rotation.random(13, rng=np.random.default_rng(1))
    found, now = accumulated(each), Rotation.identity()
    for turn, whole in zip(each, found, strict=True):
        now = now * turn
        assert (whole * now.inv()).magnitude() < 1e-12


def learner(request, **config):
    context = Context(
        task=TASK.to_json(),
        data=prepare(request).to_json(),
        seed=0,
        epochs=1,
        objective=TASK.OBJECTIVE,
    )
    return strapdown.create(config, context)


def test_an_ideal_gyroscope_recovers_the_truth(tmp_path):
    request = written(tmp_path, sensor=IDEAL, seconds=30.0)
    made = learner(request, **{"model.sensor": "gyroscope", "model.offset": False})
    (epoch,) = made.fit()
    assert epoch.valid["inclination"] < 0.2, epoch.valid
    # The heading is that of the start, which it does not know: constant.
    given = open_dataset(prepare(request)).part("valid").load(0)
    found = made.predict({"u": given["u"]})["y"]
    seen = np.isfinite(given["y"]).all(axis=1)
    apart = (
        Rotation.from_quat(given["y"][seen], scalar_first=True)
        * Rotation.from_quat(found[seen], scalar_first=True).inv()
    )
    assert (apart * apart[0].inv()).magnitude().max() < np.deg2rad(0.4)
    # What it integrates is scipy's product of scipy's turns.
    rates = 0.5 * (given["u"][1:, 3:6] + given["u"][:-1, 3:6]) / 20.0
    now = Rotation.from_quat(found[0], scalar_first=True)
    for step in Rotation.from_rotvec(rates):
        now = now * step
    last = Rotation.from_quat(found[-1], scalar_first=True)
    assert (last * now.inv()).magnitude() < 1e-9


def test_constant_errors_are_found_and_taken_out(tmp_path):
    def spoiled(signals):
        for name, offset in (("u0", 0.4), ("u3", 0.05), ("u5", -0.03)):
            signals[name] = signals[name] + offset
        return signals

    request = written(tmp_path, change=spoiled, sensor=IDEAL, seconds=30.0)
    kept, out = (
        learner(request, **{"model.sensor": "gyroscope", "model.offset": offset})
        for offset in (False, True)
    )
    worse, better = kept.fit()[0].valid, out.fit()[0].valid
    np.testing.assert_allclose(out.solution["offset"], [0.05, 0, -0.03], atol=2e-3)
    assert better["inclination"] < 0.5 * worse["inclination"]
    alone = learner(request, **{"model.sensor": "accelerometer"})
    alone.fit()
    assert alone.solution["gravity"] == pytest.approx(9.81, abs=0.4)
    up = Rotation.from_quat(
        alone.predict({"u": np.tile([0.4, 0, -9.0, *[0] * 6], (2, 1))})["y"],
        scalar_first=True,
    ).apply(np.array([0.4, 0, -9.0]) - alone.solution["offset"])
    assert (up[:, 2] > 8).all(), "what it measures is turned to point up"


def test_scores_are_the_papers_over_what_moves_and_was_measured(request_):
    dataset = open_dataset(prepare(request_))
    data = describe(TASK, dataset)
    (group,) = TASK.groups(dataset.part("test"))
    random = np.random.default_rng(5)
    found = Rotation.random(group["y"].shape[1], rng=random).as_quat(scalar_first=True)
    got = TASK.scores([({"y": found[None]}, group)], data=data)

    raw = dataset.part("test").load(0)
    use = np.isfinite(raw["y"]).all(axis=1) & (raw["movement"][:, 0] > 0)
    assert 0 < use.sum() < len(use) - 5
    estimate = Rotation.from_quat(found[use], scalar_first=True)
    truth = Rotation.from_quat(raw["y"][use], scalar_first=True)
    w, _, _, z = (estimate * truth.inv()).as_quat(scalar_first=True).T
    wanted = {
        "total": 2 * np.arccos(np.abs(w)),
        "inclination": 2 * np.arccos(np.sqrt(w**2 + z**2)),
        "heading": 2 * np.arctan(np.abs(z / w)),
    }
    assert set(got) == set(wanted)
    for name, angle in wanted.items():
        rms = np.rad2deg(np.sqrt(np.mean(angle**2)))
        assert got[name] == pytest.approx(rms, rel=1e-4), name
    # A file alone, as `hpo predict` scores it.
    path = dataset.part("test").records[0].path
    given, measured = TASK.from_file(path, data=data.reference.to_json())
    assert given["u"].shape == (120, 9) and np.isnan(measured["y"]).any()
    errors = TASK.errors({"y": found}, measured, data=data.reference.to_json())
    assert errors == pytest.approx(got, rel=1e-4)
    assert TASK.unit("inclination", data=data.reference.to_json()) == "deg"


def test_what_is_shown_differs_by_inclination_alone(request_):
    dataset = open_dataset(prepare(request_))
    data = describe(TASK, dataset)
    (group,) = TASK.groups(dataset.part("valid"))
    tilted = Rotation.from_rotvec([0.1, 0.0, 0.0])
    turned = Rotation.from_rotvec([0.0, 0.0, 1.0])
    truth = Rotation.from_quat(group["y"][0], scalar_first=True)
    found = -(turned * tilted * truth).as_quat(scalar_first=True)
    shown = TASK.comparison({"y": found[None]}, group, data)
    use = shown.scored[0].all(axis=1)
    assert use.any() and not use.all()
    got = Rotation.from_quat(shown.predicted[0][use], scalar_first=True)
    np.testing.assert_allclose((got * truth[use].inv()).magnitude(), 0.1, atol=1e-5)
    assert (np.sum(shown.predicted[0][use] * group["y"][0][use], axis=1) > 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"y0": s["y0"] * 1.1}, r"length 1.*`y0`.*test|length 1"),
        (lambda s: {n: v for n, v in s.items() if n != "u8"}, "9 channels of role `u`"),
        (lambda s: s | {"y4": s["y3"]}, "4 channels of role `y`"),
        (lambda s: s | {"movement": np.ones((120, 2))}, "1 channels of role `movem"),
    ],
    ids=("length", "group", "quaternion", "mask"),
)
def test_what_is_no_orientation_is_refused(change, message, tmp_path):
    reference = prepare(written(tmp_path, change=change))
    with pytest.raises(DataError, match=message):
        TASK.check_reference(reference.to_json())


def test_a_test_part_that_is_no_orientation_is_refused_when_it_is_read(tmp_path):
    request = written(tmp_path)
    with h5py.File(tmp_path / "test" / "test.hdf5", "r+") as file:
        file["y2"][7] = 3.0
    dataset = open_dataset(prepare(request))
    TASK.check(dataset)
    with pytest.raises(DataError, match=r"(?s)length 1.*test\.hdf5 has.*sample 7"):
        TASK.groups(dataset.part("test"))


def test_a_gyroscope_is_integrated_at_one_rate(request_):
    several = {**request_, "train_also": [2]}
    with pytest.raises(
        DataError, match=r"gyroscope.*several rates.*`train_also` \[2\]"
    ):
        learner(several)
    data, objective = prepare(several).to_json(), TASK.OBJECTIVE
    context = Context(task=TASK.to_json(), data=data, epochs=1, objective=objective)
    config = attitude.example("orientation").config
    with pytest.raises(DataError, match="gyroscope.*several rates"):
        attitude.create({**config, "model.frame": "inertial"}, context)
    attitude.create({**config, "model.frame": "sensor"}, context)


def test_a_rate_that_is_unknown_is_asked_for(tmp_path):
    request = written(tmp_path)
    for path in tmp_path.rglob("*.hdf5"):
        with h5py.File(path, "r+") as file:
            del file.attrs["fs"]
    with pytest.raises(DataError, match="sampling rate"):
        learner(request)


def test_decimation_keeps_what_is_slow_and_drops_what_would_alias():
    time = np.arange(2000)
    slow, fast = np.sin(2 * np.pi * 0.01 * time), np.sin(2 * np.pi * 0.19 * time)
    got = decimated(np.stack([slow, fast, slow * 0 + 7.0], axis=1), 5)
    assert got.shape == (400, 3)
    inside = slice(20, -20)
    np.testing.assert_allclose(got[inside, 0], slow[::5][inside], atol=2e-3)
    # Taken as it is, it would be a slow sine of full height.
    assert np.abs(fast[::5]).max() > 0.9 and np.abs(got[inside, 1]).max() < 5e-3
    np.testing.assert_allclose(got[:, 2], 7.0, atol=1e-9)


def test_records_at_a_lower_rate(request_, tmp_path):
    plain = open_dataset(prepare(request_))
    reference = prepare({**request_, "decimate": 4})
    dataset = open_dataset(reference)
    assert reference.sampling_rate == 5.0 and reference.settings["decimate"] == 4
    assert describe(TASK, dataset).identity != describe(TASK, plain).identity
    for name in ("train", "valid", "test"):
        raw, slow = plain.part(name).load(0), dataset.part(name).load(0)
        assert dataset.part(name).lengths == (30,)
        for role in ("y", "movement"):
            np.testing.assert_array_equal(slow[role], raw[role][::4])
        np.testing.assert_array_equal(slow["u"], decimated(raw["u"], 4))
        piece = dataset.part(name).slice(0, 7, 12)
        np.testing.assert_array_equal(piece["y"], raw["y"][28:48:4])
        np.testing.assert_array_equal(piece["u"], slow["u"][7:12])
    # Files in and out are at the rate of the model.
    path = plain.part("test").records[0].path
    given, _ = TASK.from_file(path, data=reference.to_json())
    np.testing.assert_allclose(given["u"], dataset.part("test").load(0)["u"])
    TASK.to_file(
        tmp_path / "out.hdf5",
        {"y": np.ones((30, 4))},
        data=reference.to_json(),
        like=path,
    )
    with h5py.File(tmp_path / "out.hdf5") as file:
        assert file.attrs["fs"] == 5.0 and len(file["y3"]) == 30
    assert dataset.part("train").locate("y", 0, (12, 0))[1] == "sample 48"


@pytest.mark.parametrize("factor", [0, -2, 1.5, True, "10"])
def test_a_decimation_is_a_whole_number(factor, request_):
    with pytest.raises(DataError, match="`decimate` must be a whole number"):
        prepare({**request_, "decimate": factor})


def test_a_decimation_meets_gaps_and_short_files(request_, tmp_path):
    with pytest.raises(DataError, match="120 samples, and `decimate` is 121"):
        prepare({**request_, "decimate": 121})

    def holed(signals):
        signals["u4"][33] = np.nan
        return signals

    with pytest.raises(DataError, match=r"(?s)`u4`.*sample 33.*filter"):
        prepare({**written(tmp_path, change=holed), "decimate": 2})


def test_simulated_records_follow_from_seed_and_options(tmp_path, monkeypatch):
    monkeypatch.setenv("HPO_CACHE", str(tmp_path))
    reference = prepare({"name": "simulated_imu", "samples": 200, "records": 2})
    dataset = open_dataset(reference)
    assert dataset.part("train").lengths == (200, 200) and reference.gaps == ("y",)
    TASK.check(dataset)
    first, second = (dataset.part("train").load(i)["u"] for i in range(2))
    assert np.abs(first - second).max() > 1.0
    with pytest.raises(DataError, match="`bias` must be from 0 to 10"):
        prepare({"name": "simulated_imu", "bias": -1})
    with pytest.raises(DataError, match="`records` must be a whole number"):
        prepare({"name": "simulated_imu", "records": 0})


def test_a_row_in_which_nothing_counts_changes_nothing():
    metric = AngleMetric(kind="total")
    rest = jnp.broadcast_to(jnp.asarray([1.0, 0, 0, 0]), (2, 3, 4))
    batch = {"y": rest, "movement": jnp.asarray([[[0.0]] * 3, [[1.0]] * 3])}
    outputs = {"y": rest.at[0].set(jnp.nan)}
    state = metric.update(metric.init(outputs, batch), outputs, batch)
    assert metric.finish(state) == 0.0 and state.count == 3


@pytest.mark.parametrize("kind", ["inclination", "total", "heading"])
def test_a_model_that_diverged_has_no_score(kind):
    """It had the inclination 0, which ranks above every other."""
    metric = AngleMetric(kind=kind)
    rest = jnp.broadcast_to(jnp.asarray([1.0, 0, 0, 0]), (2, 3, 4))
    outputs, batch = {"y": rest.at[0, 1].set(jnp.nan)}, {"y": rest}
    state = metric.update(metric.init(outputs, batch), outputs, batch)
    assert np.isnan(metric.finish(state))
