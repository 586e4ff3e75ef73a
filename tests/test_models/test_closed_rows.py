"""Closed forms of a reconstruction: scikit-learn, written-out Gaussians and planted codes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hpo.testing import families
from models import pca, pq
from models.errors import ConfigError
from models.layers.principal import principal_components
from models.layers.product_codes import dealt, fit_codes, tokens_of, vectors_of


def rows(count=300, *, width=7, seed=0, noise=0.3):
    """Rows of two directions, a mean and noise."""
    random = np.random.default_rng(seed)
    plane = np.random.default_rng(9).normal(size=(2, width))
    return (
        3.0
        + random.normal(size=(count, 2)) @ plane
        + noise * random.normal(size=(count, width))
    )


def gaps(x, share=0.3, seed=1):
    return np.random.default_rng(seed).random(x.shape) >= share


def test_without_gaps_they_are_scikit_learns():
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = rows()
    whole = np.ones(x.shape, bool)
    found = principal_components(x, whole, size=2)
    twin = decomposition.PCA(2).fit(x)
    np.testing.assert_allclose(
        found.rows(found.codes(x, whole, shrink=0.0)),
        twin.inverse_transform(twin.transform(x)),
        atol=1e-9,
    )
    # scikit-learn divides by N - 1.
    scale = (len(x) - 1) / len(x)
    assert found.noise == pytest.approx(twin.noise_variance_ * scale)
    covariance = found.weights @ found.weights.T + found.noise * np.eye(x.shape[1])
    np.testing.assert_allclose(covariance, twin.get_covariance() * scale, atol=1e-9)


@pytest.mark.parametrize("count", [1, 40])
def test_codes_of_rows_with_gaps_give_the_mean_of_a_gaussian(count):
    """``E[x | shown] = m + Σ_xo Σ_oo⁻¹ (o - m_o)``, row by row."""
    x = rows()
    found = principal_components(x, np.ones(x.shape, bool), size=2)
    covariance = found.weights @ found.weights.T
    mask = gaps(x[:count])
    mask[0] = False  # a row of which nothing is shown
    again = found.rows(found.codes(np.where(mask, x[:count], 1e9), mask))
    for row, shown in enumerate(mask):
        inner = covariance[shown][:, shown] + found.noise * np.eye(shown.sum())
        apart = (x[row] - found.mean)[shown]
        wanted = found.mean + covariance[:, shown] @ np.linalg.solve(inner, apart)
        np.testing.assert_allclose(again[row], wanted, atol=1e-8)


def likelihood(model, x, mask):
    """Mean log likelihood of what is shown."""
    total = 0.0
    covariance = model.weights @ model.weights.T + model.noise * np.eye(x.shape[1])
    for row, shown in zip(x, mask, strict=True):
        inner, apart = covariance[shown][:, shown], (row - model.mean)[shown]
        _, volume = np.linalg.slogdet(2 * np.pi * inner)
        total -= 0.5 * (volume + apart @ np.linalg.solve(inner, apart))
    return total / len(x)


def test_with_gaps_every_round_is_likelier_and_the_truth_is_found():
    x = rows(600)
    mask = gaps(x)
    spoiled = np.where(mask, x, np.nan)
    found = [
        principal_components(spoiled, mask, size=2, rounds=n) for n in (0, 1, 2, 5, 50)
    ]
    values = [likelihood(model, x, mask) for model in found]
    assert all(later > before for before, later in itertools.pairwise(values))
    # No other place nearby is likelier.
    best, random = found[-1], np.random.default_rng(5)
    for _ in range(5):
        moved = principal_components(x, mask, size=2, rounds=50)
        moved.weights[:] += 0.05 * random.normal(size=best.weights.shape)
        assert likelihood(moved, x, mask) < values[-1]
    whole = principal_components(x, np.ones(x.shape, bool), size=2)
    np.testing.assert_allclose(
        best.weights @ best.weights.T, whole.weights @ whole.weights.T, atol=0.2
    )
    assert best.noise == pytest.approx(0.09, rel=0.15)
    np.testing.assert_allclose(best.mean, 3.0, atol=0.3)


def test_hidden_entries_are_told_better_than_by_the_mean():
    x, mask = rows(600), gaps(rows(600))
    model = principal_components(x, mask, size=2)
    fresh = rows(200, seed=7)
    shown = gaps(fresh, seed=8)
    error = model.rows(model.codes(fresh, shown)) - fresh
    hidden = ~shown
    assert (
        np.square(error[hidden]).mean()
        < 0.4 * np.square((fresh - x.mean(axis=0))[hidden]).mean()
    )


def test_planted_codes_are_found_and_their_tokens_are_the_nearest():
    random = np.random.default_rng(0)
    books = 10.0 * random.normal(size=(2, 4, 3))
    tokens = random.integers(4, size=(400, 2))
    parts = np.stack([books[g][tokens[:, g]] for g in range(2)], axis=1)
    vectors = parts.swapaxes(1, 2).reshape(400, 6) + 0.01 * random.normal(size=(400, 6))
    np.testing.assert_allclose(dealt(vectors, 2), parts, atol=0.1)
    found = fit_codes(vectors, groups=2, bits=2, stages=1)
    for group in range(2):
        apart = np.linalg.norm(books[group][:, None] - found[group, 0][None], axis=-1)
        assert (apart.min(axis=1) < 0.01).all()
    chosen = tokens_of(vectors, found)
    brute = np.square(dealt(vectors, 2)[:, :, None] - found[None, :, 0]).sum(axis=-1)
    np.testing.assert_array_equal(chosen[..., 0], brute.argmin(axis=-1))
    again = vectors_of(chosen, found, size=6)
    assert np.abs(again - vectors).max() < 0.1


def test_a_second_stage_codes_what_the_first_left_over():
    vectors = np.random.default_rng(0).normal(size=(500, 5))
    errors = []
    for stages in (1, 2, 3):
        books = fit_codes(vectors, groups=2, bits=3, stages=stages)
        again = vectors_of(tokens_of(vectors, books), books, size=5)
        errors.append(np.square(again - vectors).mean())
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < 0.6 * errors[1]


def test_fewer_vectors_than_codes_are_their_own_codes():
    vectors = np.arange(6.0).reshape(3, 2)
    books = fit_codes(vectors, groups=1, bits=3, stages=1)
    again = vectors_of(tokens_of(vectors, books), books, size=2)
    np.testing.assert_allclose(again, vectors)


def test_a_solved_model_is_scored_on_what_is_hidden_from_a_trained_one(tmp_path):
    from tests.toy_families import masked_rows

    trained = families.make(masked_rows, "reconstruction", tmp_path)
    solved = families.make(pca, "reconstruction", tmp_path)
    (batch,) = trained.valid
    engine = trained.runner.engine.evaluation
    shown = engine.shown(trained.state.hyper, dict(batch))
    (mine,) = solved._groups("valid")
    np.testing.assert_array_equal(mine["given.values"], shown["given.values"])
    assert 0 < mine["scored.values"].mean() < 0.5


def test_their_errors_are_those_of_the_formulas(tmp_path):
    """mse over the hidden entries in standard deviations, from the model's own predictions."""
    learner = families.make(pca, "reconstruction", tmp_path)
    learner.fit()
    (group,) = learner._groups("valid")
    given = np.where(group["given.values"], group["values"], np.nan)
    found = learner.predict({"values": given})["values"]
    std = learner.interface.statistics.std["values"]
    errors = ((found - group["values"]) / std)[group["scored.values"]]
    scores = learner.evaluate("valid")
    assert scores["mse"] == pytest.approx(np.square(errors).mean(), rel=1e-4)
    assert scores["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-4)
    assert scores["mse"] < 0.3  # two directions and little noise


def test_more_bits_are_nearer_to_the_components_they_round(tmp_path):
    unrounded = families.make(pca, "reconstruction", tmp_path)
    limit = unrounded.fit()[-1].valid["mse"]
    found = []
    for bits in (1, 3, 6):
        learner = families.make(
            pq, "reconstruction", tmp_path, config={"model.bits": bits}
        )
        found.append(learner.fit()[-1].valid["mse"])
    assert found[0] > found[1] > found[2] > 0.95 * limit


def test_what_cannot_be_meant_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="`model.groups` 3 and `model.size` 2"):
        pq.ProductCode(groups=3, size=2)
    with pytest.raises(ConfigError, match="less than the 12 numbers of a row, got 12"):
        families.make(pca, "reconstruction", tmp_path, config={"model.size": 12})
