"""Train records at several rates: each rate is a record of its own, and tells its step."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.signal

from models import rnn
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.hdf5 import close_files
from models.errors import DataError
from models.tasks import task_of
from models.training.protocol import Context

LENGTHS = {"train": (120, 90), "valid": (80,), "test": (80,)}


@pytest.fixture
def request_(tmp_path):
    random = np.random.default_rng(5)
    for part, lengths in LENGTHS.items():
        (tmp_path / "data" / part).mkdir(parents=True)
        for i, length in enumerate(lengths):
            with h5py.File(tmp_path / "data" / part / f"run{i}.hdf5", "w") as file:
                file["u0"], file["y0"] = random.normal(size=(2, length))
                file.attrs["fs"] = 10.0
    return {
        "path": str(tmp_path / "data"),
        "inputs": ["u0", "dt"],
        "constants": {"dt": {"sampling": "step"}},
        "decimate": 2,
        "train_also": [1, 5],
    }


def test_every_rate_of_a_file_is_a_record_of_train_alone(request_):
    dataset = open_dataset(prepare(request_))
    train = dataset.part("train")
    assert train.names == (
        *("run0", "run0 1/1", "run0 1/5"),
        *("run1", "run1 1/1", "run1 1/5"),
    )
    assert train.lengths == (60, 120, 24, 45, 90, 18)
    assert dataset.part("valid").lengths == dataset.part("test").lengths == (40,)
    with h5py.File(f"{request_['path']}/train/run0.hdf5") as file:
        u, y = file["u0"][:], file["y0"][:]
    for index, factor in enumerate((2, 1, 5)):
        record = train.load(index)
        np.testing.assert_array_equal(record["y"][:, 0], y[::factor])
        wanted = scipy.signal.resample_poly(u, 1, factor, padtype="line")
        np.testing.assert_allclose(record["u"][:, 0], wanted if factor > 1 else u)
        np.testing.assert_allclose(record["u"][:, 1], factor / 10.0)
    np.testing.assert_allclose(dataset.part("valid").load(0)["u"][:, 1], 0.2)
    # Statistics are of all that is trained on.
    steps = np.repeat([0.2, 0.1, 0.5, 0.2, 0.1, 0.5], train.lengths)
    np.testing.assert_allclose(dataset.statistics.mean["u"][1], steps.mean())


@pytest.mark.parametrize("factor", [1, 2, 3, 7])
def test_scores_of_a_decimated_record_begin_where_those_of_the_file_do(
    factor, request_
):
    for path in Path(request_["path"]).glob("*/*.hdf5"):
        with h5py.File(path, "r+") as file:
            file.attrs["init_sz"] = 30
    request = {"path": request_["path"], "decimate": factor}
    kept = np.arange(0, 80, factor)  # samples of the file, at the lower rate
    assert prepare(request).settings["score_from"] == np.sum(kept < 30)
    assert prepare({**request, "score_from": 6}).settings["score_from"] == 6


def test_a_known_protocol_counts_samples_of_its_files():
    whole = {"name": "mass_spring_damper", "samples": 512}
    found = prepare({**whole, "decimate": 3}).settings["score_from"]
    begin = prepare(whole).settings["score_from"]
    assert begin > 3 and found == np.sum(np.arange(0, 512, 3) < begin)


def test_a_rate_in_hertz_and_a_model_that_reads_it(request_):
    request_["constants"]["dt"]["sampling"] = "rate"
    reference = prepare(request_)
    rates = [open_dataset(reference).part("train").load(i)["u"][0, 1] for i in range(3)]
    np.testing.assert_allclose(rates, [5.0, 10.0, 2.0])
    learner = rnn.create(
        {"model.hidden_size": 3, "data.window": 15, "loss.n_skip": 2},
        Context(data=reference.to_json(), task="simulation", seed=0, epochs=1),
    )
    (epoch,) = learner.fit_iter(1)
    assert np.isfinite(epoch.valid["rmse"])


def at_another_rate(request, place, rate):
    """One file of a dataset says that it was sampled at `rate`; None for nothing."""
    close_files()
    with h5py.File(f"{request['path']}/{place}.hdf5", "r+") as file:
        file.attrs.pop("fs", None)
        if rate is not None:
            file.attrs["fs"] = rate


@pytest.mark.parametrize("place", ["train/run1", "valid/run0"])
def test_files_of_different_rates_need_a_model_that_is_told(place, request_):
    plain = {"path": request_["path"]}
    at_another_rate(plain, place, 25.0)
    with pytest.raises(DataError, match=rf"run0.* 10 Hz, .*{place}.* has 25 Hz"):
        prepare(plain)
    part, _, name = place.partition("/")
    found = open_dataset(prepare(request_)).part(part)
    steps = [found.load(i)["u"][0, 1] for i in range(len(found.names))]
    told = dict(zip(found.names, steps, strict=True))
    assert told[name] == pytest.approx(2 / 25.0), "of every second sample"
    at_another_rate(plain, place, 10.005)  # of the same clock
    prepare(plain)
    at_another_rate(plain, place, None)
    assert prepare(plain).sampling_rate == 10.0
    for wrong in (-1.0, "fast"):
        at_another_rate(plain, "valid/run0", wrong)
        with pytest.raises(DataError, match="`fs` is a sampling rate in Hz"):
            prepare(plain)


def test_a_file_of_another_rate_is_neither_scored_nor_predicted_from(request_):
    plain = {"path": request_["path"], "decimate": 2}
    dataset, told = open_dataset(prepare(plain)), prepare(request_)
    like = Path(request_["path"]) / "test" / "run0.hdf5"
    from_file = task_of("simulation").from_file
    from_file(like, data=dataset.reference.to_json())
    at_another_rate(plain, "test/run0", 20.0)
    with pytest.raises(DataError, match="sampled at 20 Hz, .* trained on at 10 Hz"):
        dataset.part("test")
    with pytest.raises(DataError, match="sampled at 20 Hz, .* trained on at 10 Hz"):
        from_file(like, data=dataset.reference.to_json())
    given, _ = from_file(like, data=told.to_json())
    np.testing.assert_allclose(given["u"][:, 1], 0.1)
    at_another_rate(plain, "test/run0", None)
    given, _ = from_file(like, data=dataset.reference.to_json())
    assert given["u"].shape == (40, 1)


@pytest.mark.parametrize("wrong", [0.0, -5.0, "fast"])
def test_a_step_of_a_rate_that_is_none_is_refused(wrong, request_):
    """The test part is read last, and by nobody before."""
    at_another_rate(request_, "test/run0", wrong)
    dataset = open_dataset(prepare(request_))
    with pytest.raises(DataError, match=r"`fs` is a sampling rate in Hz.*test/run0"):
        dataset.part("test")


@pytest.mark.parametrize("family", ["greybox", "pirnn", "pinc"])
def test_what_is_solved_in_one_step_refuses_several(family, request_):
    module = importlib.import_module(f"models.{family}")

    def learner(**request):
        data = prepare({"path": request_["path"], **request}).to_json()
        config = module.example("simulation").config
        return module.create(config, Context(data=data, task="simulation", epochs=1))

    learner(decimate=2)
    with pytest.raises(DataError, match=r"one step.*several rates.*`train_also` \[4\]"):
        learner(train_also=[4])
    at_another_rate(request_, "train/run1", 25.0)
    with pytest.raises(DataError, match="one step.*several rates.*several `fs`"):
        learner(constants=request_["constants"], truth=["dt"])


@pytest.mark.parametrize("place", ["train/b.csv", "valid/a.csv"])
def test_the_times_of_every_table_are_looked_at(place, tmp_path):
    def table(times):
        rows = (f"{t},{math.sin(t)},{math.cos(t)}" for t in map(float, times))
        return "time,u0,y0\n" + "\n".join(rows) + "\n"

    for name in ("train/a.csv", "train/b.csv", "valid/a.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(table(np.arange(50) * 0.01))
    assert prepare(str(tmp_path)).sampling_rate == pytest.approx(100.0)
    (tmp_path / place).write_text(table(np.arange(50) * 0.5))
    with pytest.raises(DataError, match=rf"100 Hz, .*{place} has 2 Hz"):
        prepare(str(tmp_path))
    (tmp_path / place).write_text(table(np.arange(50)[::-1] * 0.01))
    with pytest.raises(DataError, match=rf"(?s){place} .*evenly.*rename the column"):
        prepare(str(tmp_path))


@pytest.mark.parametrize("also", [[2], [1, 1], [0], "4", [2.5]])
def test_further_rates_are_others(also, request_):
    with pytest.raises(DataError, match="`train_also` lists|must be a whole number"):
        prepare({**request_, "train_also": also})


def test_a_step_needs_a_rate(request_):
    request_["constants"]["dt"]["sampling"] = "period"
    with pytest.raises(DataError, match=r"step \(s\) or the rate \(Hz\), got 'period'"):
        prepare(request_)
    request_["constants"]["dt"]["sampling"] = "step"
    with h5py.File(f"{request_['path']}/train/run1.hdf5", "r+") as file:
        del file.attrs["fs"]
    with pytest.raises(DataError, match=r"`dt` needs the attribute `fs`.*run1"):
        prepare(request_)
