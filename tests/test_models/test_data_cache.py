"""Simulated data appears all at once, equal for equal options, whoever is killed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from models.data.cache import cache_folder, simulated
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.options import SIMULATED, Options
from models.errors import DataError

NAME = "simulated_wiener_hammerstein"
SMALL = {"name": NAME, "samples": 600}
CODE = "import sys; from models.data.catalog import prepare; print(prepare({!r}).path)"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    path = tmp_path / "new" / "cache"
    monkeypatch.setenv("HPO_CACHE", str(path))
    return path


def visible(cache):
    return [p.name for p in cache.iterdir() if not p.name.startswith(".")]


def test_the_cache_is_private(cache, monkeypatch):
    assert cache_folder() == cache
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    monkeypatch.delenv("HPO_CACHE")
    monkeypatch.setenv("HOME", str(cache))
    assert cache_folder() == cache / ".cache" / "hpo"
    assert stat.S_IMODE((cache / ".cache" / "hpo").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "name", [n for n, known in SIMULATED.items() if type(known.options) is Options]
)
def test_every_simulator_makes_a_dataset(name, cache):
    reference = prepare({"name": name, "samples": 600})
    dataset = open_dataset(reference)
    assert [dataset.part(p).lengths for p in ("train", "valid", "test")] == [
        (600,),
        (150,),
        (300,),
    ]
    assert all(r.mapped for r in dataset.part("train").records)
    assert reference.settings["score_from"] == 50 and len(reference.units["y"]) == 1
    parts = [dataset.part(p).load(0) for p in ("train", "valid", "test")]
    train, valid, test = (part["u"][:, 0] for part in parts)
    for whole, piece in ((train, valid), (train, test[:150]), (test, valid)):
        assert likeness(whole, piece) < 0.98, "parts are separate realisations"
    assert likeness(train, train[200:350]) > 0.9999


def test_a_simulated_table(cache):
    """What its docstring says of it: clock, weekday, and who feels the weather first."""
    reference = prepare({"name": "simulated_load", "samples": 4000})
    assert reference.kind == "series" and Path(reference.path).parent.parent == cache
    assert reference.settings["borders"] == (0, 4000, 5000, 7000)
    assert reference.units["y"] == ("MW",) * 6 and "t" in reference.roles
    assert reference.sampling_rate == pytest.approx(1 / 3600)
    part = open_dataset(reference).part("train")
    y, t = (part.load(0)[role] for role in ("y", "t"))
    assert (y > 0).all() and t[0].tolist() == [19723.0, 0.0]  # Monday 2024-01-01
    days = y[: 4000 // 168 * 168].reshape(-1, 7, 24, 6)
    course = days - days.mean(axis=2, keepdims=True)
    mean = course.mean(axis=0)
    share = (mean**2).mean(axis=(0, 1)) / (course**2).mean(axis=(0, 1, 2))
    assert (share > 0.5).all(), "a weekly course explains most of a day"
    size = mean.std(axis=1)
    assert size[5:, 1].mean() < 0.5 * size[:5, 1].mean(), "mills rest on weekends"
    slow = np.log(days.mean(axis=2).reshape(-1, 6))
    slow = slow - slow.mean(axis=0)
    ahead = np.corrcoef(slow[:-1, 0], slow[1:, 4])[0, 1]
    behind = np.corrcoef(slow[1:, 0], slow[:-1, 4])[0, 1]
    assert ahead > behind + 0.1, "the weather reaches the harbor first"
    again = prepare(
        {"name": "simulated_load", "samples": 4000, "noise": 0.1, "seed": 0}
    )
    noise = open_dataset(again).part("train").load(0)["y"] - y
    np.testing.assert_allclose(noise.std(axis=0) / y.std(axis=0), 0.1, rtol=0.1)
    with pytest.raises(
        DataError, match="other simulated data has the option `excitation`"
    ):
        prepare({"name": "simulated_load", "excitation": "steps"})
    with pytest.raises(DataError, match="unknown key `truth`"):
        prepare({"name": "simulated_load", "truth": ["x0"]})
    shares = prepare(
        {"name": "simulated_load", "samples": 4000, "shares": [0.5, 0.2, 0.3]}
    )
    assert shares.settings["borders"] == (0, 3500, 4900, 7000)


def likeness(whole, piece):
    """The largest correlation of a piece with any stretch of a signal."""
    stretches = np.lib.stride_tricks.sliding_window_view(whole, len(piece))
    return max(abs(np.corrcoef(s, piece)[0, 1]) for s in stretches)


def test_equal_options_give_equal_bytes_and_others_do_not(cache, tmp_path, monkeypatch):
    first = prepare(SMALL)
    monkeypatch.setenv("HPO_CACHE", str(tmp_path / "elsewhere"))
    again = prepare(SMALL)
    assert again.hashes == first.hashes and again.path != first.path
    for change in ({"seed": 1}, {"noise": 0.1}, {"excitation": "steps"}):
        other = prepare(SMALL | change)
        assert Path(other.path).name != Path(again.path).name
        assert other.hashes["train"] != again.hashes["train"], change


def test_made_once(cache):
    path = simulated(NAME, SIMULATED[NAME].options.updated({"samples": 600}))
    before = path.stat().st_mtime_ns
    assert prepare(SMALL).path == str(path)
    assert path.stat().st_mtime_ns == before and visible(cache) == [path.name]


def test_noise_is_white_of_the_size_asked_for(cache):
    quiet, loud = (
        open_dataset(prepare(SMALL | {"samples": 4000, "noise": n})) for n in (0, 0.2)
    )
    for part in ("train", "valid"):
        a, b = (d.part(part).load(0) for d in (quiet, loud))
        np.testing.assert_array_equal(a["u"], b["u"])
        noise = (b["y"] - a["y"])[:, 0] / quiet.statistics.std["y"][0]
        assert noise.std() == pytest.approx(0.2, rel=0.1)
        assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.1


def test_two_at_once_agree(cache):
    run = [sys.executable, "-c", CODE.format(SMALL)]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(subprocess.run, run, capture_output=True) for _ in range(2)]
    outputs = [job.result() for job in jobs]
    assert [o.returncode for o in outputs] == [0, 0], outputs
    assert outputs[0].stdout == outputs[1].stdout
    assert len(visible(cache)) == 1


def test_a_killed_writer_leaves_nothing_that_is_taken_for_data(cache):
    """The driver and its simulator are killed while they write."""
    run = [sys.executable, "-c", CODE.format(SMALL)]
    process = subprocess.Popen(run, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(cache.glob(f".{NAME}-*.*/")) and time.monotonic() < deadline:
        time.sleep(0.002)
        assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    left = [p for p in cache.glob(f".{NAME}-*") if p.is_dir()]
    assert visible(cache) == [] and left
    reference = prepare(SMALL)
    assert visible(cache) == [Path(reference.path).name]
    assert not [p for p in left if p.exists()], "leftovers are cleared away"


def test_a_failing_simulator_is_reported(cache, monkeypatch):
    (cache.parent / "models").mkdir(parents=True)
    monkeypatch.setattr("models.data.cache.sys.executable", "/bin/false")
    with pytest.raises(DataError, match="simulating .* failed: exit status 1"):
        prepare(SMALL)
    assert visible(cache) == [] and not [p for p in cache.iterdir() if p.is_dir()]


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HPO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError) as caught:
        prepare(SMALL)
    assert "cannot write simulated data" in str(caught.value)
    assert "HPO_CACHE" in caught.value.hint


def test_the_caller_loads_no_jax(cache):
    code = CODE.format(SMALL) + "; print('jax' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.splitlines()[-1] == "False"
