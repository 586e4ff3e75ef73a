"""Bad data on the real command line: a clear message, a non-zero exit, no traceback."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from hpo.cli.main import app
from tests.test_hpo import sample_run


@pytest.fixture
def place(tmp_path):
    """A small dataset in the layout of the benchmarks, and a study that reads it."""
    random = np.random.default_rng(0)
    for part in ("train", "valid", "test"):
        (tmp_path / "data" / part).mkdir(parents=True)
        with h5py.File(tmp_path / "data" / part / "a.hdf5", "w") as file:
            file["u0"], file["y0"] = random.normal(size=(2, 300)).astype(np.float32)
    text = sample_run.WALK.replace(
        'name="walks",',
        f'name="walks",\n    data={{"path": {str(tmp_path / "data")!r}}},',
    )
    (tmp_path / "walk.py").write_text(text)
    return tmp_path


def launch(place, *options, study="walk.py"):
    arguments = ("launch", place / study, "--results", place / "out", *options)
    return CliRunner().invoke(app, [str(a) for a in arguments], prog_name="hpo")


def refused(result, *words):
    assert result.exit_code == 1, result.output
    assert "error: " in result.stderr and "Traceback" not in result.output
    for word in words:
        assert word in result.stderr, result.stderr


def test_good_data_is_taken(place):
    result = launch(place, "--trials", 1)
    assert result.exit_code == 0, result.stderr


def damage_missing(data):
    (data / "valid" / "a.hdf5").unlink()


def damage_absent(data):
    (data / "valid" / "a.hdf5").unlink()
    (data / "valid").rmdir()


def damage_corrupt(data):
    (data / "train" / "a.hdf5").write_bytes(b"no HDF5 at all" * 50)


def damage_nan(data):
    with h5py.File(data / "train" / "a.hdf5", "r+") as file:
        file["y0"][7] = np.nan


def damage_empty(data):
    with h5py.File(data / "valid" / "a.hdf5", "w") as file:
        file["u0"] = file["y0"] = np.zeros(0, np.float32)


def damage_lengths(data):
    with h5py.File(data / "train" / "a.hdf5", "r+") as file:
        del file["y0"]
        file["y0"] = np.zeros(299, np.float32)


def damage_signals(data):
    with h5py.File(data / "valid" / "a.hdf5", "r+") as file:
        del file["y0"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_missing, "valid"),
        (damage_absent, "valid"),
        (damage_corrupt, "a.hdf5"),
        (damage_nan, "y0"),
        (damage_empty, "a.hdf5"),
        (damage_lengths, "a.hdf5"),
        (damage_signals, "y0"),
    ],
)
def test_damaged_data_is_named_before_anything_starts(damage, words, place):
    damage(place / "data")
    refused(launch(place), words)
    runs = CliRunner().invoke(app, ["results", "--results", str(place / "out")])
    assert "no run under" in runs.stderr


def test_data_that_changed_since_the_launch_is_refused_by_a_rerun(place):
    assert launch(place, "--trials", 1).exit_code == 0
    with h5py.File(place / "data" / "test" / "a.hdf5", "r+") as file:
        file["y0"][7] = 5.0
    arguments = ["rerun", "walks", "--exact", "--results", str(place / "out")]
    result = CliRunner().invoke(app, arguments)
    refused(result, "the data changed since the launch (part test)")


def test_unknown_data_gets_near_matches(place):
    text = (place / "walk.py").read_text()
    path = f'{{"path": {str(place / "data")!r}}}'
    (place / "named.py").write_text(text.replace(path, '"dufing"'))
    refused(launch(place, study="named.py"), "dufing", "duffing")


def test_a_window_longer_than_every_file_fails_the_trials_and_the_command(place):
    text = (place / "walk.py").read_text()
    space = text[text.index("create=Walk,") : text.index("),\n    objectives")]
    mine = """space=Space({"data.window": 1000, "data.batches": 1,
                "optimizer.learning_rate": FloatDistribution(0.001, 0.01)}),
        ),
    """
    (place / "long.py").write_text(
        text.replace(space, mine)
        .replace('name="walk"', 'name="rnn"')
        .replace('name="walks",', 'name="walks",\n    task="simulation",')
    )
    result = launch(place, "--trials", 2, "--epochs", 1, study="long.py")
    refused(result, "no trial could be ranked and 2 failed", "1000", "300", "hpo show")
    assert "failed" in result.stdout
