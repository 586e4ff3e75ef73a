"""Codes of a tuned model in a file: their layout, and rows that belong to their windows."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import hpo
from hpo.run import launch as runner
from hpo.study import Budget, Family, Resources, Study
from models import vae, vqvae
from models.data import codes
from models.errors import DataError
from models.tasks import reconstruction
from tests.test_hpo.command_line import refused, run

ROLE = reconstruction.Task().role
PCA = {"model.size": 2, "model.stride": 24, "model.shrink": 1.0}


def test_the_layout_is_that_of_vae_latents(tmp_path):
    random = np.random.default_rng(0)
    mean, spread = random.normal(size=(2, 4, 3)).astype("f4")
    found = {
        "one": {"mean": mean[:1], "log_variance": spread[:1]},
        "two": {"mean": mean[1:], "log_variance": spread[1:]},
    }
    path = tmp_path / "deep" / "vae_latents.h5"
    shapes = codes.write(path, found, {"family": "vae"})
    assert shapes == {"mu": (4, 3), "logvar": (4, 3)}
    with h5py.File(path) as file:
        assert set(file) == {"mu", "logvar", "ids", "patient_index"}
        np.testing.assert_array_equal(file["mu"], mean)
        np.testing.assert_array_equal(file["logvar"], spread)
        names = file["patient_index"][:].astype(str)  # as the source reads them
        assert names.tolist() == ["one", "two:0", "two:1", "two:2"]
        assert dict(file.attrs) == {"latent_dim": 3, "family": "vae"}
    with pytest.raises(DataError, match="is there already"):
        codes.write(path, found, {})


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """One trial each of two families with a code and of one without."""
    place = tmp_path_factory.mktemp("coded")
    data = reconstruction.Task(block=4).write_windows(place)
    examples = {m: m.example("reconstruction").config for m in (vae, vqvae)}
    study = Study(
        name="coded",
        data=dict(data),
        task={"name": "reconstruction", "block": 4},
        families=(
            *(
                Family(name=m.__name__.rpartition(".")[2], space=c, trials=1)
                for m, c in examples.items()
            ),
            Family(name="pca", space=PCA, trials=1, epochs=1),
        ),
        budget=Budget(trials=3, epochs=1),
        resources=Resources(executor="local"),
    )
    assert runner.launch(study, results=place / "results").state == "finished"
    return place


@pytest.mark.slow
def test_rows_are_the_codes_of_their_windows(tuned, tmp_path):
    with h5py.File(tuned / "windows.hdf5") as file:
        windows = file[f"valid/{ROLE}"][:].astype("f4")
    for trial, family in ((1, "vae"), (2, "vqvae")):
        model = hpo.load_model("coded", trial, results=tuned / "results")
        assert model.family == family
        batch, _ = model.learner.interface.batch({ROLE: windows})
        told, _ = model.learner.outputs(batch)
        out = tmp_path / f"{family}.h5"
        where = "--results", tuned / "results", "--trial", trial
        result = run("export-latents", "coded", "--out", out, *where)
        assert result.exit_code == 0, result.output
        assert result.stdout == f"{out}\n"
        with h5py.File(out) as file:
            assert file["ids"][:].astype(str).tolist() == [
                f"valid_{i}" for i in range(len(windows))
            ]
            wanted = {"tokens": told["tokens"]} if family == "vqvae" else {
                "mu": told["code"]["mean"], "logvar": told["code"]["log_variance"]
            }  # fmt: skip
            assert set(file) == {*wanted, "ids", "patient_index"}
            for name, values in wanted.items():
                np.testing.assert_allclose(file[name], values, rtol=1e-4, atol=1e-5)
    out = tmp_path / "none.h5"
    where = "--results", tuned / "results", "--trial", 3
    refused(run("export-latents", "coded", "--out", out, *where), "`pca`", "no code")
    assert not out.exists()
