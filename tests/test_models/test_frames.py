"""Networks that read spectra: what they read and answer, by scipy, and what they refuse."""

from __future__ import annotations

import importlib

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from models import attitude, rnn
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.errors import ConfigError, DataError, UserError
from models.layers.frames import FLOOR, Frames
from models.layers.simulator import Simulator
from models.stateful import StatefulRNN
from models.training.protocol import Context

WINDOW, HOP = 16, 6
SETTINGS = {"model.hidden_size": 4, "data.window": 40, "data.batches": 2}
FRAMED = {"model.spectrogram.window": WINDOW, "model.spectrogram.hop": HOP}


def recorded(folder, lengths=(203, 150)):
    """Records whose second input is loud and far from zero."""
    random = np.random.default_rng(3)
    for part in ("train", "valid", "test"):
        (folder / part).mkdir(parents=True)
        for i, length in enumerate(lengths):
            u = random.normal(size=(length, 2)) * [1.0, 40.0] + [0.0, 300.0]
            with h5py.File(folder / part / f"{i}.hdf5", "w") as file:
                file["u0"], file["u1"] = u.T
                file["y0"] = np.cumsum(u[:, 0]) * 0.1 + u[:, 0]
    return prepare({"path": str(folder)})


def spectra(signal, power=2.0):
    """Frames ``[frames, channel · frequency]`` of a signal, by scipy."""
    window = scipy.signal.get_window("hann", WINDOW)
    padded = np.pad(signal, ((WINDOW // 2,) * 2, (0, 0)), mode="reflect")
    _, _, found = scipy.signal.stft(
        padded,
        window=window,
        nperseg=WINDOW,
        noverlap=WINDOW - HOP,
        boundary=None,
        padded=False,
        axis=0,
        scaling="spectrum",
    )
    found = np.abs(found * window.sum() / np.sqrt(np.sum(window**2))) ** power
    return np.moveaxis(found, -1, 0).transpose(0, 2, 1).reshape(found.shape[-1], -1)


@pytest.mark.parametrize(
    ("scale", "of"),
    [
        ("log", lambda s: np.log(spectra(s) + FLOOR)),
        ("power", spectra),
        ("magnitude", lambda s: spectra(s, 1.0)),
    ],
)
@pytest.mark.parametrize("scaling", ["standard", "maxabs"])
def test_frames_are_scipys_and_their_statistics_those_of_train(
    scale, of, scaling, tmp_path
):
    dataset = open_dataset(recorded(tmp_path).to_json())
    part, statistics = dataset.part("train"), dataset.statistics
    layer = Frames.of(
        statistics, "u", window=WINDOW, hop=HOP, scale=scale, scaling=scaling
    )
    records = [part.load(i)["u"] for i in range(2)]
    whole = np.concatenate(records)
    if scaling == "standard":
        middle, reach = whole.mean(0), whole.std(0)
    else:
        middle, reach = 0.0, np.abs(whole).max(0)
    scaled = [(r - middle) / reach for r in records]
    frames = np.concatenate([of(s) for s in scaled])
    mean, std = frames.mean(0), frames.std(0)
    assert layer.channels == 2 * (WINDOW // 2 + 1) == len(mean)
    for signal in scaled:
        found = layer(jnp.asarray(signal[None], jnp.float32))
        wanted = (of(signal) - mean) / std
        # 203 samples have 34 frames, the last about sample 198: that one stands for what follows.
        wanted = np.concatenate([wanted, wanted[-1:]])[: found.shape[1]]
        assert (found.shape[1] - 1) * HOP >= len(signal) - 1
        np.testing.assert_allclose(found[0], wanted, rtol=2e-3, atol=2e-3)


class Identity(Simulator):
    """Gives what it reads."""

    def features(self, inputs, *, key):
        return inputs


@pytest.mark.parametrize("length", [50, 54, 55])
def test_the_layers_answer_about_the_middle_of_every_frame(length, tmp_path):
    statistics = open_dataset(recorded(tmp_path).to_json()).statistics
    frames = Frames.of(statistics, "u", window=WINDOW, hop=HOP, scale="log")
    width = frames.channels + 2
    model = Identity(
        statistics=statistics, known=True, width=width, skip=True, frames=frames
    )
    assert model.inputs == width and model.skip.weight.shape == (4, 1)
    random = np.random.default_rng(2)
    u = random.normal(size=(1, length, 2)) * [1.0, 40.0] + [0.0, 300.0]
    seen = jnp.arange(length)[None, :, None] < 21
    y = random.normal(size=(1, length, 1))
    given = {
        "u": jnp.asarray(u),
        "y": jnp.where(seen, jnp.asarray(y), 0.0),
        "given.y": seen,
    }
    _, found = model.with_features(given)
    scaled = (u[0] - statistics.mean["u"]) / statistics.std["u"]
    raw = np.log(spectra(scaled) + FLOOR)
    mean, std = np.asarray(frames.normalize.mean), np.asarray(frames.normalize.std)
    wanted = (raw - mean) / std
    centres = np.arange(len(raw)) * HOP
    lines = np.stack(
        [np.interp(np.arange(length), centres, line) for line in wanted.T], axis=1
    )
    assert found.shape == (1, length, width)
    np.testing.assert_allclose(found[0, :, :-2], lines, rtol=2e-3, atol=2e-3)
    # What is known is no signal to be transformed: it is read where frames have their middle.
    known = (y[0, :21:HOP, 0] - statistics.mean["y"]) / statistics.std["y"]
    np.testing.assert_allclose(found[0, :21:HOP, -2], known, rtol=1e-5)
    np.testing.assert_array_equal(found[0, ::HOP, -1], np.arange(0, length, HOP) < 21)


@pytest.mark.parametrize(
    ("family", "task"),
    [("rnn", "estimation"), ("tcn", "prediction"), ("crnn", "simulation")],
)
def test_scores_are_of_every_recorded_sample(family, task, tmp_path):
    module = importlib.import_module(f"models.{family}")
    example = module.example(task)
    learner = module.create(
        {**example.config, "model.spectrogram.window": 8}, example.context(tmp_path)
    )
    (epoch,) = learner.fit_iter(1)
    part = learner.valid[0]
    y = np.asarray(learner.outputs(part)[0]["y"])
    if task == "estimation":
        assert y.shape[0] == part["y"].shape[0]
    else:
        assert y.shape == part["y"].shape
    assert np.isfinite(list(epoch.valid.values())).all()


def test_what_is_in_a_band_is_learned(tmp_path):
    """How loud a signal is between two frequencies: its samples tell nothing, its spectrum all."""
    random = np.random.default_rng(0)
    inside = scipy.signal.butter(4, [0.2, 0.3], btype="bandpass", output="sos")
    outside = scipy.signal.butter(4, [0.15, 0.35], btype="bandstop", output="sos")
    for part in ("train", "valid", "test"):
        (tmp_path / part).mkdir()
        for i in range(8):
            level = np.exp(random.normal(size=12)).repeat(100)
            told = scipy.signal.sosfilt(inside, random.normal(size=1200)) * level
            drowned = scipy.signal.sosfilt(outside, 3 * random.normal(size=1200))
            with h5py.File(tmp_path / part / f"{i}.hdf5", "w") as file:
                file["u0"], file["y0"] = told + drowned, np.log(level)
    context = Context(
        data=prepare({"path": str(tmp_path)}).to_json(),
        task="simulation",
        seed=0,
        epochs=6,
    )

    def error(**framed):
        config = {
            **SETTINGS,
            **framed,
            "model.layers": 1,
            "data.window": 200,
            "data.batch_size": 16,
            "data.batches": 20,
            "loss.n_skip": 40,
            "optimizer.learning_rate": 0.02,
        }
        return min(e.valid["rmse"] for e in rnn.create(config, context).fit_iter(6))

    framed = error(**{"model.spectrogram.window": 32, "model.spectrogram.hop": 8})
    assert framed < 0.7 * error()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model.spectrogram.hop": 17}, r"`hop` must be from 1 to `window` 16.*got 17"),
        ({"model.spectrogram.window": 7}, "even number of samples, 2 or more, got 7"),
        (
            {"model.spectrogram.window": 80},
            "got `model.spectrogram.window` 80 for windows of 40",
        ),
        ({"model.decimation": 2}, "got `model.decimation` 2 with `model.spectrogram"),
        (
            {"data.order": "consecutive"},
            "got `model.spectrogram.window` 16 with `data.order`",
        ),
        ({"model.spectrogram.scale": "db"}, "`scale` must be one of 'log', 'power'"),
    ],
)
def test_frames_that_cannot_be_are_refused(values, words):
    for family in ("rnn", "tcn", "crnn"):
        module = importlib.import_module(f"models.{family}")
        with pytest.raises(ConfigError, match=words):
            module.Config.from_flat(
                {**FRAMED, "data.window": 40, "loss.n_skip": 4, **values}
            )


def test_a_framed_model_holds_no_state_and_short_records_are_told(tmp_path):
    reference = recorded(tmp_path / "long").to_json()
    context = Context(data=reference, task="simulation", seed=0, epochs=1)
    learner = rnn.create({**SETTINGS, **FRAMED, "loss.n_skip": 4}, context)
    with pytest.raises(UserError, match=r"looks ahead.*`model.spectrogram.hop` is 6"):
        StatefulRNN(learner).predict_stateful(np.zeros((30, 2)))
    with pytest.raises(
        ConfigError, match="8 samples cannot be mirrored by half a window"
    ):
        learner.predict(np.zeros((8, 2)))
    statistics = open_dataset(reference).statistics
    with pytest.raises(DataError, match="no record of the train part is long enough"):
        Frames.of(statistics, "u", window=406, hop=8, scale="log")


def test_no_frames_are_in_no_signature_and_attitude_has_none():
    plain, other = rnn.Config(), rnn.Config.from_flat(FRAMED)
    keys = {f"model.spectrogram.{name}" for name in ("window", "hop", "scale")}
    assert not keys & set(dict(plain.static_signature()))
    assert keys <= set(dict(other.static_signature()))
    # A hop alone means nothing, so that both can be searched.
    lone = rnn.Config.from_flat({"model.spectrogram.hop": 6})
    assert lone.static_signature() == plain.static_signature()
    assert not keys & set(attitude.Config.keys())
