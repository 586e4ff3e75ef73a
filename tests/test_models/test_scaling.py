"""Signals are scaled as asked for, by what was seen of the train part."""

from __future__ import annotations

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import crnn, rnn, tcn
from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.layers.normalization import Standardize
from models.training.protocol import Context

MODULES = {"rnn": rnn, "tcn": tcn, "crnn": crnn}


def recorded(folder, *, gaps=False):
    """Inputs far from zero, one of which never changes."""
    random = np.random.default_rng(2)
    for part, lengths in {"train": (80, 60), "valid": (40,), "test": (40,)}.items():
        (folder / part).mkdir(parents=True)
        for i, length in enumerate(lengths):
            u = 50 + 3 * random.normal(size=length)
            if gaps:
                u[::7] = np.nan
            with h5py.File(folder / part / f"{i}.hdf5", "w") as file:
                file["u0"], file["u1"] = u, np.full(length, 4.0)
                file["y0"] = -2 * np.nan_to_num(u, nan=50.0)
    return prepare({"path": str(folder), "gaps": gaps})


@pytest.mark.parametrize("gaps", [False, True])
def test_extremes_are_those_of_all_that_was_seen(tmp_path, gaps):
    found = open_dataset(recorded(tmp_path, gaps=gaps)).statistics
    values = []
    for i in range(2):
        with h5py.File(tmp_path / "train" / f"{i}.hdf5") as file:
            values.append(file["u0"][:])
    values = np.concatenate(values)
    assert found.low["u"].tolist() == [np.nanmin(values), 4.0]
    assert found.high["u"].tolist() == [np.nanmax(values), 4.0]


@pytest.mark.parametrize("scaling", ["standard", "minmax", "maxabs"])
def test_scales_are_those_of_numpy(tmp_path, scaling):
    dataset = open_dataset(recorded(tmp_path))
    u = np.concatenate([dataset.part("train").load(i)["u"] for i in range(2)])
    layer = Standardize.of(dataset.statistics, "u", scaling=scaling)
    wanted = {
        "standard": (u - u.mean(0)) / np.where(u.std(0) > 0, u.std(0), 1),
        "minmax": np.stack(
            [
                2 * (u[:, 0] - u[:, 0].min()) / np.ptp(u[:, 0]) - 1,
                np.zeros(len(u)),
            ],
            axis=1,
        ),
        "maxabs": u / np.abs(u).max(0),
    }[scaling]
    found = layer(jnp.asarray(u[None], jnp.float32))
    np.testing.assert_allclose(found[0], wanted, atol=2e-5)
    np.testing.assert_allclose(layer.inverse(found)[0], u, rtol=1e-5)


def test_what_is_usual_is_in_no_signature():
    plain = dict(rnn.Config().static_signature())
    assert not any("scal" in key for key in plain)
    other = rnn.Config.from_flat(
        {"model.scaling": "maxabs", "model.scale_outputs": False}
    )
    more = dict(other.static_signature())
    assert more.items() - plain.items() == {
        ("model.scaling", "maxabs"),
        ("model.scale_outputs", False),
    }


@pytest.mark.parametrize(
    "family",
    ["rnn", *(pytest.param(f, marks=pytest.mark.slow) for f in ("tcn", "crnn"))],
)
def test_a_network_reads_and_gives_what_it_is_told(family, tmp_path):
    data = recorded(tmp_path)
    module = MODULES[family]
    made = {}
    for name, changes in (
        ("usual", {}),
        ("minmax", {"model.scaling": "minmax"}),
        ("plain", {"model.scaling": "minmax", "model.scale_outputs": False}),
    ):
        config = {**module.example("simulation").config, **changes}
        context = Context(task={"name": "simulation"}, data=data.to_json(), epochs=1)
        made[name] = module.create(config, context)
    u = 50 + np.random.default_rng(0).normal(size=(30, 2))
    found = {name: learner.predict(u) for name, learner in made.items()}
    statistics = made["minmax"].interface.statistics
    low, high = statistics.low["y"], statistics.high["y"]
    middle, reach = (low + high) / 2, (high - low) / 2
    # The same weights, and the outputs of the same head.
    np.testing.assert_allclose(
        found["plain"] * reach + middle, found["minmax"], rtol=1e-4, atol=1e-3
    )
    assert np.abs(found["usual"] - found["minmax"]).max() > 1e-3
    (epoch,) = made["plain"].fit(1)
    assert np.isfinite(epoch.train["loss"])
    assert jax.tree.structure(made["plain"].state.params) == jax.tree.structure(
        made["usual"].state.params
    )
