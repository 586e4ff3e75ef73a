"""Simulators of inference: their exact posteriors, their files, and those of a person."""

from __future__ import annotations

import bz2
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.stats

from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.kinds.samples import exact_posterior
from models.data.options import SIMULATED
from models.data.simulators.inference import simulator
from models.errors import DataError
from models.metrics.two_sample import c2st

NAMES = ("gaussian_linear", "gaussian_mixture", "two_moons", "slcp")
DRAWS = 39


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HPO_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        *((name, 400) for name in NAMES[:3]),
        pytest.param("slcp", 200, marks=pytest.mark.slow),
    ],
)
def test_ranks_of_the_truth_are_uniform(name, rows):
    """Simulation-based calibration of the exact sampler itself (Talts et al. 2018)."""
    made, random = simulator(name), np.random.default_rng(0)
    theta = made.prior(random, rows)
    observed = made.simulate(random, theta)
    ranks = np.empty(theta["theta"].shape)
    for row, truth in enumerate(theta["theta"]):
        one = {role: values[row] for role, values in observed.items()}
        drawn = made.posterior(random, one, DRAWS)["theta"]
        ranks[row] = (drawn < truth).sum(axis=0)
    places = (ranks + random.random(ranks.shape)) / (DRAWS + 1)
    p = [scipy.stats.kstest(column, "uniform").pvalue for column in places.T]
    assert min(p) * len(p) > 0.01, p


@pytest.mark.slow
@pytest.mark.skipif("HPO_DATA" not in os.environ, reason="needs HPO_DATA")
@pytest.mark.parametrize("name", NAMES)
def test_exact_draws_cannot_be_told_from_the_published_ones(name, cache):
    """A classifier between 2,000 of each, for ten observations; half is by chance.

    With ``XLA_FLAGS=``: minutes of training want what XLA does for people.
    """
    request = {"name": name, "samples": 100, "observations": f"sbibm/{name}"}
    reference = prepare(request, root=Path(os.environ["HPO_DATA"]))
    published = exact_posterior(reference, ("theta",))["theta"][:, :2000]
    observed = open_dataset(reference).part("test").load(0)["x"][: len(published)]
    random = np.random.default_rng(0)
    drawn = [
        simulator(name).posterior(random, {"x": x}, 2000)["theta"] for x in observed
    ]
    told = c2st(published, np.stack(drawn))
    assert len(told) == 10
    assert 0.47 < told.mean() < 0.53 and told.max() < 0.56, told


def test_two_moons_has_both_moons_and_slcp_all_four_signs():
    random = np.random.default_rng(1)
    observed = {"x": np.array([-0.4, 0.1])}
    moons = simulator("two_moons").posterior(random, observed, 4000)["theta"]
    assert 0.45 < np.mean(moons.sum(axis=1) > 0) < 0.55
    observed = {"x": np.array([1.0, 1.1, 0.2, -0.3, 1.4, 0.4, 0.8, -0.5])}
    theta = simulator("slcp").posterior(random, observed, 4000)["theta"]
    signs = np.mean((theta[:, 2:4] > 0) @ [1, 2] == np.arange(4)[:, None], axis=1)
    assert (np.abs(signs - 0.25) < 0.04).all(), signs


def test_what_no_parameter_explains_is_told():
    with pytest.raises(DataError, match="no parameter of the prior explains"):
        far = {"x": np.array([40.0, 0.0])}
        simulator("gaussian_mixture").posterior(np.random.default_rng(0), far, 2)


def test_a_simulated_dataset(cache):
    reference = prepare({"name": "two_moons", "samples": 200})
    dataset = open_dataset(reference)
    parts = {p: dataset.part(p).load(0) for p in ("train", "valid", "test")}
    assert [len(part["x"]) for part in parts.values()] == [180, 20, 1000]
    assert reference.kind == "samples" and reference.gaps == ()
    assert reference.settings["bounds"] == SIMULATED["two_moons"].bounds
    exact = exact_posterior(reference, ("theta",))["theta"]
    assert exact.shape == (10, 10_000, 2) and (np.abs(exact) < 1).all()
    away = np.abs(exact - parts["test"]["theta"][:10, None]).sum(axis=-1)
    assert (away.min(axis=1) < 0.05).all(), "they belong to the first rows of test"
    assert len(np.intersect1d(parts["train"]["x"][:, 0], parts["test"]["x"][:, 0])) == 0
    again = prepare({"name": "two_moons", "samples": 200, "seed": 1})
    assert all(again.hashes[p] != reference.hashes[p] for p in reference.hashes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"samples": 50}, "`samples` must be a whole number from 100"),
        ({"noise": 0.1}, "other simulated data has the option `noise`"),
        ({"observations": 3}, "`observations` must be a folder's path"),
        ({"observations": "nowhere"}, "no folder of observations nowhere"),
    ],
)
def test_options_are_checked(values, message):
    with pytest.raises(DataError, match=message):
        prepare({"name": "two_moons", **values})


def published(folder: Path, x: str = "0.1,0.2") -> Path:
    """Two observations in the layout of the benchmark."""
    for number, theta in (("2", "0.5,-0.5"), ("10", "0.25,0.75")):
        place = folder / number
        place.mkdir(parents=True)
        (place / "observation.csv").write_text(f"data_1,data_2\n{x}\n")
        (place / "true_parameters.csv").write_text(f"p_1,p_2\n{theta}\n")
        rows = "p_1,p_2\n" + f"{theta}\n" * 3
        path = place / "reference_posterior_samples.csv.bz2"
        path.write_bytes(bz2.compress(rows.encode()))
    return folder


def test_published_observations_are_the_first_rows_of_test(cache, tmp_path):
    folder = published(tmp_path / "sbibm" / "two_moons")
    asked = {"name": "two_moons", "samples": 100, "observations": "sbibm/two_moons"}
    reference = prepare(asked, root=tmp_path)
    test = open_dataset(reference).part("test").load(0)
    np.testing.assert_array_equal(test["theta"][:2], [[0.5, -0.5], [0.25, 0.75]])
    np.testing.assert_array_equal(test["x"][:2], [[0.1, 0.2]] * 2)
    exact = exact_posterior(reference, ("theta",))["theta"]
    np.testing.assert_array_equal(exact, np.repeat(test["theta"][:2, None], 3, axis=1))
    plain = prepare({"name": "two_moons", "samples": 100})
    assert plain.hashes["train"] == reference.hashes["train"]
    assert plain.hashes["test"] != reference.hashes["test"]
    (folder / "2" / "observation.csv").write_text("data_1,data_2\n0.3,0.2\n")
    assert prepare(asked, root=tmp_path).hashes["test"] != reference.hashes["test"]


def test_damaged_observations_are_told(cache, tmp_path):
    asked = {"name": "two_moons", "samples": 100}
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="there is no observation in"):
        prepare({**asked, "observations": str(empty)})
    wide = published(tmp_path / "wide", x="1,2,3")
    with pytest.raises(DataError, match=r"`x` of the observations .* shape \(3,\)"):
        prepare({**asked, "observations": str(wide)})
    torn = published(tmp_path / "torn", x="1,two")
    with pytest.raises(DataError, match="no table of numbers"):
        prepare({**asked, "observations": str(torn)})


def own(path: Path, *, posterior=None, theta=None) -> Path:
    """A person's file of simulations."""
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for part, rows in {"train": 40, "valid": 10, "test": 10}.items():
            values = random.uniform(0, 1, size=(rows, 2))
            file[f"{part}/theta"] = values if theta is None else theta[:rows]
            file[f"{part}/x"] = values + random.normal(size=(rows, 2))
        if posterior is not None:
            file["test/posterior/theta"] = posterior
    return path


def test_a_file_of_simulations_with_bounds_and_a_posterior(tmp_path):
    path = own(tmp_path / "a.hdf5", posterior=np.ones((3, 5, 2)))
    asked = {"path": str(path), "bounds": {"theta": [[0, None], [None, 1]]}}
    reference = prepare(asked)
    assert reference.settings["bounds"] == {"theta": ((0.0, None), (None, 1.0))}
    assert exact_posterior(reference, ("theta",))["theta"].shape == (3, 5, 2)
    assert exact_posterior(prepare(str(own(tmp_path / "b.hdf5"))), ("theta",)) == {}
    wrong = own(tmp_path / "c.hdf5", posterior=np.ones((3, 5, 4)))
    with pytest.raises(DataError, match="no draws"):
        exact_posterior(prepare(str(wrong)), ("theta",))


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"theta": [[0, 0.5]]}, "`theta` in .* crosses its `bounds` of 0.0 to 0.5"),
        ({"theta": [[1, 0]]}, "must be 2 pairs of a low and a higher limit"),
        ({"theta": [[0, 1]] * 3}, "must be 2 pairs"),
        ({"thata": [[0, 1]]}, "(?s)role `thata`.*`theta`"),
        ([0, 1], "must be a mapping of roles"),
    ],
)
def test_bounds_that_are_refused(bounds, message, tmp_path):
    with pytest.raises(DataError, match=message):
        prepare({"path": str(own(tmp_path / "a.hdf5")), "bounds": bounds})
