"""The family `linear_posterior`: regression and velocity against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from models.data.dataset import open_dataset
from models.flows import scored_paths
from models.linear_posterior import create, example, gaussian_velocity


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    made = create(
        {"model.ridge": 0.1}, example("posterior").context(tmp_path_factory.mktemp("x"))
    )
    made.fit()
    return made


def test_weights_solve_the_normal_equations(fitted):
    """Standardized observations with gaps at 0, their masks, and a constant without penalty."""
    dataset = open_dataset(fitted.interface.reference.to_json())
    rows, statistics = dataset.part("train").load(0), dataset.statistics
    seen = np.isfinite(rows["x"])
    x = np.where(seen, (rows["x"] - statistics.mean["x"]) / statistics.std["x"], 0)
    n = len(x)
    columns = [x.reshape(n, -1), seen.reshape(n, -1), np.ones((n, 1))]
    features = np.concatenate(columns, axis=1)
    y = (rows["theta"] - statistics.mean["theta"]) / statistics.std["theta"]
    penalty = 0.1 * n * np.eye(features.shape[1])
    penalty[-1, -1] = 0
    weights = np.linalg.pinv(features.T @ features + penalty) @ features.T @ y
    found = fitted.solution
    np.testing.assert_allclose(
        features @ found["weights"], features @ weights, atol=1e-8
    )
    left = y - features @ weights
    np.testing.assert_allclose(found["covariance"], left.T @ left / n, atol=1e-8)
    drawn = fitted.predict({"x": rows["x"][:1]})["theta"][0]
    mean = (features[:1] @ weights) * statistics.std["theta"] + statistics.mean["theta"]
    assert (np.abs(drawn.mean(axis=0) - mean[0]) < 4 * drawn.std(axis=0) / 4).all()


def test_the_velocity_carries_noise_to_the_gaussian():
    covariance = np.array([[0.5, 0.3], [0.3, 0.4]])
    mean = np.array([1.0, -2.0])
    root = np.linalg.cholesky(covariance)
    noise = np.random.default_rng(0).normal(size=(2000, 2))

    def velocity(point, time):
        many = np.full((len(point), 1), float(time))
        centers = np.broadcast_to(mean, point.shape)
        return gaussian_velocity(point[:, None], many, centers, covariance)[:, 0]

    ends, steps = noise, 200
    for step in range(steps):  # the midpoint rule
        half = ends + 0.5 / steps * velocity(ends, step / steps)
        ends = ends + velocity(half, (step + 0.5) / steps) / steps
    np.testing.assert_allclose(
        np.cov(ends.T), root @ np.cov(noise.T) @ root.T, rtol=0.1, atol=0.02
    )
    np.testing.assert_allclose(ends.mean(axis=0), mean, atol=0.06)


def test_paths_are_those_that_the_engine_scores_on(fitted, tmp_path):
    """The numbers of a gradient learner's evaluation, for equal parameters."""
    from models import fmpe

    own = fmpe.example("posterior")
    made = fmpe.create(own.config, own.context(tmp_path))
    (group,) = made.valid
    _, whole = made.runner.scored(made.state, made.best, group, 0)
    statistics = made.interface.statistics
    end = np.asarray(group["theta"], np.float64) - statistics.mean["theta"]
    paths = scored_paths(0, end / statistics.std["theta"])
    np.testing.assert_allclose(paths.point, whole["flow.point"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(paths.time, whole["flow.time"], atol=1e-6)
