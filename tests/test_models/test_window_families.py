"""vae and vqvae of whole windows: the source's own tests, and what is refused or goes well.

The source's nine tests, of shapes and losses, are restated from `reference/models.md`, section 4.
That of its schedule is in `test_variational.py`.
"""

from __future__ import annotations

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hpo.testing import families
from models import vae, vqvae
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.statistics import Statistics
from models.errors import ConfigError, DataError
from models.layers.window_coder import WindowCoder
from models.tasks import reconstruction
from models.tasks.base import describe
from models.training.protocol import Context
from models.variational import Code, Divergence, Scored, bound_terms

ORIGINAL = {
    "coder.layout": "original",
    "coder.pool": "mean",
    "coder.channels": 64,
    "coder.dropout": 0.2,
    "latent.size": 32,
    "divergence.schedule": "cyclical",  # 150 epochs: warm-up 30 of cycles of 40
    "divergence.ramp": 0.75,
    "divergence.cycles": 3.75,
    "divergence.free_bits": 2.0,
    "divergence.free_form": "each",
    "likelihood.kind": "fixed",
    "likelihood.variance": 0.5,
    "data.window": 745,
    "data.batch_size": 64,
    "optimizer.learning_rate": 1e-3,
}
CHANNELS, WEIGHT = 7, 0.5


def shape_of(run):
    """Shapes of what a function of the source's coder gives; nothing is computed."""
    config = vae.Config.from_flat(ORIGINAL)
    ones = {"x": np.ones(CHANNELS)}
    statistics = Statistics(mean=ones, std=ones, count=1)

    def made():
        coder = WindowCoder(
            config=config.coder,
            role="x",
            length=745,
            features=64,
            code=32,
            statistics=statistics,
        )
        x = jnp.zeros((4, 745, CHANNELS))
        return run(coder, x, jax.random.key(0))

    return jax.tree.map(lambda leaf: leaf.shape, nnx.eval_shape(made))


def shown(x):
    return jnp.ones(x.shape, bool)


def test_the_sources_shapes():
    def steps(coder, x, key):
        found, doubled = [], jnp.concatenate([x, x], axis=-1)
        for layers, norms in zip(
            coder.reader.branches, coder.reader.norms, strict=True
        ):
            values = doubled
            for layer, norm in zip(layers, norms, strict=True):
                values = norm(layer(values), training=True)
            found.append(values)
        return found

    assert shape_of(steps) == [(4, n, 64) for n in (94, 47, 12, 47)]
    encoded = shape_of(lambda coder, x, key: Code.of(coder.read(x, shown(x))))
    assert encoded == ((4, 32), (4, 32))
    drawn = shape_of(lambda coder, x, key: Code(x[:, 0, :3], x[:, 0, :3]).drawn(key))
    assert drawn == (4, 3)
    written = shape_of(lambda coder, x, key: coder.write(jnp.zeros((4, 32)), key=key))
    assert written == ((4, 745, CHANNELS), [(4, 745, CHANNELS)] * 4)


def test_a_draw_has_the_moments_of_its_code():
    mean, spread = np.array([[1.0, -2.0]]), np.array([[0.5, 3.0]])
    code = Code(*(jnp.tile(v, (20000, 1)) for v in (mean, 2 * np.log(spread))))
    drawn = np.asarray(code.drawn(jax.random.key(0)))
    np.testing.assert_allclose(drawn.mean(axis=0), mean[0], atol=0.1)
    np.testing.assert_allclose(drawn.std(axis=0), spread[0], rtol=0.03)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("free", [0.0, 2.0])
def test_the_sources_loss(gaps, free):
    """``Σ m e² / Σ m + β mean relu(kl - λ)``, but for a constant, by its likelihood and β."""
    random = np.random.default_rng(0)
    x, again = random.normal(size=(2, 4, 9, 3)).astype("f4")
    mask = random.random(x.shape) < (0.6 if gaps else 2.0)
    mean, log_variance = random.normal(size=(2, 4, 5)).astype("f4") * 2
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
    wanted = (np.square(x - again) * mask).sum() / mask.sum()
    wanted += WEIGHT * np.maximum(kl - free, 0.0).mean()
    outputs = {
        "x": jnp.asarray(again),
        "code": {"mean": mean, "log_variance": log_variance},
        "variance": jnp.full((4, 3), 0.5),
    }
    batch = {"x": jnp.asarray(x), "seen.x": jnp.asarray(mask)}
    terms = bound_terms(
        divergence=Divergence(
            weight=1.0, free_bits=free, free_form="each" if free else "mean"
        ),
        scored=Scored(signal="x", std=np.ones(3)),
    )
    hyper = {"divergence.free_bits": jnp.float32(free)}
    nll, nats = (terms[n].function(outputs, batch, hyper) for n in ("nll", "kl"))
    beta = WEIGHT * mask.sum() / (4 * 5)  # of a window, for its mean over 5 latents
    constant = 0.5 * np.log(np.pi)
    assert float(nll - constant + beta * nats) == pytest.approx(wanted, rel=1e-5)


# -- what is refused, and what goes well ------------------------------------------------------


def context(data, **task):
    described = {"name": "reconstruction", **task}
    return Context(
        task=described,
        data=data.to_json(),
        seed=0,
        epochs=1,
        objective=reconstruction.Task.OBJECTIVE,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows")
    return prepare(reconstruction.Task().write_windows(folder))


@pytest.mark.parametrize("family", [vae, vqvae])
@pytest.mark.parametrize(
    "changes,words",
    [
        ({"data.window": 25}, "of 24 time steps, got `data.window` 25"),
        (
            {"rollout.hidden_size": 5},
            "`rollout.hidden_size` acts in the task `prediction`",
        ),
        ({"encoder.kind": "tcn"}, "`encoder.kind` acts in the task `prediction`"),
    ],
)
def test_what_does_not_fit_windows_is_refused(family, changes, words, data):
    config = {"data.window": 24, **changes}
    with pytest.raises(ConfigError, match=words) as caught:
        family.create(config, context(data))
    assert caught.value.hint


@pytest.mark.parametrize("family", [vae, vqvae])
def test_prediction_reads_no_coder(family, tmp_path):
    with pytest.raises(ConfigError, match="`coder.channels` acts in the task `recon"):
        families.make(family, "prediction", tmp_path, config={"coder.channels": 8})


def test_rows_are_no_windows(tmp_path):
    rows = prepare(reconstruction.Task().write_example(tmp_path))
    with pytest.raises(ConfigError, match="of kind samples") as caught:
        vae.create({"data.window": 24}, context(rows))
    assert '"kind": "windows"' in caught.value.hint
    dataset = open_dataset(prepare({"path": rows.path, "arrays": {"x": "values"}}))
    with pytest.raises(DataError, match="needs the role `values`"):
        describe(reconstruction.Task(), dataset)


@pytest.mark.slow
@pytest.mark.parametrize("family", [vae, vqvae])
def test_windows_of_which_nothing_is_seen(family, tmp_path):
    """A constant channel, a window and a channel of one without any value, in every part."""
    task = reconstruction.Task()
    request = task.write_windows(tmp_path)
    with h5py.File(request["path"], "r+") as file:
        for part in ("train", "valid", "test"):
            values = file[f"{part}/values"][:]
            values[..., 0] = 4.0
            values[2], values[3, :, 1] = np.nan, np.nan
            file[f"{part}/values"][...] = values
    made = family.create(
        family.example("reconstruction").config, context(prepare(request))
    )
    (epoch,) = made.fit()
    assert all(np.isfinite(v) for v in epoch.valid.values()), epoch.valid
    found = made.predict({"values": np.full((24, 2), np.nan)})["values"]
    assert np.isfinite(found).all() and found.shape == (24, 2)
