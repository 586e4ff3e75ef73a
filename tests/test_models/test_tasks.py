"""What each task gives, hides and scores, against plain numpy."""

from __future__ import annotations

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import rnn, tasks
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.windows import Windows
from models.errors import ConfigError, DataError, UserError
from models.metrics.energy import energy_score
from models.metrics.masked import MaskedMetric
from models.tasks import task_of
from models.tasks.base import describe
from models.training.protocol import Context
from tests.test_models.training_toys import numbers


def record_data(folder, lengths, *, truth=False):
    """Records of two inputs and one output, and a hidden truth."""
    random = np.random.default_rng(1)
    for part in ("train", "valid", "test"):
        (folder / part).mkdir(parents=True)
        for number, length in enumerate(lengths):
            with h5py.File(folder / part / f"{part}{number}.hdf5", "w") as file:
                for name in ("u0", "u1", "y0", *(("x0",) if truth else ())):
                    file[name] = random.normal(size=length)
    request = {"path": str(folder), "score_from": 3}
    return prepare(request | ({"truth": ["x0"]} if truth else {}))


def opened(reference, described):
    dataset = open_dataset(reference)
    return dataset, describe(task_of(described), dataset)


def scored(data, outputs, group):
    """Every metric of a task over one group, by its own accumulators."""
    placed = jax.tree.map(jnp.asarray, (outputs, dict(group)))
    found = {}
    for metric in data.task.metrics(data):
        state = metric.update(metric.init(*placed), *placed)
        found[metric.name] = float(metric.finish(state))
    return found


def test_every_task_is_found_and_written_down():
    assert tasks.names() == (
        *("estimation", "forecast", "orientation", "posterior", "prediction"),
        *("reconstruction", "simulation"),
    )
    for name in tasks.names():
        task = task_of(name)
        assert task_of(task.to_json()) == task and task.name == name
        assert task.takes and task.gives and task.KINDS


@pytest.mark.parametrize("name", ["no.such.module", "models.errors", "predict"])
def test_what_is_no_task_is_refused(name):
    with pytest.raises(ConfigError, match=name.rpartition(".")[2]):
        task_of(name)


# -- sequences ----------------------------------------------------------------------------


def test_prediction_is_scored_behind_the_known_outputs_window_by_window(tmp_path):
    reference = record_data(tmp_path, (65, 40))
    described = {"name": "prediction", "known": 5, "horizon": 10}
    dataset, data = opened(reference, described)
    part = dataset.part("valid")
    (group,) = data.task.groups(part)
    wanted = [
        part.load(record)["y"][start : start + 15]
        for record, length in enumerate((65, 40))
        for start in range(0, length - 14, 10)
    ]
    np.testing.assert_allclose(group["y"], wanted, rtol=1e-6)
    guess = np.random.default_rng(0).normal(size=group["y"].shape).astype(np.float32)
    error = (guess - np.stack(wanted))[:, 5:]
    found = scored(data, {"y": guess}, group)
    assert found["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    assert found["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert data.task.scores([({"y": guess}, group)], data=data) == pytest.approx(
        found, rel=1e-4
    )


def test_prediction_gives_u_and_the_known_outputs(tmp_path):
    reference = record_data(tmp_path, (60,))
    dataset, data = opened(reference, {"name": "prediction", "known": 5, "horizon": 10})
    (group,) = data.task.groups(dataset.part("valid"))
    for given in (  # plain numpy for closed forms, JAX for the rest
        data.task.given(dict(group), data),
        jax.jit(lambda g: data.task.given(g, data))(dict(group)),
    ):
        assert set(given) == {"u", "y", "given.y"}
        np.testing.assert_array_equal(given["u"], group["u"])
        np.testing.assert_array_equal(given["y"][:, :5], group["y"][:, :5])
        mean = np.float32(data.statistics.mean["y"][0])
        assert (np.asarray(given["y"])[:, 5:] == mean).all()
        assert np.asarray(given["given.y"]).sum(axis=1).ravel().tolist() == [5] * 5


@pytest.mark.parametrize("name", ["simulation", "prediction"])
def test_a_recorded_truth_is_scored_with_and_never_given(name, tmp_path):
    reference = record_data(tmp_path, (180,), truth=True)
    dataset, data = opened(reference, name)
    (group, *_) = data.task.groups(dataset.part("valid"))
    assert group["x"].shape == (*group["y"].shape[:2], 1)
    assert "x" not in data.task.given(dict(group), data)
    batching = Windows(window=80, batch_size=2, batches=1)
    assert "x" not in data.task.batch_shapes(dataset, batching)


def test_simulation_gives_inputs_alone_and_scores_as_the_data_says(tmp_path):
    dataset, data = opened(record_data(tmp_path, (30, 20)), "simulation")
    groups = data.task.groups(dataset.part("valid"))
    assert [g["y"].shape for g in groups] == [(1, 30, 1), (1, 20, 1)]
    assert set(data.task.given(dict(groups[0]), data)) == {"u"}
    found = scored(data, {"y": np.zeros_like(groups[0]["y"])}, groups[0])
    wanted = np.sqrt((groups[0]["y"][:, 3:] ** 2).mean())
    assert found["rmse"] == pytest.approx(wanted, rel=1e-5)


def test_data_too_short_for_a_window_is_refused(tmp_path):
    reference = record_data(tmp_path, (40, 30))
    with pytest.raises(DataError, match="longest record of part `valid`") as caught:
        opened(reference, {"name": "prediction", "known": 20, "horizon": 21})
    assert "40" in str(caught.value) and "known" in caught.value.hint
    with pytest.raises(DataError, match="data of kind series"):
        opened(reference, "forecast")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"u": (30, 2)}, "predicts from `u` and `y`"),
        ({"u": (30, 2), "y": (5, 1), "z": (5, 1)}, "`z`"),
        ({"u": (30, 3), "y": (5, 1)}, r"`u` must be \[time, 2\]"),
        ({"u": (30, 2), "y": (2, 5, 1)}, "either all arrays have a batch axis"),
        ({"u": (30, 2), "y": (30, 1)}, "fewer than inputs"),
        ({"u": (30, 2), "y": (0, 1)}, "at least one known output"),
        ({"u": (3, 30, 2), "y": (2, 5, 1)}, "same batch size"),
    ],
)
def test_arrays_that_no_prediction_can_be_made_from(arrays, words, tmp_path):
    _, data = opened(record_data(tmp_path, (200,)), "prediction")
    with pytest.raises(UserError, match=words):
        data.batch({role: np.zeros(shape) for role, shape in arrays.items()})


def test_every_record_is_scored_alone(tmp_path):
    reference = record_data(tmp_path, (60, 40, 60))
    task = {"name": "prediction", "known": 5, "horizon": 10}
    config = {"model.hidden_size": 4, "data.window": 20, "data.batch_size": 4}
    config |= {"data.batches": 1, "loss.n_skip": 0}
    learner = rnn.create(config, Context(task=task, data=reference.to_json()))
    learner.fit()
    alone = learner.evaluate_records("test")
    assert set(alone) == {"test0", "test1", "test2"}
    part = open_dataset(reference).part("test")
    squares, samples = 0.0, 0
    for number, name in enumerate(alone):
        record, errors = part.load(number), []
        for start in range(0, part.lengths[number] - 14, 10):
            cut = {role: record[role][start : start + 15] for role in ("u", "y")}
            predicted = learner.predict({"u": cut["u"], "y": cut["y"][:5]})["y"]
            errors.append((predicted - cut["y"])[5:])
        square = np.mean(np.square(errors))
        assert alone[name]["rmse"] == pytest.approx(np.sqrt(square), rel=1e-4)
        squares, samples = squares + square * len(errors), samples + len(errors)
    whole = learner.evaluate("test")["rmse"]
    assert whole == pytest.approx(np.sqrt(squares / samples), rel=1e-4)


@pytest.mark.parametrize("family", ["ar", "fransys", "pirnn"])
def test_windows_in_a_row_are_refused_where_no_state_is_carried(family):
    module = __import__(f"models.{family}", fromlist=["Config"])
    with pytest.raises(ConfigError, match="carries no state") as caught:
        module.Config.from_flat({"data.order": "consecutive"})
    assert "shuffled" in caught.value.hint


def test_a_loss_that_leaves_nothing_behind_the_known_outputs_is_refused(tmp_path):
    reference = record_data(tmp_path, (200,))
    context = Context(task={"name": "prediction"}, data=reference.to_json())
    config = {"data.window": 60, "loss.n_skip": 10, "data.batch_size": 4}
    with pytest.raises(ConfigError, match="behind 50 known outputs"):
        rnn.create(config, context)


# -- tables and rows ----------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    values = np.random.default_rng(2).normal(size=(100, 2)).cumsum(axis=0)
    lines = ["first,second", *(f"{a!r},{b!r}" for a, b in values.tolist())]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return prepare({"path": str(path), "borders": [0, 60, 80, 100]}), values


@pytest.mark.parametrize("look_back", [3, 12])
def test_a_forecast_scores_the_same_rows_whatever_the_look_back(look_back, table):
    reference, values = table
    dataset, data = opened(reference, {"name": "forecast", "horizon": 4})
    lead = data.task.lead(Windows(window=look_back + 4))
    (group,) = data.task.groups(dataset.part("valid"), lead=lead)
    starts = range(60, 80 - 4 + 1)
    wanted = np.stack([values[s : s + 4] for s in starts])
    np.testing.assert_allclose(group["y"][:, look_back:], wanted, rtol=1e-5)
    last = np.stack([values[s - 1] for s in starts])[:, None]
    batch = jax.tree.map(jnp.asarray, dict(group))
    (score,) = data.task.transforms(data)
    batch = score(None, batch, None)
    repeated = jnp.broadcast_to(jnp.asarray(last, jnp.float32), (*wanted.shape,))
    outputs = {"y": jnp.concatenate([batch["y"][:, :look_back], repeated], axis=1)}
    std = values[:60].std(axis=0)
    error = (last - wanted) / std
    found = scored(data, outputs, batch)
    assert found["mse"] == pytest.approx((error**2).mean(), rel=1e-4)
    assert found["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-4)
    given = data.task.given(dict(group), data)
    assert given["given.y"].sum() == len(starts) * look_back * 2


def test_a_window_without_a_look_back_is_refused(table):
    _, data = opened(table[0], {"name": "forecast", "horizon": 4})
    with pytest.raises(ConfigError, match="longer than the horizon of 4"):
        data.task.lead(Windows(window=4))
    with pytest.raises(DataError, match="21 rows does not fit into the 20 rows"):
        opened(table[0], {"name": "forecast", "horizon": 21})
    short = prepare({"path": table[0].path, "borders": [0, 10, 60, 100]})
    with pytest.raises(DataError, match="10 rows does not fit into the 10 .*`train`"):
        opened(short, {"name": "forecast", "horizon": 10})
    opened(short, {"name": "forecast", "horizon": 9})


def test_a_look_back_that_would_drop_targets_is_refused(table):
    """Of the valid part, 60 rows into the table."""
    dataset, data = opened(table[0], {"name": "forecast", "horizon": 4})
    (group,) = data.task.groups(dataset.part("valid"), lead=60)
    assert len(group["y"]) == 20 - 4 + 1
    with pytest.raises(DataError, match="61 rows begins before .*`valid`.* 60") as e:
        data.task.groups(dataset.part("valid"), lead=61)
    assert "at most 64" in e.value.hint
    (group,) = data.task.groups(dataset.part("train"), lead=40)
    assert len(group["y"]) == 60 - 44 + 1


def test_a_forecast_with_a_calendar(tmp_path):
    task = task_of({"name": "forecast", "horizon": 4, "calendar": True})
    request = dict(task.write_example(tmp_path))
    dataset, data = opened(prepare(request), task.to_json())
    assert data.takes == ("y", "t") and data.gives == ("y",)
    (group,) = task.groups(dataset.part("valid"), lead=6)
    given = task.given(dict(group), data)
    np.testing.assert_array_equal(given["t"], group["t"])  # of the horizon, too
    without = task_of({"name": "forecast", "horizon": 4})
    assert "t" not in without.given(
        dict(group), opened(prepare(request), "forecast")[1]
    )
    arrays = {"y": group["y"][:, :6], "t": group["t"][:, :6]}
    batch, _ = data.batch(arrays)
    np.testing.assert_array_equal(batch["t"], group["t"])  # they go on, over midnights
    batch, _ = data.batch({**arrays, "t": group["t"]})
    np.testing.assert_array_equal(batch["t"], group["t"])
    with pytest.raises(UserError, match="must tell of the 6 rows of `y`"):
        data.batch({**arrays, "t": group["t"][:, :7]})
    with pytest.raises(UserError, match="`t` must tell when every row is"):
        data.batch({**arrays, "t": np.where(arrays["t"] > 0, arrays["t"], np.nan)})
    halves = np.stack([np.zeros(6), 86398 + 0.25 * np.arange(6)], axis=-1)[None]
    batch, _ = data.batch({"y": group["y"][:1, :6], "t": halves})
    wanted = [[0, 86399.5], [0, 86399.75], [1, 0], [1, 0.25]]
    np.testing.assert_array_equal(batch["t"][0, 6:], wanted)
    with pytest.raises(DataError, match="was prepared without") as caught:
        opened(prepare({**request, "calendar": False}), task.to_json())
    assert '"calendar": true' in caught.value.hint


@pytest.mark.parametrize("hidden", [0.0, 0.3])
def test_reconstruction_scores_what_it_hides(hidden, tmp_path):
    task = task_of({"name": "reconstruction", "hidden": hidden})
    dataset, data = opened(prepare(task.write_example(tmp_path)), task.to_json())
    (group,) = task.groups(dataset.part("valid"))
    (hide,) = task.transforms(data)
    batch = hide(jax.random.key(3), dict(group), None)
    given, scores = batch["given.values"], batch["scored.values"]
    seen = np.isfinite(dataset.part("valid").load(0)["values"])
    if hidden:
        assert not (given & scores).any() and ((given | scores) == seen).all()
        assert 0.2 < scores.sum() / seen.sum() < 0.4
    else:
        assert (given == seen).all() and (scores == seen).all()
    std = data.statistics.std["values"]
    error = (0.0 - group["values"]) / std
    found = scored(data, {"values": np.zeros_like(group["values"])}, batch)
    assert found["mse"] == pytest.approx((error[scores] ** 2).mean(), rel=1e-4)


def test_posterior_draws_are_scored_against_the_true_parameters():
    random = np.random.default_rng(4)
    draws, truth = random.normal(size=(3, 7, 2)), random.normal(size=(3, 2))
    for row in range(3):
        near = np.mean([np.linalg.norm(d - truth[row]) for d in draws[row]])
        pairs = [
            np.linalg.norm(draws[row, i] - draws[row, j])
            for i in range(7)
            for j in range(7)
            if i != j
        ]
        wanted = near - 0.5 * np.mean(pairs)
        found = energy_score(jnp.asarray(draws), jnp.asarray(truth))[row]
        assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_the_true_posterior_has_the_smallest_energy_score():
    random = np.random.default_rng(5)
    truth = random.normal(size=(4000, 1))

    def mean(shift, spread):
        draws = shift + spread * random.normal(size=(4000, 32, 1))
        return float(energy_score(jnp.asarray(draws), jnp.asarray(truth)).mean())

    best = mean(0.0, 1.0)
    assert all(best < mean(*other) for other in ((0.5, 1.0), (0.0, 0.5), (0.0, 2.0)))


SITES = {"name": "posterior", "draws": 4, "local": "z", "inputs": "f"}


def test_a_posterior_with_sites_scores_those_that_a_row_has(tmp_path):
    task = task_of(SITES)
    dataset, data = opened(prepare(task.write_sites(tmp_path)), SITES)
    (group,) = task.groups(dataset.part("valid"))
    stored = dataset.part("valid").load(0)
    assert task.takes == ("x", "f") and task.gives == ("theta", "z")
    there = np.isfinite(np.concatenate([stored["theta"], stored["z"][..., 0]], axis=1))
    assert (task.there(group) == there).all() and not there.all()
    random = np.random.default_rng(3)
    rows = len(there)
    draws = {
        "theta": random.normal(size=(rows, 4, 1)),
        "z": random.normal(size=(rows, 4, 3, 1)),
    }
    _, std = task.scale(data)
    unit = [data.statistics.std["theta"][0], *[data.statistics.std["z"][0]] * 3]
    np.testing.assert_allclose(std, unit)
    total = 0.0
    for row in range(rows):  # the score of a row of exactly its own parameters
        kept = there[row]
        truth = np.concatenate([stored["theta"][row], stored["z"][row, :, 0]]) / std
        own = np.concatenate([draws["theta"][row], draws["z"][row, :, :, 0]], axis=1)
        one = jnp.asarray((own / std)[None][..., kept]), jnp.asarray(truth[None, kept])
        total += float(energy_score(*one)[0])
    found = scored(data, draws, group)["energy_score"]
    assert found == pytest.approx(total / rows, rel=1e-4)
    # Draws are no picture of a row, and where none are scored there is none to look for.
    assert task.comparison(draws, group, data) is None
    assert task.comparison({}, group, data) is None
    given = task.given(dict(group), data)
    assert set(given) == {"x", "given.x", "f", "given.f"}
    again = task.batch({r: stored[r] for r in task.takes}, data)
    assert (again["seen.f"] == np.isfinite(stored["f"])).all()


@pytest.mark.parametrize(
    "settings,what",
    [
        ({"local": "x"}, "parameters of each are"),
        ({"parameters": "z"}, "is one vector"),
        ({"inputs": "z"}, "their shape but for the last axis"),
    ],
)
def test_a_posterior_refuses_shapes_that_do_not_fit(settings, what, tmp_path):
    reference = prepare(task_of(SITES).write_sites(tmp_path))
    with pytest.raises(DataError, match=what):
        opened(reference, {**SITES, **settings})


@pytest.mark.parametrize("spoilt", [np.nan, 1e30])
def test_masked_errors_ignore_what_the_mask_leaves_out(spoilt):
    random = np.random.default_rng(6)
    target, guess = random.normal(size=(2, 4, 5, 3)).astype(np.float32)
    mask = random.random(target.shape) < 0.6
    unit = np.array([1.0, 2.0, 0.5])
    error = ((guess - target) / unit)[mask]
    broken = jnp.asarray(np.where(mask, target, np.float32(spoilt)))
    wanted = {
        "mse": (error**2).mean(),
        "rmse": np.sqrt((error**2).mean()),
        "mae": np.abs(error).mean(),
    }
    for kind, value in wanted.items():
        metric = MaskedMetric(kind=kind, signal="y", mask="m", unit=unit)

        def measured(guess, metric=metric):
            outputs, batch = {"y": guess}, {"y": broken, "m": jnp.asarray(mask)}
            state = metric.init(outputs, batch)
            for half in (slice(0, 2), slice(2, 4)):
                cut = {k: v[half] for k, v in batch.items()}
                state = metric.update(state, {"y": guess[half]}, cut)
            return metric.finish(state)

        found, gradient = jax.value_and_grad(measured)(jnp.asarray(guess))
        assert float(found) == pytest.approx(value, rel=1e-5)
        assert np.isfinite(gradient).all() and (np.asarray(gradient)[~mask] == 0).all()


def test_a_task_must_be_named_where_a_family_learns_several(tmp_path):
    reference = record_data(tmp_path, (60,)).to_json()
    with pytest.raises(ConfigError, match="a task must be named"):
        rnn.create({}, Context(data=reference))
    with pytest.raises(ConfigError, match="does not learn the task `forecast`"):
        rnn.create({}, Context(task={"name": "forecast"}, data=reference))


def test_a_prediction_learner_repeats_bit_for_bit(tmp_path):
    reference = record_data(tmp_path, (90,)).to_json()
    task = {"name": "prediction", "known": 5, "horizon": 20}
    config = {"model.hidden_size": 4, "data.window": 30, "data.batch_size": 4}
    config |= {"data.batches": 2, "loss.n_skip": 0}
    context = Context(task=task, data=reference, epochs=2, seed=9)
    first, second = (rnn.create(config, context) for _ in range(2))
    assert numbers(first.fit()) == numbers(second.fit())
