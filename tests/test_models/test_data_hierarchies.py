"""Simulators of rows that are made of sites: exact posteriors, budgets, missing sites."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from models.data.catalog import prepare
from models.data.dataset import open_dataset
from models.data.options import Sites
from models.data.simulators.inference import seir, simulator
from models.errors import DataError
from models.tasks import task_of
from models.tasks.base import describe

EXACT = (
    "hierarchical_gaussian",
    "hierarchical_gaussian_linear",
    "hierarchical_brownian",
)
DRAWS = 39


@pytest.mark.parametrize("name", EXACT)
def test_ranks_of_the_truth_are_uniform(name):
    """Of the shared parameter and of a site's own, in rows of two to four sites."""
    made, random = simulator(name, Sites(sites=4, fewest=2)), np.random.default_rng(0)
    truth = made.prior(random, 200)
    observed = made.simulate(random, truth)
    ranks = np.empty((200, 2))
    for row in range(200):
        one = {role: values[row] for role, values in observed.items()}
        drawn = made.posterior(random, one, DRAWS)
        missing = np.isnan(truth["local"][row])
        assert (np.isnan(drawn["local"]) == missing[None]).all()
        ranks[row, 0] = (drawn["theta"][:, 0] < truth["theta"][row, 0]).sum()
        ranks[row, 1] = (drawn["local"][:, 1, 0] < truth["local"][row, 1, 0]).sum()
    places = (ranks + random.random(ranks.shape)) / (DRAWS + 1)
    p = [scipy.stats.kstest(column, "uniform").pvalue for column in places.T]
    assert min(p) * len(p) > 0.01, p


def test_the_posterior_of_a_path_is_that_of_all_its_values():
    """Not of the last alone: by conditioning the joint normal of θ and the whole path."""
    made, random = (
        simulator("hierarchical_brownian", Sites(sites=1)),
        np.random.default_rng(3),
    )
    observed = made.simulate(random, made.prior(random, 1))
    x, t = observed["x"][0, 0, :, 0], observed["f"][0, 0, :, 0]
    cov = 1.25 * np.outer(t, t) + 0.25 * np.minimum(t[:, None], t[None])
    gain = np.linalg.solve(cov, t)  # θ has variance 1.25, μ is 0.8 of it
    mean, variance = 1.25 * gain @ x, 1.25 - 1.25**2 * gain @ t
    drawn = made.posterior(random, {r: a[0] for r, a in observed.items()}, 20000)
    local = drawn["local"][:, 0, 0]
    assert abs(local.mean() - mean) < 5 * np.sqrt(variance / 20000)
    assert local.var() == pytest.approx(variance, rel=0.05)
    assert drawn["theta"].mean() == pytest.approx(0.8 * mean, abs=0.03)


def test_the_epidemic_solves_its_equation():
    theta = np.array([[1 / 10, 1 / 14]])
    local = np.array([[[0.4, 0.5, 300.0, 1.0]]])
    b, size, period, phase = local[0, 0]

    def slope(t, state):
        s, e, i = state
        new = b * (1 + size * np.sin(2 * np.pi * t / period - phase)) * i * s / 1e4
        m = seir.MORTALITY
        return [m * (1e4 - s) - new, new - (0.1 + m) * e, 0.1 * e - (1 / 14 + m) * i]

    wanted = scipy.integrate.solve_ivp(
        slope, (0, 365), [1e4 - 10, 0, 10], t_eval=np.arange(366), rtol=1e-8, atol=1e-8
    )
    found = seir._onsets(theta, local)[:, 0, 0]
    np.testing.assert_allclose(found, 0.1 * wanted.y[1], rtol=1e-4, atol=1e-4)
    assert found.max() > 20


def test_a_budget_counts_sites_and_rows_miss_some(tmp_path, monkeypatch):
    monkeypatch.setenv("HPO_CACHE", str(tmp_path))
    request = {"name": "hierarchical_gaussian", "samples": 300, "sites": 4, "fewest": 2}
    dataset = open_dataset(prepare(request).to_json())
    sizes = [dataset.part(part).lengths[0] for part in ("train", "valid")]
    assert sizes == [90, 10]  # a hundred rows of three sites on average
    task = task_of({"name": "posterior", "local": "local", "inputs": "f"})
    data = describe(task, dataset)
    assert data.shapes == {
        "theta": (1,),
        "local": (4, 1),
        "x": (4, 5, 1),
        "f": (4, 5, 1),
    }
    rows = dataset.part("train").load(0)
    counts = np.isfinite(rows["x"]).all(axis=(2, 3)).sum(axis=1)
    assert set(counts.tolist()) == {2, 3, 4}
    with h5py.File(next(tmp_path.glob("hier*/test.hdf5"))) as file:
        assert file["posterior/local"].shape == (10, 10_000, 4, 1)
    for wrong, what in (({"sites": 200}, "10 rows"), ({"fewest": 9}, "`fewest`")):
        with pytest.raises(DataError, match=what):
            prepare(request | wrong)
    with pytest.raises(DataError, match="`sites`"):
        prepare({"name": "two_moons", "sites": 3})
