"""Pictures of batches and results: what they show is what the model was given and gave."""

from __future__ import annotations

import csv
import errno
import os

import numpy as np
import pytest

import hpo
from hpo import packages, plots
from hpo.errors import RunError
from models import linear, ridge, rnn, vqvae
from models.training.protocol import Excerpt, Signals
from tests.test_hpo.command_line import run

SEEN = {"known": np.zeros((64, 1), bool), "scored": np.ones((64, 1), bool)}


def learner_of(module, task, folder, **changes):
    example = module.example(task)
    return module.create({**example.config, **changes}, example.context(folder))


def lines(axes):
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines}


def test_results_are_drawn_window_by_window(tmp_path):
    learner = learner_of(rnn, "prediction", tmp_path)
    pieces = learner.excerpts("valid")
    figure = hpo.plot_results(learner)
    assert len(figure.axes) == len(pieces) == 3
    for axes, piece in zip(figure.axes, pieces, strict=True):
        assert piece.which in axes.get_title(loc="left")
        drawn = lines(axes)
        np.testing.assert_array_equal(drawn["measured"], piece.measured[:, 0])
        np.testing.assert_array_equal(
            np.isnan(drawn["predicted"]), np.isnan(piece.predicted[:, 0])
        )
    seen = []
    hpo.plot_results(learner, part="test", plot_fn=lambda axes, p: seen.append(p.which))
    assert seen == ["best", "median", "worst"]
    with pytest.raises(RunError, match="one of the 1 that are drawn, from 0 on, got 1"):
        hpo.plot_results(learner, channel=1)


def test_a_batch_is_drawn_as_the_loss_meets_it(tmp_path):
    plain = learner_of(rnn, "simulation", tmp_path)
    noisy = learner_of(rnn, "simulation", tmp_path, **{"augmentation.noise": 0.5})
    batches = {}
    for name, learner in (("plain", plain), ("noisy", noisy)):
        batches[name] = learner.next_batch()
        before = [np.asarray(a) for a in learner.state.keys.values()]
        figure = hpo.plot_batch(learner, rows=2)
        for panel, role in zip((0, 2), ("u", "y"), strict=True):
            for row in (0, 1):
                (line,) = figure.axes[panel + row].lines
                wanted = batches[name][role][row, :, 0]
                np.testing.assert_array_equal(line.get_ydata(), wanted)
        after = [np.asarray(a) for a in learner.state.keys.values()]
        assert all((a == b).all() for a, b in zip(before, after, strict=True))
    apart = batches["noisy"]["u"] - batches["plain"]["u"]
    assert 0.4 < apart.std() / plain.interface.statistics.std["u"][0] < 0.6
    np.testing.assert_array_equal(batches["noisy"]["y"], batches["plain"]["y"])
    drawn = []
    hpo.plot_batch(plain, rows=1, plot_fn=lambda axes, s: drawn.append(s))
    assert [(s.role, s.values.shape) for s in drawn] == [("u", (20, 1)), ("y", (20, 1))]
    with pytest.raises(RunError, match="at least 1, got 0"):
        hpo.plot_batch(plain, rows=0)


def test_streamed_data_gives_the_same_batch(tmp_path):
    found = [
        learner_of(rnn, "simulation", tmp_path, **{"data.feeding": way}).next_batch()
        for way in ("resident", "streaming")
    ]
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name])


def test_values_that_were_not_seen_are_not_drawn():
    values = np.array([[1.0, 5.0], [np.nan, 6.0], [3.0, 7.0]])
    signals = Signals(
        role="y", values=values, names=("a", "b"), units=("V", "V"), rate=10.0
    )
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    plots.plot_signals(axes, signals)
    assert axes.get_ylabel() == "y [V]"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), values[:, 0])
    np.testing.assert_allclose(axes.lines[1].get_xdata(), [0.0, 0.1, 0.2])


def excerpt(measured, predicted, rate):
    many = measured.shape[1]
    return Excerpt(
        which="only", record="r", row=1, rows=1, start=0, pieces=1, metric="rmse",
        value=0.0, unit="", measured=measured, predicted=predicted,
        known=np.zeros(measured.shape, bool), scored=np.ones(measured.shape, bool),
        names=tuple(f"y{i}" for i in range(many)), units=("",) * many, rate=rate,
    )  # fmt: skip


def test_a_spectrogram_finds_the_errors_frequency():
    from matplotlib.figure import Figure

    time = np.arange(512) / 64.0
    error = np.where(time > 4, np.sin(2 * np.pi * 16 * time), 0.0)[:, None]
    axes = Figure().subplots()
    plots.plot_spectrogram(axes, excerpt(np.zeros((512, 1)), error, 64.0))
    mesh = axes.collections[0]
    corners, level = mesh.get_coordinates(), mesh.get_array()
    row, column = np.unravel_index(np.argmax(level), level.shape)
    low, high = corners[row, column, 1], corners[row + 1, column, 1]
    assert low <= 16 <= high
    assert corners[row, column, 0] >= 3.5
    assert level.max() == pytest.approx(0, abs=1e-5) and level[:, 0].max() < -40


def test_quaternions_are_held_apart_by_their_angles():
    from matplotlib.figure import Figure
    from scipy.spatial.transform import Rotation

    random = np.random.default_rng(0)
    q = Rotation.random(40, random_state=1)
    turn = Rotation.from_rotvec(random.normal(size=(40, 3)) * 0.3)
    both = [
        np.roll(r.as_quat(), 1, axis=1) * random.choice([-1, 1], (40, 1))
        for r in (turn * q, q)
    ]
    axes = Figure().subplots()
    plots.plot_quaternions(axes, excerpt(both[1], both[0], None))
    drawn = lines(axes)
    np.testing.assert_allclose(drawn["angle"], np.degrees(turn.magnitude()), atol=1e-6)
    up = np.array([0.0, 0.0, 1.0])
    tilt = np.degrees(np.arccos(np.clip(turn.apply(up) @ up, -1, 1)))
    np.testing.assert_allclose(drawn["inclination"], tilt, atol=1e-5)
    with pytest.raises(RunError, match="4 channels, got an excerpt of 1"):
        plots.plot_quaternions(axes, excerpt(q.as_quat()[:, :1], both[0][:, :1], None))


def test_what_cannot_be_drawn_is_told(tmp_path):
    solved = learner_of(ridge, "forecast", tmp_path / "series")
    with pytest.raises(RunError, match="no signal that could be drawn"):
        hpo.plot_batch(solved)
    coded = learner_of(vqvae, "reconstruction", tmp_path / "rows")
    coded.interface = None
    with pytest.raises(RunError, match="cannot be drawn beside"):
        hpo.plot_results(coded)


def test_pictures_of_before_stay_whole_where_the_disk_is_full(tmp_path, monkeypatch):
    learner, place = learner_of(rnn, "simulation", tmp_path), tmp_path / "plots"
    names = plots.write(learner, place)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    assert set(before) == {*names}

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(plots, "_saved", lambda figure, kind: b"half of it")
    with pytest.raises(RunError, match="cannot write .*: No space left"):
        plots.write(learner, place)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def launched(module, tmp_path):
    """A finished run of a single trial of a family, on its example of a simulation."""
    from hpo.run import launch
    from hpo.study import Budget, Family, Resources, Study

    example = module.example("simulation")
    study = Study(
        name="drawn",
        data=dict(example.described.write_example(tmp_path / "data")),
        task="simulation",
        families=(Family(name=module.__name__.split(".")[-1], space=example.config),),
        budget=Budget(trials=1, epochs=1),
        resources=Resources(executor="local"),
    )
    assert launch.launch(study, results=tmp_path / "results").state == "finished"


def test_a_model_in_closed_form_is_drawn_without_a_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "begin_kernels", lambda: None)  # it needs none
    launched(linear, tmp_path)
    result = run("plot", "drawn", "--results", tmp_path / "results")
    assert result.exit_code == 0, result.stderr
    assert "no batch, as it is trained on none that could be drawn" in result.stderr
    place = next((tmp_path / "results").glob("drawn/*/report/plots-1"))
    names = {"results-1.png", "results-1.svg", "results-1.csv"}
    assert {p.name for p in place.iterdir()} == names
    with (place / "results-1.csv").open() as file:
        found = [float(row["predicted"]) for row in csv.DictReader(file)]
    model = hpo.load_model("drawn", results=tmp_path / "results")
    wanted = [v for p in model.learner.excerpts("valid") for v in p.predicted[:, 0]]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_the_command_writes_pictures_and_numbers(tmp_path):
    launched(rnn, tmp_path)
    result = run("plot", "drawn", "--results", tmp_path / "results")
    assert result.exit_code == 0, result.stderr
    place = next((tmp_path / "results").glob("drawn/*/report/plots-1"))
    assert result.stdout == f"{place}\n"
    assert (place / "batch.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (place / "results-1.svg").read_text()
    model = hpo.load_model("drawn", results=tmp_path / "results")
    wanted = [v for p in model.learner.excerpts("valid") for v in p.predicted[:, 0]]
    with (place / "results-1.csv").open() as file:
        found = [float(row["predicted"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    again = (place / "results-1.svg").read_bytes()
    assert run("plot", "drawn", "--results", tmp_path / "results").exit_code == 0
    assert (place / "results-1.svg").read_bytes() == again, "equal for equal models"
