"""The short-time Fourier transform against scipy's and torch's, and what it refuses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from models.errors import ConfigError
from models.layers.spectrogram import Spectrogram

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("window", "hop", "time"), [(16, 8, 100), (20, 5, 61), (8, 8, 9)]
)
def test_equals_scipy(window, hop, time):
    signal = RANDOM.normal(size=(3, time, 2))
    layer = Spectrogram(window=window, hop=hop)
    with jax.enable_x64(True):
        got = layer.transform(jnp.asarray(signal))
    padded = np.pad(signal, ((0, 0), (window // 2,) * 2, (0, 0)), mode="reflect")
    _, _, wanted = scipy.signal.stft(
        padded,
        window=scipy.signal.get_window("hann", window),
        nperseg=window,
        noverlap=window - hop,
        boundary=None,
        padded=False,
        scaling="spectrum",
        axis=1,
    )
    # scipy: [batch, frequency, channel, frame], divided by the window's sum.
    scale = scipy.signal.get_window("hann", window).sum()
    wanted = np.moveaxis(wanted * scale, -1, 1)
    assert got.shape == (3, layer.frames(time), layer.frequencies, 2) == wanted.shape
    np.testing.assert_allclose(got, wanted, atol=1e-12)
    power = layer(jnp.asarray(signal, jnp.float32))
    assert power.shape == (3, layer.frames(time), 2 * layer.frequencies)
    lines = np.moveaxis(np.abs(wanted) ** 2, 3, 2).reshape(power.shape)
    np.testing.assert_allclose(power, lines, rtol=1e-4, atol=1e-5)


@pytest.mark.oracles
def test_equals_torch():
    torch = pytest.importorskip("torch")
    signal = RANDOM.normal(size=(2, 90))
    wanted = torch.stft(
        torch.tensor(signal),
        16,
        8,
        window=torch.hann_window(16, dtype=torch.float64),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    with jax.enable_x64(True):
        got = Spectrogram(window=16, hop=8).transform(jnp.asarray(signal)[..., None])
    np.testing.assert_allclose(got[..., 0], wanted.numpy().swapaxes(1, 2), atol=1e-12)


def test_a_tone_is_at_its_frequency_and_time():
    rate, time = 100.0, np.arange(400)
    tone = np.sin(2 * np.pi * 25.0 * time / rate) * (time >= 200)
    layer = Spectrogram(window=40, hop=20)
    found = np.asarray(layer(jnp.asarray(tone, jnp.float32)[None, :, None]))[0]
    frequencies = np.arange(layer.frequencies) * rate / 40
    late = layer.centres(400) >= 220
    assert (frequencies[found[late].argmax(1)] == 25.0).all()
    assert found[layer.centres(400) <= 180].max() < 1e-6
    assert layer.rate(rate) == 5.0


def test_white_noise_has_the_power_of_its_variance():
    noise = jnp.asarray(2.0 * RANDOM.normal(size=(20, 2000, 1)), jnp.float32)
    layer = Spectrogram(window=32, hop=16, normalised=True)
    inner = np.asarray(layer(noise)).mean((0, 1))[1:-1]
    np.testing.assert_allclose(inner, 4.0, rtol=0.1)


def test_magnitudes_have_slopes_where_nothing_is():
    layer = Spectrogram(window=8, hop=4, power=1.0)
    signal = jnp.asarray(RANDOM.normal(size=(1, 20, 1)), jnp.float32)
    np.testing.assert_allclose(
        layer(signal) ** 2, Spectrogram(window=8, hop=4)(signal), rtol=1e-4
    )
    slope = jax.grad(lambda x: jnp.sum(layer(x)))(jnp.zeros((1, 20, 1)))
    assert np.isfinite(slope).all()


def test_what_cannot_be_is_refused():
    for options, words in (
        ({"window": 8, "hop": 9}, "from 1 to `window` 8"),
        ({"window": 8, "hop": 0}, "got 0"),
        ({"window": 7, "hop": 2}, "even"),
        ({"window": 8, "hop": 2, "power": 0.0}, "positive"),
    ):
        with pytest.raises(ConfigError, match=words):
            Spectrogram(**options)
    with pytest.raises(ConfigError, match="cannot be mirrored"):
        Spectrogram(window=8, hop=2)(jnp.zeros((1, 4, 1)))
